#include "system/event_loop.hpp"

#include <sys/epoll.h>

#include <csignal>
#include <exception>
#include <system_error>
#include <utility>

#include "system/log.hpp"

namespace cuda_nspawn {

namespace {

using Callback = std::function<void()>;

// C frames lie between us and the loop, so no exception may pass.
int guarded(sd_event_source* source, const Callback& callback) {
    sd_event* event = sd_event_source_get_event(source);  // the callback may let go of the source
    try {
        callback();
    } catch (const std::exception& error) {
        log(Severity::error, "", error.what());
        sd_event_exit(event, 1);
    }
    return 0;
}

void check(int result, const char* what) {
    if (result < 0) throw std::system_error(-result, std::generic_category(), what);
}

void destroy(void* data) { delete static_cast<Callback*>(data); }

int run_callback(sd_event_source* source, void* data) { return guarded(source, *static_cast<Callback*>(data)); }
int run_timer(sd_event_source* source, std::uint64_t, void* data) { return run_callback(source, data); }
int run_io(sd_event_source* source, int, std::uint32_t, void* data) { return run_callback(source, data); }
int run_signal(sd_event_source* source, const signalfd_siginfo*, void* data) { return run_callback(source, data); }

std::shared_ptr<sd_event_source> own(sd_event_source* source) {
    sd_event_source_set_destroy_callback(source, destroy);
    return {source, [](sd_event_source* owned) { sd_event_source_disable_unref(owned); }};
}

void add_signal(sd_event* event, int signal, const Callback& callback) {
    sd_event_source* source = nullptr;
    auto* data = new Callback(callback);
    check(sd_event_add_signal(event, &source, signal, run_signal, data), "sd_event_add_signal");
    sd_event_source_set_destroy_callback(source, destroy);
    check(sd_event_source_set_floating(source, 1), "sd_event_source_set_floating");
    sd_event_source_unref(source);
}

}  // namespace

EventLoop::EventLoop() { check(sd_event_default(&event_), "sd_event_default"); }
EventLoop::~EventLoop() { sd_event_unref(event_); }

void EventLoop::defer(std::function<void()> callback, std::int64_t priority) {
    sd_event_source* source = nullptr;
    auto* data = new Callback(std::move(callback));
    check(sd_event_add_defer(event_, &source, run_callback, data), "sd_event_add_defer");
    sd_event_source_set_destroy_callback(source, destroy);
    check(sd_event_source_set_priority(source, priority), "sd_event_source_set_priority");
    check(sd_event_source_set_floating(source, 1), "sd_event_source_set_floating");
    sd_event_source_unref(source);
}

EventLoop::Timer EventLoop::after(std::uint64_t usec, std::function<void()> callback) {
    sd_event_source* source = nullptr;
    auto* data = new Callback(std::move(callback));
    check(sd_event_add_time_relative(event_, &source, CLOCK_MONOTONIC, usec, 0, run_timer, data),
          "sd_event_add_time_relative");
    return own(source);
}

EventLoop::IoSource EventLoop::watch(int fd, std::uint32_t events, std::function<void()> callback) {
    sd_event_source* source = nullptr;
    auto* data = new Callback(std::move(callback));
    check(sd_event_add_io(event_, &source, fd, events, run_io, data), "sd_event_add_io");
    return own(source);
}

void EventLoop::on_termination(std::function<void()> callback) {
    add_signal(event_, SIGTERM, callback);
    add_signal(event_, SIGINT, callback);
}

void EventLoop::on_reload(std::function<void()> callback) { add_signal(event_, SIGHUP, callback); }

int EventLoop::run() {
    sd_event_set_watchdog(event_, 1);
    return sd_event_loop(event_);
}

void EventLoop::exit(int status) { sd_event_exit(event_, status); }

}  // namespace cuda_nspawn
