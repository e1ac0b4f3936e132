// Gives the two mounts to a machine that runs without them, because it was started without our settings, and sees to it
// that somebody does the set-up in it.
//
// The mounts arrive read-only and private: nothing that the guest mounts there comes back. What lies in them belongs to
// the host's root, which a guest with user namespaces cannot become.
#pragma once

#include <filesystem>
#include <string>

namespace cuda_nspawn {

struct MountPlaces {
    std::filesystem::path machines = "/run/cuda-nspawn/machines";
    std::filesystem::path store = "/var/lib/cuda-nspawn/driver";
    std::filesystem::path setup = "/usr/lib/cuda-nspawn/inside/setup";
    std::filesystem::path cgroups = "/sys/fs/cgroup";
    std::filesystem::path proc = "/proc";
};

// Mounts, and has the guest's own PID 1 take our units over. What is mounted already stays. Where PID 1 is no systemd,
// does the set-up itself and says so (true): it has to be called again at each change. Linux 5.12 or newer.
// Throws std::runtime_error with a sentence.
bool mount_into(const std::string& machine, const MountPlaces& places = {});

}  // namespace cuda_nspawn
