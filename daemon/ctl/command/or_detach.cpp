#include "ctl/command/or_detach.hpp"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <utility>

#include "ctl/client.hpp"
#include "ctl/command/commands.hpp"

namespace cuda_nspawn::ctl {

namespace {

constexpr auto pause_between_looks = std::chrono::milliseconds(20);
constexpr auto time_to_fail = std::chrono::seconds(2);  // a stopping unit has ten

std::atomic<bool> is_terminating{false};

// A machine that does not start takes our unit's start along (StopPropagatedFrom=), often before the daemon has said
// why. That sentence is waited for: it is what `systemctl status` is to show.
bool is_about_to_fail(const std::string& machine) {
    Bus bus;
    for (auto waited = std::chrono::milliseconds(0); waited < time_to_fail; waited += pause_between_looks) {
        const std::string state = text(machine_properties(bus, machine), "State");
        if (state != "starting") return state == "failed";
        std::this_thread::sleep_for(pause_between_looks);
    }
    return false;
}

void detach_at(const sigset_t& termination, const std::string& machine) {
    // Ctrl-C is not this thread's.
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    int signal = 0;
    if (sigwait(&termination, &signal) != 0) return;
    is_terminating = true;
    int status = 1;
    try {
        if (is_about_to_fail(machine)) {
            is_terminating = false;
            std::this_thread::sleep_for(time_to_fail);
            is_terminating = true;
        }
        status = detach({.command = "detach", .words = {machine}, .options = {{"unless-stopping", ""}}});
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
    }
    std::fflush(stdout);
    std::_Exit(status);
}

}  // namespace

void detach_at_termination(const std::string& machine) {
    static bool begun = false;  // a daemon that went away is asked a second time
    if (std::exchange(begun, true)) return;
    sigset_t termination;
    sigemptyset(&termination);
    sigaddset(&termination, SIGTERM);
    sigprocmask(SIG_BLOCK, &termination, nullptr);
    std::thread([termination, machine] { detach_at(termination, machine); }).detach();
}

int exit_unless_terminating(int status) {
    while (is_terminating) std::this_thread::sleep_for(pause_between_looks);
    return status;
}

}  // namespace cuda_nspawn::ctl
