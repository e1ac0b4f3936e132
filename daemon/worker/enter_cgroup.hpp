// A cgroup of our own inside a machine's: what runs in it is under the machine's device rules (cgroups(7)).
#pragma once

#include <chrono>
#include <filesystem>
#include <string>

#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {

class LeafCgroup {
public:
    // Makes it, and removes what an earlier run left. Throws std::runtime_error with a sentence.
    LeafCgroup(const std::filesystem::path& root, const std::string& machine_cgroup);
    // Kills what is in it and removes it; leaves it behind, for the next run to remove, if that takes too long.
    ~LeafCgroup();
    LeafCgroup(const LeafCgroup&) = delete;
    LeafCgroup& operator=(const LeafCgroup&) = delete;

    // For a child after fork(): write "0" to it to join. Open until the end.
    int procs() const { return procs_.get(); }
    void kill() const;

private:
    FileDescriptor parent_;
    std::string name_;
    FileDescriptor directory_;
    FileDescriptor procs_;
};

}  // namespace cuda_nspawn
