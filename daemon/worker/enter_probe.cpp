#include "worker/enter_probe.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "driver/kernel_side.hpp"

namespace cuda_nspawn {
namespace {

std::runtime_error failure(const std::string& what) {
    return std::runtime_error(fmt::format("the isolation probe cannot {}: {}", what, std::strerror(errno)));
}

// The daemon has fewer rights than this process, so what it asks for is checked.
void check_nodes(const std::vector<DeviceNode>& nodes, const std::string& proc_devices) {
    const auto majors = parse_character_majors(proc_devices);
    for (const DeviceNode& node : nodes) {
        const bool known = std::ranges::any_of(
            majors, [&](const auto& entry) { return entry.first.starts_with("nvidia") && entry.second == node.major; });
        if (!known)
            throw std::runtime_error(
                fmt::format("{} ({}:{}) is no node of the NVIDIA driver", node.name, node.major, node.minor));
    }
}

// A file system that is mounted nowhere: no path of any guest leads to it, and no option of a mount forbids devices.
FileDescriptor make_nodes(const std::vector<DeviceNode>& nodes) {
    const FileDescriptor context(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
    if (!context || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
        throw failure("make a file system");
    FileDescriptor mount(static_cast<int>(
        ::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)));
    if (!mount) throw failure("make a file system");
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (::mknodat(mount.get(), std::to_string(i).c_str(), S_IFCHR | 0600, makedev(nodes[i].major, nodes[i].minor)) <
            0)
            throw failure(fmt::format("make the node of {}", nodes[i].name));
    return mount;
}

// In the child. Waits for no GPU to wake up (O_NONBLOCK); the rule has decided by then.
[[noreturn]] void open_all(int cgroup, int mount, std::size_t count, int results) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::write(cgroup, "0", 1) != 1) ::_exit(1);
    for (std::size_t i = 0; i < count; ++i) {
        char name[24];
        *fmt::format_to_n(name, sizeof name - 1, "{}", i).out = '\0';
        const int node = ::openat(mount, name, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        const int error = node < 0 ? errno : 0;
        if (::write(results, &error, sizeof error) != sizeof error) ::_exit(1);
        // Kept open until the end: closing a GPU's last user makes it fall asleep, and that takes long.
    }
    ::_exit(0);
}

}  // namespace

IsolationProbe::IsolationProbe(const LeafCgroup& cgroup, std::vector<DeviceNode> nodes, const std::string& proc_devices)
    : nodes_(std::move(nodes)) {
    check_nodes(nodes_, proc_devices);
    const FileDescriptor mount = make_nodes(nodes_);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) throw failure("make a pipe");
    results_ = FileDescriptor(ends[0]);
    const FileDescriptor write_end(ends[1]);
    const pid_t child = ::fork();
    if (child < 0) throw failure("start");
    if (child == 0) open_all(cgroup.procs(), mount.get(), nodes_.size(), write_end.get());
    process_ = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));  // ours, and not yet waited for
}

IsolationProbe::~IsolationProbe() {
    if (!process_) return;
    ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
    pollfd ended{process_.get(), POLLIN, 0};
    siginfo_t information{};
    if (::poll(&ended, 1, 1000) > 0) ::waitid(P_PIDFD, static_cast<id_t>(process_.get()), &information, WEXITED);
}

std::vector<int> IsolationProbe::finish(std::chrono::milliseconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    std::vector<int> errors;
    while (errors.size() < nodes_.size()) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        pollfd wait{results_.get(), POLLIN, 0};
        if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) == 0)
            throw std::runtime_error(
                fmt::format("the isolation probe hangs while it opens /dev/{}", nodes_[errors.size()].name));
        int error = 0;
        const ssize_t got = ::read(results_.get(), &error, sizeof error);
        if (got < 0 && errno == EINTR) continue;
        if (got != sizeof error) throw std::runtime_error("the isolation probe could not enter the machine's cgroup");
        errors.push_back(error);
    }
    return errors;
}

}  // namespace cuda_nspawn
