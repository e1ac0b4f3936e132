// Looks by name for libraries that programs load by the names of the driver's. Everything read is hostile input.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

using FileIdentity = std::pair<std::uint64_t, std::uint64_t>;  // device and inode
inline FileIdentity identity(const TreeEntry& entry) { return {entry.device, entry.inode}; }

// "535.183.01" and the like, at most 32 characters.
bool is_dotted_version(std::string_view text);

// Whether it is one of the driver's: "libcuda.so.1", "libcuda.so".
bool is_driver_library(std::string_view name);

// The version that the name of the file behind it says, "" when it does not: of "libcuda.so.1" and
// "libcuda.so.535.183.01" it is "535.183.01".
std::string driver_version(std::string_view name, std::string_view real_name);

// The name that a library had before auditwheel put it into a wheel under a name of its own
// (libcuda-abcdef12.so.1), if that was one of the driver's; else "".
std::string name_before_auditwheel(std::string_view name);

class LibraryFinder {
public:
    // each_once: a file that several directories lead to is told of one of them only, not of each.
    LibraryFinder(const GuestTree& tree, std::string_view architecture, bool each_once = false)
        : tree_(tree), architecture_(architecture), each_once_(each_once) {}

    // The file that this leads to is known already.
    void pass_over(const std::string& path);
    // All names of the driver's; so it does not matter how full the directory is.
    void look_into(const std::string& directory);
    // One file, `name` being what it would be called by the driver.
    void look_at(const std::string& path, std::string_view name);

    std::vector<BundledLibrary> found;

private:
    const GuestTree& tree_;
    std::string_view architecture_;
    bool each_once_;
    std::set<FileIdentity> directories_;
    std::set<FileIdentity> known_;
};

}  // namespace cuda_nspawn
