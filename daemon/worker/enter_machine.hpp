// A running machine, as machined, systemd and the kernel agree on it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {

struct RunningMachine {
    std::string name;
    std::string unit;    // systemd-nspawn@NAME.service, or a scope
    std::string cgroup;  // the unit's, below the cgroup root: "/machine.slice/…"
    pid_t leader = 0;    // the guest's PID 1; use the pidfd, the number is for /proc and checked there
    FileDescriptor pidfd;
    std::uint64_t capabilities = 0;  // the leader's bounding set, where it is to be entered

    bool is_alive() const;
    unsigned root(const std::filesystem::path& proc) const;  // what user its root is on the host
};

// Asks machined and systemd on the system bus. Throws std::runtime_error with a sentence.
RunningMachine find_machine(const std::string& name, const std::filesystem::path& proc);

// As soon as it runs a program of the guest's, at the latest after 5 s.
RunningMachine find_machine_to_enter(const std::string& name, const std::filesystem::path& proc);

}  // namespace cuda_nspawn
