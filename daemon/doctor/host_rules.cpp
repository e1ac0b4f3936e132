// The host: its GPUs, NVIDIA's kernel modules, the driver's files.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/kernel_log.hpp"
#include "doctor/rules.hpp"

namespace cuda_nspawn {

namespace {

constexpr unsigned display_class = 0x03;
constexpr unsigned other_bridge = 0x0680;  // how an NVSwitch shows itself

bool is_display(const PciDevice& device) { return device.pci_class >> 8 == display_class; }

bool has_module(const HostEvidence& host, std::string_view name) {
    return std::ranges::find(host.modules, name) != host.modules.end();
}

bool is_well(const Evidence& evidence) {
    return evidence.verdict.result == VerdictResult::passed || evidence.verdict.result == VerdictResult::degraded;
}

bool lacks_gpus(const Evidence& evidence) {
    return evidence.driver.gpus.empty() ||
           (evidence.policy && !select_gpus(*evidence.policy, evidence.driver).errors.empty());
}

void find_bus(const Evidence& evidence, Findings& findings) {
    const HostEvidence& host = evidence.host;
    if (!lacks_gpus(evidence)) return;
    if (evidence.driver.gpus.empty() && std::ranges::none_of(host.pci, is_display))
        findings.push_back({.code = "no-gpu-in-host",
                            .text = "This host has no NVIDIA GPU on its PCI bus.",
                            .evidence = {"/sys/bus/pci/devices: no display controller of vendor 10de"},
                            .fix = "See that the card is seated and has power, that the firmware shows it, and in a "
                                   "virtual machine that it is passed through: lspci -d 10de:"});
    for (const PciDevice& device : host.pci)
        if (is_display(device) && device.driver == "vfio-pci")
            findings.push_back(
                {.code = "gpu-taken-by-vfio",
                 .text = fmt::format("The GPU at {} is held by vfio-pci, for a virtual machine, so NVIDIA's module "
                                     "cannot have it.",
                                     device.address),
                 .evidence = {fmt::format("/sys/bus/pci/devices/{}/driver: vfio-pci", device.address)},
                 .where = FixPlace::host,
                 .fix = fmt::format("echo > /sys/bus/pci/devices/{0}/driver_override; "
                                    "echo {0} > /sys/bus/pci/drivers/vfio-pci/unbind; "
                                    "echo {0} > /sys/bus/pci/drivers/nvidia/bind",
                                    device.address)});
}

void find_module(const Evidence& evidence, Findings& findings) {
    if (!evidence.driver.kernel_version.empty()) return;
    const HostEvidence& host = evidence.host;
    if (has_module(host, "nouveau"))
        findings.push_back({.code = "nouveau-in-the-way",
                            .text = "The module nouveau has the GPU, so NVIDIA's module cannot be loaded.",
                            .evidence = {"/sys/module/nouveau", "/proc/driver/nvidia/version: not there"},
                            .where = FixPlace::host,
                            .fix = "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' "
                                   ">/etc/modprobe.d/blacklist-nouveau.conf; modprobe -r nouveau; modprobe nvidia; "
                                   "modprobe nvidia-uvm"});
    if (const auto line = find_refused_module(host.kernel_log))
        findings.push_back(
            {.code = "module-refused",
             .text = host.secure_boot ? "The kernel refuses NVIDIA's module, since Secure Boot is on and it is not "
                                        "signed with a key that the firmware knows."
                                      : "The kernel refuses NVIDIA's module for its signature.",
             .evidence = {fmt::format("kernel log: {}", *line)},
             .fix = "Sign it with a key that the firmware is told of (on Debian: mokutil --import "
                    "/var/lib/dkms/mok.pub, reboot and enrol the key), or switch Secure Boot off; then modprobe "
                    "nvidia"});
    findings.push_back({.code = "no-module",
                        .text = driver_problem(evidence.driver).value_or("No NVIDIA kernel module is loaded."),
                        .evidence = {fmt::format("/proc/driver/nvidia/version: not there; kernel {}",
                                                 host.kernel_release.empty() ? "unknown" : host.kernel_release)},
                        .where = FixPlace::host,
                        .fix = "modprobe nvidia && modprobe nvidia-uvm"});
}

// "0000:01:00" of "0000:01:00.0": the machine has it, or nobody any more.
bool concerns(const Evidence& evidence, const XidLine& xid) {
    const auto is_it = [&](const Gpu& gpu) { return gpu.pci_address.starts_with(xid.address + "."); };
    if (std::ranges::none_of(evidence.driver.gpus, is_it)) return true;
    return evidence.policy && std::ranges::any_of(select_gpus(*evidence.policy, evidence.driver).gpus, is_it);
}

// An error of yesterday's says nothing of a machine in which nothing is wrong.
void find_log(const Evidence& evidence, Findings& findings) {
    const bool is_bad =
        evidence.verdict.result == VerdictResult::failed || evidence.verdict.result == VerdictResult::no_verdict;
    if (!is_bad && !lacks_gpus(evidence)) return;
    for (const XidLine& xid : find_xids(evidence.host.kernel_log)) {
        if (!concerns(evidence, xid)) continue;
        const bool is_lost = xid.number == 79;
        findings.push_back(
            {.code = is_lost ? "gpu-off-the-bus" : "gpu-error",
             .severity = is_lost || is_bad ? FindingSeverity::error : FindingSeverity::warning,
             .text = is_lost ? fmt::format("The GPU at {} has fallen off the bus.", xid.address)
                             : fmt::format("The kernel log has Xid {} of the GPU at {}{}.", xid.number, xid.address,
                                           xid.meaning.empty() ? "" : fmt::format(": {}", xid.meaning)),
             .evidence = {fmt::format("kernel log: {}", xid.line)},
             .fix = is_lost ? "Reboot the host (a power cycle, if it does not come back); when it happens again, look "
                              "at power, cooling and the slot"
                            : "NVIDIA's list of Xid errors says what this number means; where a program caused it, end "
                              "that, else reset the GPU (nvidia-smi --gpu-reset, with nothing using it) or reboot"});
    }
}

std::string reload_text() {
    return "reload the module with nothing using it (modprobe -r nvidia-uvm nvidia-drm nvidia-modeset nvidia; modprobe "
           "nvidia-uvm), or reboot";
}

void find_files(const Evidence& evidence, Findings& findings) {
    const Driver& driver = evidence.driver;
    if (driver.kernel_version.empty()) return;
    const std::string problem = driver_problem(driver).value_or("");
    if (driver.userspace_version.empty() || evidence.files_missing) {
        const bool works = evidence.generation.starts_with(driver.kernel_version + "-");
        findings.push_back(
            {.code = "driver-files-missing",
             .severity = works ? FindingSeverity::warning : FindingSeverity::error,
             .text = works ? fmt::format("The host's driver files are gone; machines keep their copy of "
                                         "{}.",
                                         driver.userspace_version)
                           : problem,
             .evidence = {fmt::format("module {}; no libcuda.so.{}", driver.kernel_version, driver.kernel_version)},
             .fix = "Install the driver's user space of the module's version, or name its directory in "
                    "/etc/ld.so.conf.d and run ldconfig"});
    } else if (driver.kernel_version != driver.userspace_version || !evidence.pending_version.empty()) {
        const bool works = evidence.generation.starts_with(driver.kernel_version + "-");
        findings.push_back(
            {.code = "version-mismatch",
             .severity = works ? FindingSeverity::warning : FindingSeverity::error,
             .text = works ? fmt::format("The host's driver files are {} and its module is still {}: machines keep "
                                         "their copy of {} until the module is reloaded.",
                                         evidence.pending_version, driver.kernel_version, driver.kernel_version)
                           : problem,
             .evidence = {fmt::format("/proc/driver/nvidia/version: {}", driver.kernel_version),
                          fmt::format("libcuda.so.{}", works ? evidence.pending_version : driver.userspace_version)},
             .fix = fmt::format("To have the new driver: {}", reload_text())});
    }
    if (!evidence.build_failure.empty())
        findings.push_back({.code = "driver-not-copied",
                            .severity = evidence.generation.empty() ? FindingSeverity::error : FindingSeverity::warning,
                            .text = evidence.build_failure,
                            .evidence = {"/var/lib/cuda-nspawn/driver"},
                            .where = FixPlace::host,
                            .fix = "cuda-nspawnctl refresh"});
}

void find_uvm(const Evidence& evidence, Findings& findings) {
    const Driver& driver = evidence.driver;
    if (driver.kernel_version.empty() || driver.has_uvm()) return;
    findings.push_back({.code = "uvm-missing",
                        .text = "The kernel module nvidia-uvm is not loaded: nvidia-smi works without it, and CUDA "
                                "fails with error 999.",
                        .evidence = {"/proc/devices: no nvidia-uvm"},
                        .where = FixPlace::host,
                        .fix = "modprobe nvidia-uvm"});
}

// A file that is there and cannot be used has a note.
std::vector<std::string> what_is_said_of(const Driver& driver, std::string_view library) {
    std::vector<std::string> said;
    for (const std::string& note : driver.notes)
        if (note.find(library) != std::string::npos) said.push_back(note);
    if (said.empty()) said.emplace_back("not in the loader's cache and known directories of the host");
    return said;
}

// What CUDA and nvidia-smi load by name only when they need it; libcuda itself is known by the version.
void find_parts(const Evidence& evidence, Findings& findings) {
    struct Part {
        Capability capability;
        std::string_view library;
        std::string_view without;
    };
    constexpr std::array parts{Part{Capability::compute, "libnvidia-ptxjitcompiler.so.",
                                    "CUDA cannot compile PTX (error 221), so most programs fail"},
                               Part{Capability::utility, "libnvidia-ml.so.", "nvidia-smi and NVML do not work"}};
    const Driver& driver = evidence.driver;
    if (driver.files.empty() || !evidence.policy || !evidence.policy->wants_gpus()) return;
    for (const Part& part : parts) {
        const auto& wanted = evidence.policy->capabilities;
        if (std::ranges::find(wanted, part.capability) == wanted.end()) continue;
        if (std::ranges::any_of(driver.files, [&](const DriverFile& file) {
                return file.kind == FileKind::library && file.name.starts_with(part.library);
            }))
            continue;
        findings.push_back(
            {.code = "driver-part-missing",
             .text = fmt::format("The host's driver {} has no {}{}: {}.", driver.userspace_version, part.library,
                                 driver.userspace_version, part.without),
             .evidence = what_is_said_of(driver, part.library),
             .fix = fmt::format("Install the rest of the host's driver, of version {}, and run ldconfig and "
                                "cuda-nspawnctl refresh",
                                driver.userspace_version)});
    }
}

bool says(const Verdict& verdict, std::string_view word) { return verdict.summary.find(word) != std::string::npos; }

// That the module knows NVSwitches says nothing: it always does. In a virtual machine they, and their manager, may be
// the hypervisor's.
void find_fabric(const Evidence& evidence, Findings& findings) {
    const HostEvidence& host = evidence.host;
    const bool has_switch =
        std::ranges::any_of(host.pci, [](const PciDevice& device) { return device.pci_class == other_bridge; });
    const bool is_told = says(evidence.verdict, "SYSTEM_NOT_READY");
    if (is_well(evidence) || host.fabric_manager || (!has_switch && !is_told)) return;
    if (!is_told && evidence.verdict.result == VerdictResult::failed) return;  // it was something else
    findings.push_back({.code = "fabric-manager-missing",
                        .severity = is_told ? FindingSeverity::error : FindingSeverity::warning,
                        .text = "nvidia-fabricmanager does not run, and this host's GPUs are connected by NVSwitches: "
                                "CUDA fails with error 802 (SYSTEM_NOT_READY).",
                        .evidence = {"no process nv-fabricmanager on the host",
                                     has_switch ? "NVSwitch on the PCI bus" : evidence.verdict.summary},
                        .where = FixPlace::host,
                        .fix = "systemctl enable --now nvidia-fabricmanager"});
}

void find_gpus(const Evidence& evidence, Findings& findings) {
    const Driver& driver = evidence.driver;
    if (driver.kernel_version.empty()) return;
    if (driver.gpus.empty()) {
        Driver complete = driver;  // else it might be its files that the sentence is about
        complete.userspace_version = driver.kernel_version;
        findings.push_back({.code = "no-gpu",
                            .text = driver_problem(complete).value_or("The NVIDIA module has no GPU."),
                            .evidence = {"/proc/driver/nvidia/gpus: empty"},
                            .fix = "See lspci -d 10de: and the lines with NVRM in the kernel's log (journalctl -k)"});
        return;
    }
    if (!evidence.policy || !evidence.policy->wants_gpus()) return;
    const GpuSelection selection = select_gpus(*evidence.policy, driver);
    for (const std::string& error : selection.errors)
        findings.push_back({.code = "gpu-not-found",
                            .text = error,
                            .evidence = {evidence.policy->path},
                            .where = FixPlace::policy,
                            .fix = "gpus: all"});
    for (const Gpu& gpu : selection.gpus)
        if (std::ranges::find(evidence.host.mig_gpus, gpu.minor) != evidence.host.mig_gpus.end())
            findings.push_back(
                {.code = "gpu-in-mig-mode",
                 .text = fmt::format("GPU {} ({} at {}) is divided into MIG instances, which this version gives to no "
                                     "machine, and CUDA does not use the GPU as a whole then.",
                                     gpu.index, gpu.model, gpu.pci_address),
                 .evidence = {fmt::format("/proc/driver/nvidia/capabilities/gpu{}/mig", gpu.minor)},
                 .where = FixPlace::host,
                 .fix = fmt::format("nvidia-smi -i {0} -mig 0 && nvidia-smi --gpu-reset -i {0}", gpu.pci_address)});
}

// Of which driver's numbers a node of the host's has to be.
std::string_view major_name(std::string_view node) {
    if (node.starts_with("/dev/nvidia-uvm")) return "nvidia-uvm";
    if (node == "/dev/nvidiactl" || node == "/dev/nvidia-modeset") return "nvidia";
    constexpr std::string_view prefix = "/dev/nvidia";
    const bool is_gpu = node.starts_with(prefix) && node.size() > prefix.size() &&
                        node.find_first_not_of("0123456789", prefix.size()) == std::string_view::npos;
    return is_gpu ? "nvidia" : "";
}

void find_nodes(const Evidence& evidence, Findings& findings) {
    const auto& majors = evidence.host.majors;
    for (const HostNode& node : evidence.host.nodes) {
        const std::string_view name = major_name(node.path);
        auto major = majors.find(name);
        if (major == majors.end() && name == "nvidia") major = majors.find(std::string_view("nvidia-frontend"));
        if (name.empty() || major == majors.end() || major->second == node.major) continue;
        findings.push_back(
            {.code = "host-node-stale",
             .severity = FindingSeverity::info,
             .text = fmt::format("The host's own node {} has the number {}, and the module has {} now: programs of the "
                                 "host fail. Machines have nodes of their own and are not concerned.",
                                 node.path, node.major, major->second),
             .evidence = {fmt::format("{}: {}:{}", node.path, node.major, node.minor),
                          fmt::format("/proc/devices: {} {}", major->second, name)},
             .where = FixPlace::host,
             .fix = fmt::format("rm {0} && mknod -m {1:o} {0} c {2} {3}", node.path, node.mode & 0777, major->second,
                                node.minor)});
    }
}

void find_sockets(const Evidence& evidence, Findings& findings) {
    if (!evidence.policy) return;
    for (const HostSocket socket : evidence.policy->sockets) {
        const std::string directory = socket_directory(socket);
        const std::string path = fmt::format("/run/{}/socket", directory);
        if (std::ranges::find(evidence.host.sockets, path) != evidence.host.sockets.end()) continue;
        findings.push_back(
            {.code = "socket-missing",
             .severity = FindingSeverity::warning,
             .text = fmt::format("The policy wants the socket of {}, which does not run on the host.", directory),
             .evidence = {fmt::format("{}: not there", path)},
             .where = FixPlace::host,
             .fix = fmt::format("systemctl enable --now {}", directory)});
    }
}

void find_iommu(const Evidence& evidence, Findings& findings) {
    const auto& checks = evidence.verdict.checks;
    const auto check = std::ranges::find(checks, "peer-copy", &Check::name);
    if (!evidence.host.iommu || check == checks.end() || check->result != CheckResult::failed) return;
    findings.push_back(
        {.code = "iommu-in-the-way",
         .text = "Copies from GPU to GPU go wrong, and this host translates addresses of devices "
                 "(IOMMU): bare-metal peer copies need that switched off or passed through.",
         .evidence = {"/sys/kernel/iommu_groups: not empty", fmt::format("peer-copy: {}", check->detail)},
         .fix = "Boot the kernel with iommu=pt, and switch off ACS of the PCI bridges between the GPUs "
                "where the firmware can"});
}

}  // namespace

void find_in_host(const Evidence& evidence, Findings& findings) {
    find_bus(evidence, findings);
    find_module(evidence, findings);
    find_log(evidence, findings);
    find_gpus(evidence, findings);
    find_files(evidence, findings);
    find_uvm(evidence, findings);
    if (!evidence.host.unified_cgroups)
        findings.push_back({.code = "cgroup-v1",
                            .text = "This host runs with the old hierarchy of control groups (v1), in which device "
                                    "rules of machines are not looked after.",
                            .evidence = {"/sys/fs/cgroup is no cgroup2 file system"},
                            .fix = "Boot the kernel with systemd.unified_cgroup_hierarchy=1"});
    find_parts(evidence, findings);
    find_fabric(evidence, findings);
    find_iommu(evidence, findings);
    find_nodes(evidence, findings);
    find_sockets(evidence, findings);
}

}  // namespace cuda_nspawn
