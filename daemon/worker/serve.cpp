#include "worker/serve.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "elf/file_descriptor.hpp"
#include "worker/complain.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn {

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

// Whether the descriptor is ready before the deadline.
bool wait_for(int fd, short events, Clock::time_point deadline) {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
        pollfd ready{fd, events, 0};
        const int found = ::poll(&ready, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
        if (found >= 0) return found > 0;
        if (errno != EINTR) fail("poll");
    }
}

// The socket is of mode 0600; this holds even where somebody opened it up.
bool is_trusted(int connection) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return false;
    return peer.uid == 0 || peer.uid == ::geteuid();
}

class Connection {
public:
    Connection(FileDescriptor fd, const ServeLimits& limits) : fd_(std::move(fd)), limits_(limits) {}

    // Nothing if the client did not bring it to an end. What is too large is read on without being kept: closing
    // before would reset the connection, and the answer would be lost.
    std::optional<std::string> receive() const {
        std::string request;
        std::array<char, 65536> piece;
        const auto deadline = Clock::now() + limits_.transfer;
        while (wait_for(fd_.get(), POLLIN, deadline)) {
            const ssize_t size = ::recv(fd_.get(), piece.data(), piece.size(), MSG_DONTWAIT);
            if (size == 0) return request;
            if (size < 0 && errno != EAGAIN && errno != EINTR) return std::nullopt;
            const auto room = limits_.request_bytes + 1 - request.size();
            if (size > 0) request.append(piece.data(), std::min(room, static_cast<std::size_t>(size)));
        }
        return std::nullopt;
    }

    void send(std::string_view report) const {
        const auto deadline = Clock::now() + limits_.transfer;
        while (!report.empty() && wait_for(fd_.get(), POLLOUT, deadline)) {
            const ssize_t size = ::send(fd_.get(), report.data(), report.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (size < 0 && errno != EAGAIN && errno != EINTR) return;
            if (size > 0) report.remove_prefix(static_cast<std::size_t>(size));
        }
    }

private:
    FileDescriptor fd_;
    const ServeLimits& limits_;
};

// Ends the process when the work lasts too long: whatever it hangs in, nothing of it is left.
class TimeLimit {
public:
    explicit TimeLimit(unsigned seconds) { ::alarm(seconds); }
    ~TimeLimit() { ::alarm(0); }
    TimeLimit(const TimeLimit&) = delete;
    TimeLimit& operator=(const TimeLimit&) = delete;
};

std::string report_on(const std::string& request, const std::function<std::string(const std::string&)>& work,
                      const ServeLimits& limits) {
    try {
        if (request.size() > limits.request_bytes)
            throw std::runtime_error(fmt::format("the request is larger than {} bytes", limits.request_bytes));
        const TimeLimit limit(limits.work_seconds);
        return work(request);
    } catch (const std::exception& error) {
        complain({Event::worker_failed, "", error.what()});
        return failure_report(error.what());
    }
}

}  // namespace

void serve(int listener, const std::function<std::string(const std::string&)>& work, const ServeLimits& limits) {
    // A connection that comes after the wait stays in the socket's queue, and PID 1 starts the next process for it.
    while (wait_for(listener, POLLIN, Clock::now() + limits.idle)) {
        FileDescriptor client(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
        if (!client && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) fail("accept4");
        if (!client || !is_trusted(client.get())) continue;
        const Connection connection(std::move(client), limits);
        if (const auto request = connection.receive()) connection.send(report_on(*request, work, limits));
    }
}

int inherited_listener() {
    if (::sd_listen_fds(1) != 1 || ::sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, nullptr, 0) <= 0)
        throw std::runtime_error("no socket was passed: start the .socket unit of this worker, not the worker");
    return SD_LISTEN_FDS_START;
}

}  // namespace cuda_nspawn
