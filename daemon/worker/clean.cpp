#include "worker/clean.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "elf/file_descriptor.hpp"
#include "guest/printable.hpp"
#include "guest/rootfs_reader.hpp"
#include "names.hpp"
#include "policy/machine_name.hpp"
#include "worker/images.hpp"

namespace cuda_nspawn {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t output_limit = std::size_t{64} * 1024;
constexpr std::size_t most_changes = 64;
constexpr std::size_t longest_path = 512;
constexpr auto time_limit = std::chrono::seconds(45);  // the set-up gives ldconfig 30
constexpr auto time_to_end = std::chrono::seconds(10);

struct Run {
    std::string output;
    int status = -1;
    bool in_time = true;
};

// Waits for the end of the output, or of the time.
bool read_all(int fd, std::string& output, Clock::time_point deadline) {
    std::array<char, 4096> piece;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        pollfd ready{fd, POLLIN, 0};
        if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) return false;
        const ssize_t size = ::read(fd, piece.data(), piece.size());
        if (size == 0) return true;
        if (size > 0 && output.size() < output_limit) output.append(piece.data(), static_cast<std::size_t>(size));
        if (size < 0 && errno != EINTR && errno != EAGAIN) return true;
    }
}

// nspawn that is killed leaves what makes the machine's next start fail, so it is asked first.
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

Run run(std::vector<std::string> command) {
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
    for (std::string& word : command) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::array<char*, 1> environment{nullptr};
    pid_t child = 0;
    const int error = ::posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error(fmt::format("{} cannot be started: {}", command[0], std::strerror(error)));
    writer = FileDescriptor();
    Run result;
    result.in_time = read_all(reader.get(), result.output, Clock::now() + time_limit);
    result.status = end(child, !result.in_time);
    return result;
}

std::string last_line(std::string_view output) {
    while (!output.empty() && output.back() == '\n') output.remove_suffix(1);
    std::string_view line = output.substr(output.rfind('\n') + 1);
    if (line.starts_with("<3>")) line.remove_prefix(3);
    return printable(line, longest_path);
}

}  // namespace

std::vector<Change> removed_in(std::string_view output) {
    constexpr std::string_view word = "removed /";
    std::vector<Change> changes;
    while (!output.empty() && changes.size() < most_changes) {
        const std::string_view line = output.substr(0, output.find('\n'));
        output.remove_prefix(std::min(line.size() + 1, output.size()));
        if (line.starts_with(word))
            changes.push_back({"remove", printable(line.substr(word.size() - 1), longest_path), "in the machine"});
    }
    return changes;
}

std::vector<std::string> clean_command(const std::string& machine, const std::string& image,
                                       std::optional<unsigned> owner) {
    // A tree that belongs to the host's root is mapped, one whose owners nspawn once shifted is taken as it is.
    const bool shifted = owner && *owner != 0;
    return {"/usr/bin/systemd-nspawn", "--quiet",
            // Of --image= it wants udev, which it does without for what it finds by its name.
            owner ? fmt::format("--directory={}", image) : fmt::format("--machine={}", machine), "--settings=no",
            "--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--as-pid2", "--pipe",
            shifted ? fmt::format("--private-users={}:65536", *owner) : "--private-users=pick",
            shifted ? "--private-users-ownership=off" : "--private-users-ownership=map",
            fmt::format("--bind-ro={}/inside:/run/cuda-nspawn-clean", names::program_directory),
            "/run/cuda-nspawn-clean/setup", "remove"};
}

Cleaned clean(const std::string& machine) {
    if (const auto error = machine_name_error(machine)) throw std::runtime_error(*error);
    const std::string image = find_image("/", machine);
    if (image.empty()) throw std::runtime_error(fmt::format("there is no image of machine \"{}\"", machine));
    std::optional<unsigned> owner;
    if (struct stat status{}; ::stat(image.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        owner = status.st_uid;
        if (!examine_guest(RootfsReader(std::filesystem::path(image))).has_ldconfig)
            throw std::runtime_error(
                fmt::format("{} has no ldconfig, which would make its loader's cache without the driver", image));
    }
    const Run done = run(clean_command(machine, image, owner));
    Cleaned cleaned{removed_in(done.output), ""};
    if (!done.in_time)
        cleaned.failure =
            fmt::format("{}: the set-up in it took more than {} s and was ended", image, time_limit.count());
    else if (!WIFEXITED(done.status) || WEXITSTATUS(done.status) != 0)
        cleaned.failure = fmt::format("{}: {}", image, last_line(done.output));
    return cleaned;
}

}  // namespace cuda_nspawn
