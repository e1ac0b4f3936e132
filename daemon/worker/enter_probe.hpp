// The proof of isolation: which NVIDIA nodes open under a machine's device rules.
//
// A process of ours joins the machine's cgroup, stays in the host's namespaces and opens every node, on nodes made for
// this. It executes nothing, so no file of the guest has a say.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "driver/driver.hpp"
#include "elf/file_descriptor.hpp"
#include "worker/enter_cgroup.hpp"

namespace cuda_nspawn {

class IsolationProbe {
public:
    // Starts. Refuses nodes that are none of NVIDIA's by /proc/devices. Throws std::runtime_error with a sentence.
    IsolationProbe(const LeafCgroup& cgroup, std::vector<DeviceNode> nodes, const std::string& proc_devices);
    ~IsolationProbe();
    IsolationProbe(const IsolationProbe&) = delete;
    IsolationProbe& operator=(const IsolationProbe&) = delete;

    // One errno per node. Throws std::runtime_error when the probe failed or did not end in time.
    std::vector<int> finish(std::chrono::milliseconds limit);

private:
    std::vector<DeviceNode> nodes_;
    FileDescriptor results_;
    FileDescriptor process_;
};

}  // namespace cuda_nspawn
