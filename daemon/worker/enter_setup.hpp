// Waiting for the guest's own set-up (daemon/inside/setup).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include "worker/enter_machine.hpp"
#include "worker/enter_protocol.hpp"

namespace cuda_nspawn {

// Sleeps until the set-up has seen `epoch` or a later one; nothing when the time is over or the machine ended.
// epoch_file: the host's; it is touched now and then, since systemd's path units miss a change that comes while the
// service they start is just ending.
std::optional<SetupState> wait_for_setup(const RunningMachine& machine, std::uint64_t epoch,
                                         const std::filesystem::path& epoch_file, const std::filesystem::path& proc,
                                         std::chrono::milliseconds limit);

// An inotify descriptor that can be read when the host has changed something of the machine: then it writes the epoch
// anew.
FileDescriptor watch_epoch(const std::filesystem::path& epoch_file);

// machines: a directory on the file system that has the machines'.
bool has_our_mounts(const RunningMachine& machine, const std::filesystem::path& machines,
                    const std::filesystem::path& proc);

}  // namespace cuda_nspawn
