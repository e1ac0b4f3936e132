// The driver's userspace on the host: which files belong to it and where they really lie.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "driver/driver.hpp"
#include "driver/host_tree.hpp"

namespace cuda_nspawn {

struct Libraries {
    std::string version;         // of the driver that was chosen; empty: no libcuda
    std::string cuda_directory;  // where its 64-bit libcuda lies
    std::string glibc;           // that libcuda needs
    std::vector<DriverFile> files;
    std::vector<std::string> notes;
    std::string unreadable;            // see Driver
    std::vector<std::string> foreign;  // paths of files that the distribution built, see oldest_glibc
};

// Libraries of both word sizes, one version of them: `wanted` where it is installed, else the newest.
Libraries find_libraries(const HostTree& tree, std::string_view wanted);

// Programs, data and firmware that go with those libraries. What is odd is added to the libraries' notes.
std::vector<DriverFile> find_programs(const HostTree& tree, Libraries& libraries);
std::vector<DriverFile> find_data(const HostTree& tree, Libraries& libraries);

// Directories that may hold libraries, in the loader's order as far as it can be told: those of ld.so.conf and its
// fragments, then the known ones. None is checked for being there.
std::vector<std::string> library_directories(const HostTree& tree);
// The directories that a pattern with an fnmatch(3) last component stands for; a path without one stands for itself.
std::vector<std::string> expand_directories(const HostTree& tree, std::string_view pattern);

}  // namespace cuda_nspawn
