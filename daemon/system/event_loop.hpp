// sd-event with functions: the daemon's one thread. Exceptions of a callback end the loop with the error's text.
#pragma once

#include <systemd/sd-event.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace cuda_nspawn {

class EventLoop {
public:
    EventLoop();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    sd_event* get() const { return event_; }

    // Runs once, in the next iteration; or before whatever else is due then.
    void defer(std::function<void()> callback) { defer(std::move(callback), SD_EVENT_PRIORITY_NORMAL); }
    void defer_first(std::function<void()> callback) { defer(std::move(callback), SD_EVENT_PRIORITY_IMPORTANT); }
    // Runs once, after that time (CLOCK_MONOTONIC). The source lives as long as the handle.
    using Timer = std::shared_ptr<sd_event_source>;
    [[nodiscard]] Timer after(std::uint64_t usec, std::function<void()> callback);
    // Runs whenever the descriptor is ready for `events` (epoll_ctl(2)) or has failed. The source lives as long as the
    // handle, which must go before the descriptor; the callback may let go of it.
    using IoSource = std::shared_ptr<sd_event_source>;
    [[nodiscard]] IoSource watch(int fd, std::uint32_t events, std::function<void()> callback);
    // Runs at SIGTERM and SIGINT, which must be blocked.
    void on_termination(std::function<void()> callback);
    // Runs at SIGHUP.
    void on_reload(std::function<void()> callback);

    // Until exit(). Returns the exit status.
    int run();
    void exit(int status);

private:
    void defer(std::function<void()> callback, std::int64_t priority);

    sd_event* event_ = nullptr;
};

}  // namespace cuda_nspawn
