#include "fake_host.hpp"

#include <algorithm>

#include "driver/kernel_side.hpp"
#include "guest_tree.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/examine.hpp"
#include "worker/expose.hpp"
#include "worker/holders.hpp"
#include "worker/images.hpp"
#include "worker/protocol.hpp"
#include "worker/store.hpp"
#include "worker/survey.hpp"

namespace cuda_nspawn::bus_tests {

FakeHost::FakeHost() {
    // Another user's process has to reach the bus's socket in here.
    std::filesystem::permissions(tree.path(), std::filesystem::perms(0755));
    for (const char* directory :
         {"/root/run/cuda-nspawn/work", "/root/run/cuda-nspawn/state", "/root/run/cuda-nspawn/machines",
          "/root/var/lib/cuda-nspawn/driver", "/root/var/lib/machines", "/root/etc/systemd/nspawn",
          "/root/etc/cuda-nspawn/machines", "/sys"})
        std::filesystem::create_directories(tree.at(directory));
    tree.write_program("/inside/setup", "set-up");
    for (const std::string library : {"libcuda.so", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so"}) {
        const std::string directory = "/root/usr/lib/x86_64-linux-gnu/";
        tree.write(directory + library + "." + driver_version, testing::elf(library + ".1"));
        tree.link(directory + library + ".1", library + "." + driver_version);
    }
    tree.write("/proc/driver/nvidia/version",
               "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  " + driver_version + "  Release Build\n");
    tree.write("/proc/devices",
               "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n510 nvidia-uvm\n\nBlock devices:\n");
    add_gpu("0000:01:00.0", 0, uuid0);
    add_gpu("0000:02:00.0", 1, uuid1);
}

std::vector<std::string> FakeHost::list_work() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(work())) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
}

void FakeHost::add_policy(const std::string& machine, const std::string& text) const {
    tree.write("/root/etc/cuda-nspawn/machines/" + machine + ".yaml", text);
}

void FakeHost::add_image(const std::string& machine) const {
    const std::string image = "/root/var/lib/machines/" + machine;
    for (const auto& [path, content] : debian().files) tree.write(image + path, content);
    tree.write(image + "/etc/ld.so.cache", testing::make_ld_cache({}));
}

void FakeHost::add_gpu(const std::string& pci, unsigned minor, const std::string& uuid) const {
    tree.write("/proc/driver/nvidia/gpus/" + pci + "/information",
               "Model: \t\t Simulated\nGPU UUID: \t " + uuid + "\nDevice Minor: \t " + std::to_string(minor) + "\n");
}

void FakeHost::add_process(unsigned pid, const std::string& cgroup, const std::string& device) const {
    const std::string directory = "/proc/" + std::to_string(pid);
    tree.write(directory + "/cgroup", "0::" + cgroup + "\n");
    tree.write(directory + "/comm", "python3\n");
    tree.write(directory + "/status", "Name:\tpython3\nNSpid:\t" + std::to_string(pid) + "\t56\n");
    tree.link(directory + "/fd/3", device);
}

bool FakeHost::has_node(const std::string& machine, const std::string& node) const {
    return std::filesystem::is_character_file(tree.at("/root/run/cuda-nspawn/machines/" + machine + "/dev/" + node));
}

std::string FakeHost::work_on(const std::string& verb, const std::string& request) const {
    try {
        if (verb == "expose") return expose_plans(request);
        if (verb == "look") return look_at(request);
        if (verb == "store") return store(request);
        if (verb == "test") return self_test(request);
        if (verb == "mount") return to_json(Mounted{});
        if (verb == "clean") return to_json(Cleaned{{{"remove", "/etc/ours", "in the machine"}}, ""});
        if (verb == "survey") return survey(request);
        if (verb == "examine" || verb == "audit") return examine_images(request);
        if (verb == "holders") return to_json(find_holders(parse_holders_request(request), tree.at("/proc")));
        return failure_report("there is no worker " + verb);
    } catch (const std::exception& error) {
        return failure_report(error.what());
    }
}

std::string FakeHost::expose_plans(const std::string& request) const {
    ExposeHost host;
    host.root = tree.at("/root");
    host.inside = tree.at("/inside");
    const KernelSide kernel = read_kernel_side(roots());
    host.driver.gpus = kernel.gpus;
    host.driver.control = kernel.control;
    return to_json(expose(parse_expose_request(request), host));
}

std::string FakeHost::look_at(const std::string& request) const {
    LookReport report;
    for (const std::string& machine : parse_look_request(request)) {
        report[machine] = {};
        report[machine].path = find_image(tree.at("/root"), machine);
    }
    return to_json(report);
}

std::string FakeHost::survey(const std::string& text) const {
    SurveyHost host;
    host.root = tree.at("/root");
    host.proc = tree.at("/proc");
    host.sys = tree.at("/sys");
    host.dev = tree.at("/root/dev");
    host.kernel_log = [this] { return kernel_log; };
    SurveyReport report;
    report.host = survey_host(host);
    for (const std::string& machine : parse_survey_request(text).machines)
        report.machines[machine] = survey_machine(host, machine);
    return to_json(report);
}

std::string FakeHost::examine_images(const std::string& text) const {
    return to_json(examine(parse_examine_request(text), {tree.at("/root"), {}}));
}

std::string FakeHost::store(const std::string& text) const {
    return to_json(work_on_store(parse_store_request(text), {tree.at("/root/var/lib/cuda-nspawn/driver"), roots()}));
}

std::string FakeHost::self_test(const std::string& text) const {
    const TestRequest request = parse_enter_request(text);
    Tested tested;
    tested.run.milliseconds = 42;
    tested.run.output = self_test_output;
    if (self_test_output.empty()) {
        tested.run.output = "{\"check\":\"init\",\"result\":\"passed\",\"ms\":1}\n";
        for (const DeviceNode& node : request.granted) {
            if (node.name == "nvidia0") tested.run.output += "{\"gpu\":\"" + uuid0 + "\"}\n";
            if (node.name == "nvidia1") tested.run.output += "{\"gpu\":\"" + uuid1 + "\"}\n";
        }
        tested.run.output += "{\"end\":true}\n";
    }
    return to_json(tested);
}

}  // namespace cuda_nspawn::bus_tests
