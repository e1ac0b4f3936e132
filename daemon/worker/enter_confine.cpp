#include "worker/enter_confine.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <span>

namespace cuda_nspawn {
namespace {

constexpr std::uint64_t bit(unsigned capability) { return std::uint64_t{1} << capability; }

// DAC_OVERRIDE: as root in the guest, whatever the modes of its directories. SETUID, SETGID: one check becomes an
// ordinary user. KILL: to end that one.
constexpr std::uint64_t needed_capabilities = bit(CAP_DAC_OVERRIDE) | bit(CAP_SETUID) | bit(CAP_SETGID) | bit(CAP_KILL);

// systemd-nspawn filters the system calls of what it starts; this process was not started by it. Of what nspawn keeps
// from guests, what is dangerous and what no CUDA program calls. (systemd.exec(5) names nspawn's groups.)
constexpr std::array forbidden_calls{SYS_mount,
                                     SYS_umount2,
                                     SYS_open_by_handle_at,
                                     SYS_name_to_handle_at,
                                     SYS_pivot_root,
                                     SYS_chroot,
                                     SYS_fsopen,
                                     SYS_fsconfig,
                                     SYS_fsmount,
                                     SYS_fspick,
                                     SYS_move_mount,
                                     SYS_open_tree,
                                     SYS_mount_setattr,
                                     SYS_setns,
                                     SYS_unshare,
                                     SYS_init_module,
                                     SYS_finit_module,
                                     SYS_delete_module,
                                     SYS_kexec_load,
                                     SYS_kexec_file_load,
                                     SYS_bpf,
                                     SYS_perf_event_open,
                                     SYS_userfaultfd,
                                     SYS_keyctl,
                                     SYS_add_key,
                                     SYS_request_key,
                                     SYS_ptrace,
                                     SYS_process_vm_readv,
                                     SYS_process_vm_writev,
                                     SYS_iopl,
                                     SYS_ioperm,
                                     SYS_swapon,
                                     SYS_swapoff,
                                     SYS_reboot,
                                     SYS_acct,
                                     SYS_quotactl,
                                     SYS_settimeofday,
                                     SYS_clock_settime,
                                     SYS_adjtimex,
                                     SYS_clock_adjtime,
                                     SYS_syslog,
                                     SYS_mknod,
                                     SYS_mknodat,
                                     SYS_pidfd_getfd,
                                     SYS_io_uring_setup};

constexpr std::size_t mounting_calls = 2;  // the first ones

constexpr std::uint32_t refuse = SECCOMP_RET_ERRNO | EPERM;

// Classic BPF: wrong architecture (32-bit or x32 numbers would mean other calls), then one comparison for each call.
bool forbid_calls(bool may_mount) {
    constexpr std::size_t head = 5;
    std::array<sock_filter, head + 2 * forbidden_calls.size() + 1> program{};
    std::size_t at = 0;
    program[at++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
    program[at++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    program[at++] = BPF_STMT(BPF_RET | BPF_K, refuse);
    program[at++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    program[at++] = BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 1, 0);
    for (const long call : std::span(forbidden_calls).subspan(may_mount ? mounting_calls : 0)) {
        program[at++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1);
        program[at++] = BPF_STMT(BPF_RET | BPF_K, refuse);
    }
    program[at++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const sock_fprog filter{static_cast<unsigned short>(at), program.data()};
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool drop_capabilities(std::uint64_t keep) {
    for (unsigned capability = 0; capability < 64; ++capability) {
        if ((keep & bit(capability)) != 0) continue;
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) {
            if (errno == EINVAL) break;  // beyond the last one that the kernel knows
            return false;
        }
    }
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    data[0].effective = data[0].permitted = static_cast<std::uint32_t>(keep);
    data[1].effective = data[1].permitted = static_cast<std::uint32_t>(keep >> 32);
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return ::syscall(SYS_capset, &header, data.data()) == 0;
}

}  // namespace

const char* become_confined_root(std::uint64_t leader_capabilities, bool may_mount) {
    // Before the identity changes: nothing of the guest may attach to this process while it has the host's memory.
    if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) return "hide its memory";
    if (::setgroups(0, nullptr) < 0 || ::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0) return "become its root";
    const std::uint64_t needed = needed_capabilities | (may_mount ? bit(CAP_SYS_ADMIN) : 0);
    if (!drop_capabilities(leader_capabilities & needed)) return "drop capabilities";
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return "refuse new privileges";
    if (!forbid_calls(may_mount)) return "filter system calls";
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) < 0) return "bind its life to the worker's";
    return nullptr;
}

}  // namespace cuda_nspawn
