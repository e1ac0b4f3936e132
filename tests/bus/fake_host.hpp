// A host below a temporary directory: driver, kernel side, images, and what the privileged workers do, done here.
#pragma once

#include <string>
#include <vector>

#include "driver_fixture.hpp"
#include "engine/ports.hpp"

namespace cuda_nspawn::bus_tests {

inline const std::string driver_version = "999.42.01";
inline const std::string uuid0 = "GPU-00000000-0000-0000-0000-000000000000";
inline const std::string uuid1 = "GPU-11111111-1111-1111-1111-111111111111";

class FakeHost {
public:
    FakeHost();

    HostRoots roots() const { return {tree.at("/root"), tree.at("/proc"), tree.at("/sys")}; }
    std::filesystem::path work() const { return tree.at("/root/run/cuda-nspawn/work"); }
    std::vector<std::string> list_work() const;  // names, sorted
    std::filesystem::path policies() const { return tree.at("/root/etc/cuda-nspawn/machines"); }
    void add_policy(const std::string& machine, const std::string& text) const;
    void add_image(const std::string& machine) const;  // a Debian that can run the driver
    void add_gpu(const std::string& pci, unsigned minor, const std::string& uuid) const;
    void add_process(unsigned pid, const std::string& cgroup, const std::string& device) const;  // has it open
    bool has_node(const std::string& machine, const std::string& node) const;

    // As cuda-nspawn-worker VERB with that request; the text of its result file.
    std::string work_on(const std::string& verb, const std::string& request) const;

    testing::TemporaryTree tree;
    // What the test "runs" in a guest; by default it passes and sees what it was granted.
    std::string self_test_output;
    std::vector<std::string> kernel_log;

private:
    std::string expose_plans(const std::string& request) const;
    std::string look_at(const std::string& request) const;
    std::string store(const std::string& request) const;
    std::string self_test(const std::string& request) const;
    std::string survey(const std::string& request) const;
    std::string examine_images(const std::string& request) const;
};

}  // namespace cuda_nspawn::bus_tests
