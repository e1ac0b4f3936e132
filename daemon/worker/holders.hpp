// Who has device nodes open, found in /proc/PID/fd of all processes. Only reads, and reports no more than names and
// numbers. Not seen: a device that is mapped only, or open in nothing but a descriptor that is on its way through a
// socket, in an io_uring, or of a thread that does not share its process's.
//
// Guests are hostile: a process names itself, is moved to any cgroup below its unit's, and opens what it likes, files
// of a file system that never answers among it.
#pragma once

#include <cstddef>
#include <filesystem>

#include "engine/ports.hpp"

namespace cuda_nspawn {

// What is beyond them is a note.
struct HoldersLimits {
    std::size_t holders = 4096;
    std::size_t files_of_one = 65536;
    std::size_t files = 2'000'000;  // of all processes; some seconds, within the unit's time limit
};

Holders find_holders(const HoldersRequest& request, const std::filesystem::path& proc = "/proc",
                     const HoldersLimits& limits = {});

}  // namespace cuda_nspawn
