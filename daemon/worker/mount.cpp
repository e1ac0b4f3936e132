#include "worker/mount.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "names.hpp"
#include "worker/enter_machine.hpp"
#include "worker/enter_program.hpp"
#include "worker/enter_setup.hpp"

namespace cuda_nspawn {
namespace {

// The guest may just be booting. Its loader's cache may have to be mounted.
constexpr ProgramLimits set_up_limits{
    .time = std::chrono::seconds{60}, .output = std::size_t{16} * 1024, .may_mount = true};
constexpr int exit_no_systemd = 3;  // of daemon/inside/setup/setup.h

// A mount that hangs nowhere yet, and the name it gets in the guest's /run.
struct Loose {
    FileDescriptor tree;
    std::string name;
};

// Read-only before it is attached: what is set later does not reach a mount that another namespace has. Private:
// a mount that the guest makes on it must not appear on the host.
Loose detach_copy(const std::filesystem::path& source, std::string_view place, std::uint64_t flags) {
    static_assert(names::guest_directory.starts_with("/run/") && names::guest_store.starts_with("/run/"));
    Loose loose{FileDescriptor(::open_tree(AT_FDCWD, source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)),
                std::string(place.substr(5))};
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | flags;
    attributes.propagation = MS_PRIVATE;
    if (!loose.tree || ::mount_setattr(loose.tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
        throw std::runtime_error(fmt::format("cannot take {} along: {}", source.string(), std::strerror(errno)));
    return loose;
}

// What the child tells: the step at which it stopped, a string of this program's; nullptr when all is done.
struct Outcome {
    const char* step;
    int error;
};

int open_beneath(int directory, const char* path, int flags) {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_DIRECTORY | O_CLOEXEC);
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
    return static_cast<int>(::syscall(SYS_openat2, directory, path, &how, sizeof how));
}

// The host's number of the guest's root (user_namespaces(7): "0 NUMBER COUNT").
uid_t root_of(pid_t leader, const std::filesystem::path& proc) {
    std::ifstream map(proc / std::to_string(leader) / "uid_map");
    std::uint64_t inside = 1;
    std::uint64_t outside = 0;
    if (!(map >> inside >> outside) || inside != 0)
        throw std::runtime_error(fmt::format("process {} has no root among its users", leader));
    return static_cast<uid_t>(outside);
}

// As the guest's root and in what is its own: a guest may have bound a directory of the host's over its /run.
bool make_directory(int run, const char* name, uid_t root) {
    struct stat status{};
    if (::fstat(run, &status) < 0) return false;
    if (status.st_uid != root) {
        errno = EPERM;
        return false;
    }
    ::setfsgid(status.st_gid);
    ::setfsuid(root);
    const bool made = ::mkdirat(run, name, 0755) == 0 || errno == EEXIST;
    const int error = errno;
    ::setfsuid(0);
    ::setfsgid(0);
    errno = error;
    return made;
}

bool is_same_directory(int one, int other) {
    struct stat left{}, right{};
    return ::fstat(one, &left) == 0 && ::fstat(other, &right) == 0 && left.st_dev == right.st_dev &&
           left.st_ino == right.st_ino;
}

// In the child, in the guest's mount namespace. The target is held by a descriptor, so that what the guest moves
// meanwhile is only its own loss: a mount can be attached nowhere but in this namespace.
const char* attach(int run, const Loose& loose, uid_t guest_root) {
    if (!make_directory(run, loose.name.c_str(), guest_root)) return "make a directory in its /run";
    const FileDescriptor target(open_beneath(run, loose.name.c_str(), O_PATH));
    if (!target) return "open a directory in its /run";
    if (is_same_directory(target.get(), loose.tree.get())) return nullptr;
    return ::move_mount(loose.tree.get(), "", target.get(), "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0
               ? "mount in its /run"
               : nullptr;
}

const char* attach_all(const RunningMachine& machine, int root, uid_t guest_root, const std::array<Loose, 2>& mounts) {
    if (::setns(machine.pidfd.get(), CLONE_NEWNS) < 0) return "enter its mount namespace";
    const FileDescriptor run(open_beneath(root, "/run", O_RDONLY));
    if (!run) return "open its /run";
    for (const Loose& loose : mounts)
        if (const char* step = attach(run.get(), loose, guest_root)) return step;
    return nullptr;
}

void mount_in_child(const RunningMachine& machine, int root, uid_t guest_root, const std::array<Loose, 2>& mounts) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw std::runtime_error("cannot make a pipe");
    const FileDescriptor read_end(ends[0]);
    FileDescriptor write_end(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
        Outcome outcome{attach_all(machine, root, guest_root, mounts), 0};
        outcome.error = errno;
        ::_exit(::write(write_end.get(), &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
    }
    write_end = FileDescriptor();
    Outcome outcome{"be entered", ECHILD};
    const ssize_t got = child < 0 ? -1 : ::read(read_end.get(), &outcome, sizeof outcome);
    int status = 0;
    // Killed by the host, as no guest can: it counts as if all of this process had been, and the request is made again.
    if (child > 0 && ::waitpid(child, &status, 0) == child && WIFSIGNALED(status)) ::raise(SIGKILL);
    if (got != sizeof outcome || outcome.step != nullptr)
        throw std::runtime_error(fmt::format("the driver cannot be mounted into {}: cannot {}: {}", machine.name,
                                             outcome.step, std::strerror(outcome.error)));
}

// A PID 1 that was started without our units' directory is told of it; another one than systemd needs nothing.
bool have_set_up_done(const RunningMachine& machine, bool knows_our_units, const MountPlaces& places) {
    const LeafCgroup cgroup(places.cgroups, machine.cgroup);
    const TestRun run =
        run_in_machine(machine, cgroup, places.setup, knows_our_units ? "attend" : "adopt", set_up_limits);
    const bool ended = run.end == TestEnd::exited;
    if (ended && (run.exit_status == 0 || run.exit_status == exit_no_systemd)) return run.exit_status != 0;
    const std::string reason = ended ? fmt::format("exit status {}: {}", run.exit_status, run.reason) : run.reason;
    throw std::runtime_error(
        fmt::format("the driver is mounted into {}, but the set-up was not done in it ({}); see "
                    "journalctl -M {} -u cuda-nspawn-setup",
                    machine.name, reason.empty() ? "no answer" : reason, machine.name));
}

void give_mounts(const RunningMachine& machine, const MountPlaces& places) {
    const FileDescriptor root(
        ::open((places.proc / std::to_string(machine.leader) / "root").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const uid_t guest_root = root_of(machine.leader, places.proc);
    if (!root || !machine.is_alive()) throw std::runtime_error(fmt::format("{} is just ending", machine.name));
    // The directory of the machine has device nodes, the store has none.
    const std::array<Loose, 2> mounts{detach_copy(places.machines / machine.name, names::guest_directory, 0),
                                      detach_copy(places.store, names::guest_store, MOUNT_ATTR_NODEV)};
    mount_in_child(machine, root.get(), guest_root, mounts);
}

}  // namespace

bool mount_into(const std::string& name, const MountPlaces& places) {
    const RunningMachine machine = find_machine_to_enter(name, places.proc);
    const bool has_mounts = has_our_mounts(machine, places.machines, places.proc);
    if (!has_mounts) give_mounts(machine, places);
    return have_set_up_done(machine, has_mounts, places);
}

}  // namespace cuda_nspawn
