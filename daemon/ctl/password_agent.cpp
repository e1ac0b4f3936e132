#include "ctl/password_agent.hpp"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>

#include "ctl/terminal.hpp"

namespace cuda_nspawn::ctl {

namespace {

constexpr const char* program = "/usr/bin/pkttyagent";

}  // namespace

PasswordAgent::PasswordAgent(bool wanted) {
    std::array<int, 2> ready{};
    if (!wanted || ::geteuid() == 0 || !is_terminal(stdin) || !is_terminal(stderr) || ::access(program, X_OK) != 0 ||
        ::pipe(ready.data()) != 0)
        return;
    // It closes its end when polkit knows it; where another agent is there already, that one asks.
    std::string notify = fmt::format("--notify-fd={}", ready[1]);
    std::string name = program;
    std::string fallback = "--fallback";
    std::array<char*, 4> words{name.data(), notify.data(), fallback.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addclose(&actions, ready[0]);
    const int failure = ::posix_spawn(&pid_, program, &actions, nullptr, words.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ready[1]);
    char end = 0;
    if (failure != 0)
        pid_ = 0;
    else [[maybe_unused]]
        const auto ended = ::read(ready[0], &end, 1);
    ::close(ready[0]);
}

PasswordAgent::~PasswordAgent() {
    if (pid_ == 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
}

}  // namespace cuda_nspawn::ctl
