// A machine in which all is well, and what the doctor's tests ask of its findings.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace cuda_nspawn {

// What of a driver the doctor looks for.
inline std::vector<DriverFile> files_of_driver(const std::string& version) {
    std::vector<DriverFile> files;
    for (const auto& [capability, library] :
         {std::pair(Capability::compute, "libcuda.so."), std::pair(Capability::compute, "libnvidia-ptxjitcompiler.so."),
          std::pair(Capability::utility, "libnvidia-ml.so.")}) {
        DriverFile& file = files.emplace_back();
        file.capability = capability;
        file.name = library + version;
        file.source = "/usr/lib/x86_64-linux-gnu/" + file.name;
    }
    return files;
}

inline HostEvidence healthy_host() {
    HostEvidence host;
    host.kernel_release = "6.12.48+deb13-amd64";
    host.modules = {"nvidia", "nvidia_uvm"};
    host.pci = {{"0000:01:00.0", 0x0302, "nvidia"}};
    host.nodes = {{"/dev/nvidia-uvm", 510, 0, 0666, 1'000'000},
                  {"/dev/nvidia0", 195, 0, 0666, 1'000'000},
                  {"/dev/nvidiactl", 195, 255, 0666, 1'000'000}};
    host.majors = {{"mem", 1}, {"hidraw", 241}, {"nvidia", 195}, {"nvidia-uvm", 510}};
    host.sockets = {"/run/nvidia-persistenced/socket"};
    return host;
}

// A Debian 13 machine that is attached to an H200 with driver 580.159.04, and has passed the self-test.
inline Evidence healthy() {
    Evidence evidence;
    evidence.machine = "trainer";
    evidence.policy.emplace();
    evidence.policy->machine = "trainer";
    evidence.policy->path = "/etc/cuda-nspawn/machines/trainer.yaml";
    evidence.policy->all_gpus = true;
    evidence.driver.kernel_version = evidence.driver.userspace_version = "580.159.04";
    evidence.driver.gpus = {{0, 0, "GPU-aaaaaaaa-0000-0000-0000-000000000000", "0000:01:00.0", "NVIDIA H200", 195}};
    evidence.driver.control = {{"nvidiactl", 195, 255}, {"nvidia-uvm", 510, 0}, {"nvidia-uvm-tools", 510, 1}};
    evidence.driver.files = files_of_driver("580.159.04");
    evidence.generation = "580.159.04-0123456789abcdef";
    evidence.host = healthy_host();
    Guest guest;
    guest.os_id = "debian";
    guest.os_name = "Debian GNU/Linux 13 (trixie)";
    guest.libc = Libc::glibc;
    guest.libc_version = "2.41";
    guest.architecture = "x86-64";
    guest.has_systemd = guest.has_ldconfig = true;
    guest.library_directories = {"/usr/local/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"};
    evidence.image.emplace();
    evidence.image->path = "/var/lib/machines/trainer";
    evidence.image->guest = guest;
    evidence.software = GuestSoftware{};
    evidence.software->has_cache = true;
    evidence.running = RunningEvidence{};
    evidence.running->unit = "systemd-nspawn@trainer.service";
    evidence.running->since_usec = 2'000'000;
    evidence.running->wanted = {{"nvidia-uvm", 510, 0}, {"nvidia0", 195, 0}, {"nvidiactl", 195, 255}};
    for (const DeviceNode& node : evidence.running->wanted)
        evidence.running->device_rules.push_back(device_rule(node) + " rw");
    evidence.verdict.result = VerdictResult::passed;
    evidence.verdict.summary = "passed: 1 GPU, CUDA 13.0, 330 ms";
    for (const char* name : {"set-up", "library", "version", "init", "devices"})
        evidence.verdict.checks.push_back({name, CheckResult::passed, 1, ""});
    evidence.verdict.gpu_uuids = {evidence.driver.gpus.front().uuid};
    evidence.verdict.capabilities = {"9.0"};
    return evidence;
}

inline Evidence healthy_with_driver(const std::string& version) {
    Evidence evidence = healthy();
    evidence.driver.kernel_version = evidence.driver.userspace_version = version;
    evidence.driver.files = files_of_driver(version);
    evidence.generation = version + "-0123456789abcdef";
    return evidence;
}

// A check of the self-test, and with it the verdict, fails.
inline Evidence failing(Evidence evidence, std::string_view check, const std::string& detail) {
    const auto place = std::ranges::find(evidence.verdict.checks, check, &Check::name);
    place->result = CheckResult::failed;
    place->detail = detail;
    evidence.verdict.result = VerdictResult::failed;
    evidence.verdict.summary = "failed: " + std::string(check) + ": " + detail;
    return evidence;
}

inline Guest& guest_of(Evidence& evidence) { return *evidence.image->guest; }

// The only finding of that code; an empty one if there is none or there are several.
inline Finding only(const Findings& findings, std::string_view code) {
    if (std::ranges::count(findings, code, &Finding::code) != 1) return {};
    return *std::ranges::find(findings, code, &Finding::code);
}

template <class Rule>
Findings found(Rule rule, const Evidence& evidence) {
    Findings findings;
    rule(evidence, findings);
    return findings;
}

}  // namespace cuda_nspawn
