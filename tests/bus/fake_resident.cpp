#include "fake_resident.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace cuda_nspawn::bus_tests {

FakeResident::FakeResident(const FakeHost& host, News& news, std::string verb)
    : host_(host), news_(news), verb_(std::move(verb)) {
    open();
}

FakeResident::~FakeResident() { close(); }

void FakeResident::open() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (host_.work() / (verb_ + ".socket")).string().copy(address.sun_path, sizeof address.sun_path - 1);
    std::filesystem::remove(address.sun_path);
    listener_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener_ || ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
        ::listen(listener_.get(), 16) < 0)
        throw std::system_error(errno, std::generic_category(), address.sun_path);
    closing_ = false;
    thread_ = std::thread([this] { serve(); });
}

void FakeResident::close() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        released_.notify_all();
    }
    ::shutdown(listener_.get(), SHUT_RDWR);  // ends accept()
    thread_.join();
    listener_ = FileDescriptor();
}

void FakeResident::serve() {
    for (;;) {
        const FileDescriptor connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!connection) return;
        answer(connection.get());
    }
}

void FakeResident::answer(int connection) {
    std::string request;
    char piece[65536];
    for (ssize_t size; (size = ::recv(connection, piece, sizeof piece, 0)) > 0;)
        request.append(piece, static_cast<std::size_t>(size));
    const std::string report = take(request);
    std::string_view rest = report;
    while (!rest.empty()) {
        const ssize_t size = ::send(connection, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (size < 0) return;
        rest.remove_prefix(static_cast<std::size_t>(size));
    }
}

std::string FakeResident::take(const std::string& request) {
    Behaviour behaviour;
    {
        std::unique_lock lock(mutex_);
        ++count_;
        behaviour = behaviour_;
        if (behaviour.killed > 0) {
            --behaviour_.killed;
            return "{\"cut\": ";
        }
        holds_ = behaviour.held;
        news_.tell();
        released_.wait(lock, [this] { return !holds_ || closing_; });
    }
    return behaviour.report.empty() ? host_.work_on(verb_, request) : behaviour.report + "\n";
}

void FakeResident::set(Behaviour behaviour) {
    const std::lock_guard lock(mutex_);
    behaviour_ = std::move(behaviour);
}

bool FakeResident::holds() {
    const std::lock_guard lock(mutex_);
    return holds_;
}

void FakeResident::finish() {
    const std::lock_guard lock(mutex_);
    holds_ = false;
    released_.notify_all();
}

unsigned FakeResident::count() {
    const std::lock_guard lock(mutex_);
    return count_;
}

}  // namespace cuda_nspawn::bus_tests
