#include "worker/enter_program.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "guest/printable.hpp"
#include "worker/complain.hpp"
#include "worker/enter_confine.hpp"

namespace cuda_nspawn {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t longest_complaint = 4096;
constexpr std::chrono::milliseconds patience_after_kill{5000};

std::runtime_error failure(const char* what) {
    return std::runtime_error(fmt::format("nothing can be run in a machine: {}: {}", what, std::strerror(errno)));
}

struct Pipe {
    FileDescriptor read_end;
    FileDescriptor write_end;
    explicit Pipe(int read_flags = O_NONBLOCK) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) < 0) throw failure("a pipe");
        read_end = FileDescriptor(ends[0]);
        write_end = FileDescriptor(ends[1]);
        if (read_flags != 0 && ::fcntl(ends[0], F_SETFL, read_flags) < 0) throw failure("a pipe");
    }
};

// A copy that nobody can change: a guest reaches a running program's file through /proc/PID/exe.
FileDescriptor seal_program(const std::filesystem::path& path) {
    const FileDescriptor source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!source || ::fstat(source.get(), &status) < 0) throw failure(path.c_str());
    constexpr unsigned executable = 0x10;  // MFD_EXEC, Linux 6.3
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    const std::string name = path.filename();
    FileDescriptor copy(::memfd_create(name.c_str(), flags | executable));
    if (!copy) copy = FileDescriptor(::memfd_create(name.c_str(), flags));
    if (!copy) throw failure("memory for the program");
    for (off_t done = 0; done < status.st_size;)
        if (::sendfile(copy.get(), source.get(), &done, static_cast<std::size_t>(status.st_size - done)) <= 0)
            throw failure(path.c_str());
    if (::fcntl(copy.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        throw failure("sealing the program");
    return copy;
}

// What the child tells when it could not start the program; nothing comes when it could.
struct Refusal {
    const char* step;  // the child is a copy of this process, so the pointer means the same here
    int error;
};

struct Streams {
    int in, out, err, status;
};

// Namespaces of the leader's that are not ours already: to join one's own user namespace is an error.
int foreign_namespaces(const RunningMachine& machine, const std::filesystem::path& proc) {
    constexpr std::array<std::pair<const char*, int>, 7> kinds{{{"user", CLONE_NEWUSER},
                                                                {"mnt", CLONE_NEWNS},
                                                                {"net", CLONE_NEWNET},
                                                                {"ipc", CLONE_NEWIPC},
                                                                {"uts", CLONE_NEWUTS},
                                                                {"cgroup", CLONE_NEWCGROUP},
                                                                {"time", 0x80}}};
    int flags = 0;
    for (const auto& [name, flag] : kinds) {
        struct stat theirs{}, ours{};
        const auto below = std::filesystem::path("ns") / name;
        if (::stat((proc / std::to_string(machine.leader) / below).c_str(), &theirs) == 0 &&
            ::stat((proc / "self" / below).c_str(), &ours) == 0 && theirs.st_ino != ours.st_ino)
            flags |= flag;
    }
    if ((flags & CLONE_NEWNS) == 0 || !machine.is_alive())
        throw std::runtime_error(fmt::format("{} shares the host's file systems or has just ended", machine.name));
    return flags;
}

const char* enter_namespaces(const RunningMachine& machine, int namespaces, int cgroup_procs, bool may_mount) {
    if (::write(cgroup_procs, "0", 1) != 1) return "join its cgroup";
    if (::setsid() < 0) return "make a session";
    if (::setns(machine.pidfd.get(), namespaces) < 0) return "enter its namespaces";
    ::umask(022);
    if (::chdir("/") < 0) return "go to its root directory";
    return become_confined_root(machine.capabilities, may_mount);
}

void reset_signals() {
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

const char* arrange_streams(const Streams& streams) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    if (::dup2(streams.in, 0) < 0 || ::dup2(streams.out, 1) < 0 || ::dup2(streams.err, 2) < 0) return "set its streams";
    if (::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC) < 0) return "close descriptors";
    return nullptr;
}

[[noreturn]] void become_program(const RunningMachine& machine, int namespaces, int cgroup_procs, int program,
                                 const char* name, const char* argument, bool may_mount, const Streams& streams) {
    Refusal refusal{enter_namespaces(machine, namespaces, cgroup_procs, may_mount), 0};
    if (!refusal.step) refusal.step = arrange_streams(streams);
    if (!refusal.step) {
        reset_signals();
        const std::array<const char*, 3> arguments{name, argument, nullptr};
        const std::array<const char*, 3> environment{
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", nullptr};
        ::syscall(SYS_execveat, program, "", arguments.data(), environment.data(), AT_EMPTY_PATH);
        refusal.step =
            errno == ENOENT ? "find the C library's loader (/lib64/ld-linux-x86-64.so.2)" : "start the program";
    }
    refusal.error = errno;
    if (::write(streams.status, &refusal, sizeof refusal) < 0) ::_exit(125);
    ::_exit(126);
}

// The child is born into the machine's process namespace; this process stays where it is.
pid_t fork_into(const RunningMachine& machine) {
    const FileDescriptor own(::open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
    if (!own || ::setns(machine.pidfd.get(), CLONE_NEWPID) < 0) throw failure("the machine's process namespace");
    const pid_t child = ::fork();
    const int error = errno;
    if (child == 0) return 0;
    if (::setns(own.get(), CLONE_NEWPID) < 0) throw failure("the own process namespace");
    errno = error;
    if (child < 0) throw failure("a process");
    return child;
}

// Reads what is there; false at the end of the stream. More than the limit is thrown away, but noticed.
bool drain(int pipe, std::string& text, std::size_t limit, bool& overflowed) {
    std::array<char, 16384> buffer{};
    for (;;) {
        const ssize_t got = ::read(pipe, buffer.data(), buffer.size());
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        if (got == 0) return false;
        const std::size_t room = limit - text.size();
        overflowed = overflowed || static_cast<std::size_t>(got) > room;
        text.append(buffer.data(), std::min(room, static_cast<std::size_t>(got)));
        if (overflowed) return true;
    }
}

struct Watched {
    FileDescriptor process;
    Pipe out, err, status;
    std::string complaint;
    bool complained_too_much = false;
};

// Until the program ends, floods, is overtaken or outstays its time. Other processes of the guest may hold the pipes
// open for ever, so the program's end counts and not the pipes'.
void watch(Watched& watched, TestRun& run, const ProgramLimits& limits) {
    const auto end = Clock::now() + limits.time;
    bool out_open = true, err_open = true, flooded = false;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
        std::array<pollfd, 4> wait{{{watched.process.get(), POLLIN, 0},
                                    {out_open ? watched.out.read_end.get() : -1, POLLIN, 0},
                                    {err_open ? watched.err.read_end.get() : -1, POLLIN, 0},
                                    {limits.overtaken, POLLIN, 0}}};
        const int woken = left.count() <= 0 ? 0 : ::poll(wait.data(), wait.size(), static_cast<int>(left.count()));
        if (out_open) out_open = drain(watched.out.read_end.get(), run.output, limits.output, flooded);
        if (err_open)
            err_open =
                drain(watched.err.read_end.get(), watched.complaint, longest_complaint, watched.complained_too_much);
        if (flooded || watched.complained_too_much) {
            run.end = TestEnd::flooded;
            return;
        }
        if (wait[0].revents != 0) {
            run.end = TestEnd::exited;
            return;
        }
        if (wait[3].revents != 0 || woken == 0) {
            run.end = woken == 0 ? TestEnd::timed_out : TestEnd::overtaken;
            return;
        }
    }
}

// Reaps, after a kill where it was necessary. A process that hangs in the driver is left to the kernel.
void reap(Watched& watched, TestRun& run) {
    pollfd ended{watched.process.get(), POLLIN, 0};
    siginfo_t information{};
    if (::poll(&ended, 1, static_cast<int>(patience_after_kill.count())) <= 0 ||
        ::waitid(P_PIDFD, static_cast<id_t>(watched.process.get()), &information, WEXITED) < 0)
        return;
    if (run.end != TestEnd::exited) return;
    run.exit_status = information.si_status;
    if (information.si_code != CLD_EXITED) run.end = TestEnd::killed;
}

std::string last_line(const std::string& text) {
    const std::size_t end = text.find_last_not_of("\n ");
    if (end == std::string::npos) return "";
    const std::size_t begin = text.rfind('\n', end);
    return printable(
        text.substr(begin == std::string::npos ? 0 : begin + 1, end + 1 - (begin == std::string::npos ? 0 : begin + 1)),
        400);
}

// Ends that are none of the self-test's: it was never started, or its loader gave up, or the machine went away.
void explain_end(const Watched& watched, const RunningMachine& machine, TestRun& run) {
    Refusal refusal{};
    const auto give = [&](std::string reason) {
        run.end = TestEnd::not_started;
        run.reason = std::move(reason);
    };
    if (::read(watched.status.read_end.get(), &refusal, sizeof refusal) == sizeof refusal)
        return give(fmt::format("it cannot {} in {}: {}", refusal.step, machine.name, std::strerror(refusal.error)));
    if (run.end == TestEnd::killed && !machine.is_alive()) return give("the machine ended meanwhile");
    if (run.end == TestEnd::exited && run.exit_status == 127 && run.output.empty())
        return give(fmt::format("the guest's loader gave up: {}", last_line(watched.complaint)));
    if (run.end == TestEnd::exited && run.exit_status != 0) run.reason = last_line(watched.complaint);
}

}  // namespace

TestRun run_in_machine(const RunningMachine& machine, const LeafCgroup& cgroup, const std::filesystem::path& program,
                       const std::string& argument, const ProgramLimits& limits) {
    const FileDescriptor sealed = seal_program(program);
    const int namespaces = foreign_namespaces(machine, "/proc");
    const std::string name = program.filename();
    Watched watched;
    // Standard input is an empty pipe: a node of the host's, /dev/null, would be the guest's to change.
    Pipe in(0);
    in.write_end = FileDescriptor();
    const auto begin = Clock::now();
    const pid_t child = fork_into(machine);
    if (child == 0)
        become_program(machine, namespaces, cgroup.procs(), sealed.get(), name.c_str(), argument.c_str(),
                       limits.may_mount,
                       {in.read_end.get(), watched.out.write_end.get(), watched.err.write_end.get(),
                        watched.status.write_end.get()});
    watched.process =
        FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));  // ours, not yet waited for
    for (Pipe* pipe : {&watched.out, &watched.err, &watched.status}) pipe->write_end = FileDescriptor();

    TestRun run;
    watch(watched, run, limits);
    run.milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    if (run.end != TestEnd::exited) {
        // Both: a guest can move the program to another cgroup of its own, but not away from its pidfd.
        cgroup.kill();
        ::syscall(SYS_pidfd_send_signal, watched.process.get(), SIGKILL, nullptr, 0);
    }
    reap(watched, run);
    explain_end(watched, machine, run);
    if (!watched.complaint.empty())
        complain({Event::guest_program_said, machine.name,
                  fmt::format("the {} said: {}", name, last_line(watched.complaint))});
    return run;
}

}  // namespace cuda_nspawn
