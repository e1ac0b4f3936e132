#include "worker/enter_setup.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "guest/rootfs_reader.hpp"
#include "names.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_state = std::size_t{64} * 1024;
constexpr std::chrono::milliseconds first_nudge{250};  // and how often it is looked where there is no inotify
constexpr std::chrono::milliseconds longest_pause{2000};

using Clock = std::chrono::steady_clock;

// The guest's root directory, as its leader has it. No guest's path is followed here: the link is the kernel's.
FileDescriptor open_root(const RunningMachine& machine, const std::filesystem::path& proc) {
    FileDescriptor root(
        ::open((proc / std::to_string(machine.leader) / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return machine.is_alive() ? std::move(root) : FileDescriptor();
}

FileDescriptor open_run(int root) {
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
    return FileDescriptor(static_cast<int>(::syscall(SYS_openat2, root, "/run", &how, sizeof how)));
}

// Watches a directory of the guest's by its inode, from outside.
int watch(int inotify, int directory) {
    return ::inotify_add_watch(inotify, fmt::format("/proc/self/fd/{}", directory).c_str(),
                               IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR);
}

void discard_events(int inotify) {
    std::array<char, 16384> events{};
    while (::read(inotify, events.data(), events.size()) > 0) {}
}

void touch(const std::filesystem::path& file) {
    const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (fd) ::futimens(fd.get(), nullptr);
}

// The reader crosses no mount, and the guest's /run is one, so it is the reader's root here.
std::optional<SetupState> read_state(int run) {
    static_assert(names::guest_state_file.starts_with("/run/"));
    const RootfsReader reader(::dup(run));
    const auto text = reader.read(names::guest_state_file.substr(4), longest_state);
    return text ? parse_setup_state(*text) : std::nullopt;
}

}  // namespace

bool has_our_mounts(const RunningMachine& machine, const std::filesystem::path& machines,
                    const std::filesystem::path& proc) {
    const FileDescriptor file(
        ::open((proc / std::to_string(machine.leader) / "mountinfo").c_str(), O_RDONLY | O_CLOEXEC));
    std::string text(std::size_t{1} << 20, '\0');  // a guest may have as many mounts as it likes
    std::size_t have = 0;
    for (ssize_t got; have < text.size() && (got = ::read(file.get(), text.data() + have, text.size() - have)) > 0;)
        have += static_cast<std::size_t>(got);
    struct stat status{};
    return ::stat(machines.c_str(), &status) == 0 &&
           shows_our_mounts(std::string_view(text).substr(0, have), status.st_dev);
}

// Not IN_ATTRIB, which is a touch.
FileDescriptor watch_epoch(const std::filesystem::path& epoch_file) {
    FileDescriptor inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    ::inotify_add_watch(inotify.get(), epoch_file.c_str(), IN_MODIFY | IN_DELETE_SELF | IN_DONT_FOLLOW);
    return inotify;
}

// There may be no inotify: the kernel lends root 128 of them by default (fs.inotify.max_user_instances), and a running
// guest takes eight. Then it is looked at after each pause.
std::optional<SetupState> wait_for_setup(const RunningMachine& machine, std::uint64_t epoch,
                                         const std::filesystem::path& epoch_file, const std::filesystem::path& proc,
                                         std::chrono::milliseconds limit) {
    const auto end = Clock::now() + limit;
    const FileDescriptor root = open_root(machine, proc);
    const FileDescriptor inotify(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!root) return std::nullopt;
    FileDescriptor run;
    auto pause = first_nudge;
    for (bool look_again = true;;) {
        // A guest that mounts another /run after we looked is found out at the next round.
        if (look_again) {
            run = open_run(root.get());
            if (run) watch(inotify.get(), run.get());
        }
        auto state = run ? read_state(run.get()) : std::nullopt;
        if (state && state->epoch >= epoch) return state;
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        if (left.count() <= 0) return std::nullopt;
        std::array<pollfd, 2> wait{{{inotify.get(), POLLIN, 0}, {machine.pidfd.get(), POLLIN, 0}}};
        const int woken = ::poll(wait.data(), wait.size(), static_cast<int>(std::min(left, pause).count()));
        if (wait[1].revents != 0) return std::nullopt;
        discard_events(inotify.get());
        look_again = woken == 0;
        if (look_again) {
            if (!has_our_mounts(machine, epoch_file.parent_path(), proc)) return std::nullopt;
            touch(epoch_file);
            pause = inotify ? std::min(2 * pause, longest_pause) : first_nudge;
        }
    }
}

}  // namespace cuda_nspawn
