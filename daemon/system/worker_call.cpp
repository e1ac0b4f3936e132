#include "system/worker_call.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace cuda_nspawn {

namespace {

constexpr std::size_t report_limit = std::size_t{16} << 20;

[[noreturn]] void fail(int error, const char* what) { throw std::system_error(error, std::generic_category(), what); }

FileDescriptor connect_to(const std::filesystem::path& socket) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (socket.native().size() >= sizeof address.sun_path) fail(ENAMETOOLONG, "connect");
    std::memcpy(address.sun_path, socket.c_str(), socket.native().size());
    FileDescriptor fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) fail(errno, "socket");
    // Of a local socket this succeeds or fails at once: PID 1 listens, whether the worker runs or not.
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) fail(errno, "connect");
    return fd;
}

bool is_temporary(int error) { return error == EAGAIN || error == EINTR; }

}  // namespace

WorkerCall::WorkerCall(EventLoop& loop, const std::filesystem::path& socket, std::string request, Done done)
    : loop_(loop), fd_(connect_to(socket)), request_(std::move(request)), unwritten_(request_), done_(std::move(done)) {
    // Most go out at once; what is wrong with the connection then shows at the next try.
    send();
    if (!unwritten_.empty()) source_ = loop_.watch(fd_.get(), EPOLLOUT, [this] { write(); });
}

ssize_t WorkerCall::send() {
    const ssize_t size = ::send(fd_.get(), unwritten_.data(), unwritten_.size(), MSG_NOSIGNAL);
    if (size > 0) unwritten_.remove_prefix(static_cast<std::size_t>(size));
    if (unwritten_.empty()) wait_for_report();
    return size;
}

void WorkerCall::write() {
    if (send() < 0 && !is_temporary(errno)) end(std::nullopt);
}

void WorkerCall::wait_for_report() {
    ::shutdown(fd_.get(), SHUT_WR);
    source_.reset();  // a descriptor has one source at a time
    source_ = loop_.watch(fd_.get(), EPOLLIN, [this] { read(); });
}

void WorkerCall::read() {
    std::array<char, 65536> piece;
    const ssize_t size = ::recv(fd_.get(), piece.data(), piece.size(), 0);
    if (size < 0 && is_temporary(errno)) return;
    if (size > 0 && report_.size() + static_cast<std::size_t>(size) <= report_limit) {
        report_.append(piece.data(), static_cast<std::size_t>(size));
        return;
    }
    // A report ends with a newline; what was cut off is none.
    const bool whole = size == 0 && report_.ends_with('\n');
    end(whole ? std::optional(std::move(report_)) : std::nullopt);
}

void WorkerCall::end(std::optional<std::string> report) {
    source_.reset();
    const Done done = std::move(done_);
    done(std::move(report));  // may destroy this object
}

}  // namespace cuda_nspawn
