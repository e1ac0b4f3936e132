#include "worker/command.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "elf/file_descriptor.hpp"
#include "guest/printable.hpp"

namespace cuda_nspawn {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t output_limit = std::size_t{64} * 1024;
constexpr std::size_t longest_line = 512;
constexpr auto time_to_end = std::chrono::seconds(10);

// Waits for the end of the output, or of the time.
bool read_all(int fd, std::string& output, Clock::time_point deadline) {
    std::array<char, 4096> piece;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        pollfd ready{fd, POLLIN, 0};
        if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) return false;
        const ssize_t size = ::read(fd, piece.data(), piece.size());
        if (size == 0) return true;
        if (size > 0)
            output.append(piece.data(), std::min(static_cast<std::size_t>(size), output_limit - output.size()));
        if (size < 0 && errno != EINTR && errno != EAGAIN) return true;
    }
}

// A systemd-nspawn that is killed leaves what makes the machine's next start fail, so it is asked first.
int end(pid_t child, bool at_once) {
    int status = -1;
    const auto deadline = Clock::now() + time_to_end;
    if (at_once) ::kill(child, SIGTERM);
    while (::waitpid(child, &status, WNOHANG) == 0) {
        if (Clock::now() > deadline) ::kill(child, SIGKILL);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return status;
}

}  // namespace

CommandEnd run_command(std::vector<std::string> argv, std::chrono::milliseconds time_limit) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw std::runtime_error(fmt::format("no pipe: {}", std::strerror(errno)));
    FileDescriptor reader(ends[0]);
    FileDescriptor writer(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, writer.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, writer.get(), STDERR_FILENO);
    std::vector<char*> arguments;
    for (std::string& word : argv) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::array<char*, 1> environment{nullptr};
    pid_t child = 0;
    const int error = ::posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error(fmt::format("{} cannot be started: {}", argv[0], std::strerror(error)));
    writer = FileDescriptor();
    CommandEnd result;
    result.in_time = read_all(reader.get(), result.output, Clock::now() + time_limit);
    result.status = end(child, !result.in_time);
    return result;
}

bool CommandEnd::succeeded() const { return in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0; }

std::string CommandEnd::last_line() const {
    std::string_view line = output;
    while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
    line = line.substr(line.rfind('\n') + 1);
    if (line.starts_with("<3>")) line.remove_prefix(3);
    return printable(line, longest_line);
}

}  // namespace cuda_nspawn
