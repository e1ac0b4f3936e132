#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/catalogue.hpp"
#include "doctor/rules.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

Findings in_host(const Evidence& evidence) { return found(find_in_host, evidence); }
Finding in_host(const Evidence& evidence, std::string_view code) {
    EXPECT_LT(rank_of(code), finding_catalogue().size()) << code;
    return only(in_host(evidence), code);
}

Evidence untested() {
    Evidence evidence = healthy();
    evidence.verdict = {};
    return evidence;
}

Evidence without_module() {
    Evidence evidence = untested();
    evidence.driver = {};
    evidence.generation.clear();
    evidence.host.modules.clear();
    evidence.host.nodes.clear();
    evidence.host.majors = {{"mem", 1}};
    evidence.host.pci.front().driver.clear();
    return evidence;
}

TEST(DoctorHostRules, say_nothing_of_a_host_on_which_all_is_well) {
    EXPECT_THAT(in_host(healthy()), IsEmpty());
    EXPECT_THAT(in_host(untested()), IsEmpty());
}

// --- the bus and the module ------------------------------------------------------------------------------------------

TEST(DoctorHostRules, miss_a_gpu_on_the_bus) {
    Evidence evidence = without_module();
    evidence.host.pci = {{"0000:05:00.0", 0x0680, ""}};
    const Finding finding = in_host(evidence, "no-gpu-in-host");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "This host has no NVIDIA GPU on its PCI bus.");
    EXPECT_THAT(finding.evidence, ElementsAre(HasSubstr("vendor 10de")));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("passed through"), HasSubstr("lspci -d 10de:")));
    EXPECT_EQ(in_host(without_module(), "no-gpu-in-host"), Finding{}) << "it is there";
}

TEST(DoctorHostRules, name_the_gpu_that_vfio_has) {
    Evidence evidence = without_module();
    evidence.host.pci = {{"0000:01:00.0", 0x0302, "vfio-pci"}, {"0000:01:00.1", 0x0403, "vfio-pci"}};
    const Finding finding = in_host(evidence, "gpu-taken-by-vfio");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("The GPU at 0000:01:00.0"), HasSubstr("vfio-pci")));
    EXPECT_THAT(finding.evidence, ElementsAre("/sys/bus/pci/devices/0000:01:00.0/driver: vfio-pci"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix,
              "echo > /sys/bus/pci/devices/0000:01:00.0/driver_override; "
              "echo 0000:01:00.0 > /sys/bus/pci/drivers/vfio-pci/unbind; "
              "echo 0000:01:00.0 > /sys/bus/pci/drivers/nvidia/bind");
}

TEST(DoctorHostRules, leave_vfio_the_gpus_that_the_policy_does_not_lack) {
    Evidence evidence = healthy();
    evidence.host.pci.push_back({"0000:02:00.0", 0x0302, "vfio-pci"});
    EXPECT_THAT(in_host(evidence), IsEmpty());
    evidence.policy->all_gpus = false;
    evidence.policy->gpus = {GpuPciAddress{"0000:02:00.0"}};
    EXPECT_THAT(in_host(evidence, "gpu-taken-by-vfio").text, HasSubstr("0000:02:00.0"));
}

TEST(DoctorHostRules, know_nouveau) {
    Evidence evidence = without_module();
    evidence.host.modules = {"nouveau"};
    const Finding finding = in_host(evidence, "nouveau-in-the-way");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("nouveau has the GPU"));
    EXPECT_THAT(finding.evidence, Contains("/sys/module/nouveau"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix,
              "printf 'blacklist nouveau\\noptions nouveau modeset=0\\n' >/etc/modprobe.d/blacklist-nouveau.conf; "
              "modprobe -r nouveau; modprobe nvidia; modprobe nvidia-uvm");
    Evidence both = healthy();
    both.host.modules = {"nouveau", "nvidia", "nvidia_uvm"};
    EXPECT_THAT(in_host(both), IsEmpty()) << "it is in nobody's way";
}

TEST(DoctorHostRules, know_a_module_that_was_refused) {
    Evidence evidence = without_module();
    evidence.host.kernel_log = {"nvidia: loading out-of-tree module taints kernel.",
                                "Loading of unsigned module is rejected"};
    const Finding finding = in_host(evidence, "module-refused");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "The kernel refuses NVIDIA's module for its signature.");
    EXPECT_THAT(finding.evidence, ElementsAre("kernel log: Loading of unsigned module is rejected"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("mokutil --import /var/lib/dkms/mok.pub"), HasSubstr("modprobe nvidia")));
    evidence.host.secure_boot = true;
    EXPECT_THAT(in_host(evidence, "module-refused").text, HasSubstr("Secure Boot is on"));
    Evidence loaded = healthy();
    loaded.host.kernel_log = evidence.host.kernel_log;
    EXPECT_THAT(in_host(loaded), IsEmpty()) << "it was loaded later";
}

TEST(DoctorHostRules, miss_the_module) {
    const Finding finding = in_host(without_module(), "no-module");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, driver_problem(Driver{}));
    EXPECT_THAT(finding.evidence, ElementsAre("/proc/driver/nvidia/version: not there; kernel 6.12.48+deb13-amd64"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "modprobe nvidia && modprobe nvidia-uvm");
    EXPECT_EQ(in_host(without_module()).size(), 1u) << "the rest is its consequence";
}

// --- what the kernel says --------------------------------------------------------------------------------------------

constexpr const char* lost =
    "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off "
    "the bus.";
constexpr const char* uncorrected =
    "NVRM: Xid (PCI:0000:01:00): 48, pid=7, name=python3, An uncorrectable double bit "
    "error (DBE) has been detected on GPU";

Evidence failed() {
    Evidence evidence = healthy();
    evidence.verdict.result = VerdictResult::failed;
    return evidence;
}

TEST(DoctorHostRules, know_a_gpu_that_has_fallen_off_the_bus) {
    Evidence evidence = failed();
    evidence.host.kernel_log = {lost};
    const Finding finding = in_host(evidence, "gpu-off-the-bus");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "The GPU at 0000:01:00 has fallen off the bus.");
    EXPECT_THAT(finding.evidence, ElementsAre(std::string("kernel log: ") + lost));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, StartsWith("Reboot the host"));
}

TEST(DoctorHostRules, know_a_gpu_that_fell_off_the_bus_and_is_gone) {
    Evidence evidence = untested();
    evidence.driver.gpus.clear();
    evidence.host.kernel_log = {lost, uncorrected};
    EXPECT_EQ(in_host(evidence, "gpu-off-the-bus").severity, FindingSeverity::error);
    EXPECT_EQ(in_host(evidence, "gpu-error").severity, FindingSeverity::warning);
}

TEST(DoctorHostRules, leave_errors_of_gpus_that_the_machine_does_not_have) {
    Evidence evidence = failed();
    evidence.driver.gpus.push_back({1, 1, "GPU-b", "0000:02:00.0", "NVIDIA H200", 195});
    evidence.policy->all_gpus = false;
    evidence.policy->gpus = {GpuIndex{1}};
    evidence.host.kernel_log = {lost, uncorrected};
    EXPECT_THAT(in_host(evidence), IsEmpty());
    evidence.policy->gpus = {GpuIndex{0}};
    EXPECT_EQ(in_host(evidence).size(), 2u);
}

TEST(DoctorHostRules, tell_of_other_errors_of_the_gpu) {
    Evidence evidence = failed();
    evidence.host.kernel_log = {uncorrected, "NVRM: Xid (PCI:0000:01:00): 999, pid=7, something"};
    const Findings findings = in_host(evidence);
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_EQ(findings[0].code, "gpu-error");
    EXPECT_EQ(findings[0].severity, FindingSeverity::error);
    EXPECT_EQ(findings[0].text,
              "The kernel log has Xid 48 of the GPU at 0000:01:00: a memory error that could not be corrected.");
    EXPECT_THAT(findings[0].fix, AllOf(HasSubstr("Xid errors"), HasSubstr("nvidia-smi --gpu-reset")));
    EXPECT_EQ(findings[1].text, "The kernel log has Xid 999 of the GPU at 0000:01:00.");
    evidence.verdict.result = VerdictResult::no_verdict;
    EXPECT_EQ(in_host(evidence).front().severity, FindingSeverity::error);
    evidence.verdict.result = VerdictResult::failed;
    EXPECT_EQ(in_host(evidence).front().severity, FindingSeverity::error);
}

TEST(DoctorHostRules, let_errors_be_bygones_that_a_self_test_came_after) {
    Evidence evidence = healthy();
    evidence.host.kernel_log = {lost, uncorrected};
    EXPECT_THAT(in_host(evidence), IsEmpty());
    evidence.verdict.result = VerdictResult::degraded;
    EXPECT_THAT(in_host(evidence), IsEmpty());
    evidence.verdict.result = VerdictResult::none;
    EXPECT_THAT(in_host(evidence), IsEmpty()) << "nothing has failed";
}

// --- GPUs ------------------------------------------------------------------------------------------------------------

TEST(DoctorHostRules, miss_a_gpu_of_the_module) {
    Evidence evidence = untested();
    evidence.driver.gpus.clear();
    const Finding finding = in_host(evidence, "no-gpu");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, driver_problem(evidence.driver));
    EXPECT_THAT(finding.text, HasSubstr("has no GPU"));
    EXPECT_THAT(finding.evidence, ElementsAre("/proc/driver/nvidia/gpus: empty"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, HasSubstr("NVRM"));
    evidence.driver.userspace_version.clear();
    EXPECT_THAT(in_host(evidence, "no-gpu").text, HasSubstr("has no GPU")) << "whatever else is wrong";
}

TEST(DoctorHostRules, miss_a_gpu_that_the_policy_names) {
    Evidence evidence = untested();
    evidence.policy->all_gpus = false;
    evidence.policy->gpus = {GpuIndex{0}, GpuIndex{3}};
    const Finding finding = in_host(evidence, "gpu-not-found");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, select_gpus(*evidence.policy, evidence.driver).errors.front());
    EXPECT_THAT(finding.text, HasSubstr("trainer"));
    EXPECT_THAT(finding.evidence, ElementsAre("/etc/cuda-nspawn/machines/trainer.yaml"));
    EXPECT_EQ(finding.where, FixPlace::policy);
    EXPECT_EQ(finding.fix, "gpus: all");
}

TEST(DoctorHostRules, know_a_gpu_that_is_divided) {
    Evidence evidence = healthy();
    evidence.driver.gpus.push_back({1, 4, "GPU-b", "0000:02:00.0", "NVIDIA A100", 195});
    evidence.host.mig_gpus = {4};
    const Finding finding = in_host(evidence, "gpu-in-mig-mode");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(StartsWith("GPU 1 (NVIDIA A100 at 0000:02:00.0)"), HasSubstr("MIG")));
    EXPECT_THAT(finding.evidence, ElementsAre("/proc/driver/nvidia/capabilities/gpu4/mig"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "nvidia-smi -i 0000:02:00.0 -mig 0 && nvidia-smi --gpu-reset -i 0000:02:00.0");
    evidence.policy->all_gpus = false;
    evidence.policy->gpus = {GpuIndex{0}};
    EXPECT_THAT(in_host(evidence), IsEmpty()) << "it is not this machine's";
}

// --- files -----------------------------------------------------------------------------------------------------------

TEST(DoctorHostRules, miss_the_drivers_files) {
    Evidence evidence = untested();
    evidence.driver.userspace_version.clear();
    evidence.driver.files.clear();
    evidence.generation.clear();
    const Finding finding = in_host(evidence, "driver-files-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, driver_problem(evidence.driver));
    EXPECT_THAT(finding.evidence, ElementsAre("module 580.159.04; no libcuda.so.580.159.04"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("/etc/ld.so.conf.d"), HasSubstr("ldconfig")));
    EXPECT_EQ(in_host(evidence).size(), 1u);
}

TEST(DoctorHostRules, tell_of_files_that_are_gone_while_a_copy_is_in_force) {
    Evidence evidence = healthy();
    evidence.files_missing = true;
    const Finding finding = in_host(evidence, "driver-files-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, HasSubstr("machines keep their copy of 580.159.04"));
}

TEST(DoctorHostRules, know_a_module_and_files_of_two_versions) {
    Evidence evidence = untested();
    evidence.driver.userspace_version = "590.48.01";
    evidence.generation = "590.48.01-0123456789abcdef";
    const Finding finding = in_host(evidence, "version-mismatch");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("580.159.04"), HasSubstr("590.48.01"), HasSubstr("reload the module")));
    EXPECT_THAT(finding.evidence, ElementsAre("/proc/driver/nvidia/version: 580.159.04", "libcuda.so.590.48.01"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_EQ(finding.fix,
              "To have the new driver: reload the module with nothing using it (modprobe -r nvidia-uvm nvidia-drm "
              "nvidia-modeset nvidia; modprobe nvidia-uvm), or reboot");
}

TEST(DoctorHostRules, only_warn_of_two_versions_while_machines_have_their_copy) {
    Evidence evidence = healthy();
    evidence.driver.userspace_version = evidence.pending_version = "590.48.01";
    const Finding finding = in_host(evidence, "version-mismatch");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.text,
              "The host's driver files are 590.48.01 and its module is still 580.159.04: machines keep their copy of "
              "580.159.04 until the module is reloaded.");
    EXPECT_THAT(finding.evidence, Contains("libcuda.so.590.48.01"));
    evidence.generation.clear();
    EXPECT_EQ(in_host(evidence, "version-mismatch").severity, FindingSeverity::error) << "there is no copy";
}

TEST(DoctorHostRules, tell_why_the_driver_was_not_copied) {
    Evidence evidence = healthy();
    evidence.build_failure = "the driver's files cannot be copied: No space left on device";
    const Finding finding = in_host(evidence, "driver-not-copied");
    EXPECT_EQ(finding.severity, FindingSeverity::warning) << "there is an older copy";
    EXPECT_EQ(finding.text, evidence.build_failure);
    EXPECT_THAT(finding.evidence, ElementsAre("/var/lib/cuda-nspawn/driver"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "cuda-nspawnctl refresh");
    evidence.generation.clear();
    EXPECT_EQ(in_host(evidence, "driver-not-copied").severity, FindingSeverity::error);
}

TEST(DoctorHostRules, miss_the_module_for_memory) {
    Evidence evidence = healthy();
    evidence.driver.control = {{"nvidiactl", 195, 255}};
    const Finding finding = in_host(evidence, "uvm-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("nvidia-uvm"), HasSubstr("999")));
    EXPECT_THAT(finding.evidence, ElementsAre("/proc/devices: no nvidia-uvm"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "modprobe nvidia-uvm");
}

TEST(DoctorHostRules, miss_parts_of_the_driver_that_the_policy_wants) {
    Evidence evidence = healthy();
    evidence.driver.files.resize(1);
    evidence.policy->capabilities = {Capability::compute};
    const Finding finding = in_host(evidence, "driver-part-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "The host's driver 580.159.04 has no libnvidia-ptxjitcompiler.so.580.159.04: CUDA cannot compile PTX "
              "(error 221), so most programs fail.");
    EXPECT_THAT(finding.evidence, ElementsAre("not in the loader's cache and known directories of the host"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("of version 580.159.04"), HasSubstr("cuda-nspawnctl refresh")));
    evidence.driver.notes = {"libnvidia-ptxjitcompiler.so.1 leads to nothing", "something else is odd"};
    EXPECT_THAT(in_host(evidence, "driver-part-missing").evidence,
                ElementsAre("libnvidia-ptxjitcompiler.so.1 leads to nothing"));
    evidence.policy->capabilities = {Capability::utility};
    EXPECT_THAT(in_host(evidence, "driver-part-missing").text, HasSubstr("no libnvidia-ml.so.580.159.04: nvidia-smi"));
    evidence.driver.files[0].name = "libnvidia-ml.so.580.159.04";
    evidence.driver.files[0].kind = FileKind::library32;
    EXPECT_NE(in_host(evidence, "driver-part-missing"), Finding{}) << "one of 32 bits is none";
}

// --- what else the host has ------------------------------------------------------------------------------------------

TEST(DoctorHostRules, know_the_old_hierarchy_of_control_groups) {
    Evidence evidence = healthy();
    evidence.host.unified_cgroups = false;
    const Finding finding = in_host(evidence, "cgroup-v1");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("(v1)"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_EQ(finding.fix, "Boot the kernel with systemd.unified_cgroup_hierarchy=1");
}

TEST(DoctorHostRules, miss_the_fabric_manager_of_a_host_with_switches) {
    Evidence evidence = untested();
    evidence.host.pci.push_back({"0000:05:00.0", 0x0680, "nvidia-nvswitch"});
    const Finding finding = in_host(evidence, "fabric-manager-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::warning) << "nothing has failed";
    EXPECT_THAT(finding.text, AllOf(HasSubstr("nvidia-fabricmanager does not run"), HasSubstr("802")));
    EXPECT_THAT(finding.evidence, ElementsAre("no process nv-fabricmanager on the host", "NVSwitch on the PCI bus"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "systemctl enable --now nvidia-fabricmanager");
    evidence.host.fabric_manager = true;
    EXPECT_THAT(in_host(evidence), IsEmpty());
    evidence.host.fabric_manager = false;
    evidence.verdict.result = VerdictResult::passed;
    EXPECT_THAT(in_host(evidence), IsEmpty()) << "it works";
    Evidence by_major = untested();
    by_major.host.majors["nvidia-nvswitch"] = 509;
    EXPECT_THAT(in_host(by_major), IsEmpty()) << "the module always has it";
}

TEST(DoctorHostRules, take_the_self_tests_word_for_the_fabric_manager) {
    Evidence evidence = failing(healthy(), "init", "cuInit: 802 (SYSTEM_NOT_READY)");
    EXPECT_EQ(in_host(evidence, "fabric-manager-missing").severity, FindingSeverity::error);
    EXPECT_THAT(in_host(evidence, "fabric-manager-missing").evidence, Contains(evidence.verdict.summary));
    evidence = failing(healthy(), "init", "cuInit: 999");
    evidence.host.pci.push_back({"0000:05:00.0", 0x0680, "nvidia-nvswitch"});
    EXPECT_THAT(in_host(evidence), IsEmpty()) << "it was something else";
}

TEST(DoctorHostRules, blame_the_iommu_for_peer_copies_only) {
    Evidence evidence = healthy();
    evidence.host.iommu = true;
    evidence.verdict.checks.push_back({"peer-copy", CheckResult::passed, 1, ""});
    EXPECT_THAT(in_host(evidence), IsEmpty());
    evidence = failing(evidence, "peer-copy", "GPU 0 to GPU 1: 4096 bytes differ");
    const Finding finding = in_host(evidence, "iommu-in-the-way");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("Copies from GPU to GPU"), HasSubstr("IOMMU")));
    EXPECT_THAT(finding.evidence, Contains("peer-copy: GPU 0 to GPU 1: 4096 bytes differ"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, HasSubstr("iommu=pt"));
    evidence.host.iommu = false;
    EXPECT_THAT(in_host(evidence), IsEmpty());
}

TEST(DoctorHostRules, tell_of_a_node_with_the_number_of_an_earlier_boot) {
    Evidence evidence = healthy();
    evidence.host.nodes = {{"/dev/nvidia-uvm", 511, 0, 020660, 1}};
    const Finding finding = in_host(evidence, "host-node-stale");
    EXPECT_EQ(finding.severity, FindingSeverity::info) << "machines have their own";
    EXPECT_THAT(finding.text, HasSubstr("/dev/nvidia-uvm has the number 511, and the module has 510 now"));
    EXPECT_THAT(finding.evidence, ElementsAre("/dev/nvidia-uvm: 511:0", "/proc/devices: 510 nvidia-uvm"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "rm /dev/nvidia-uvm && mknod -m 660 /dev/nvidia-uvm c 510 0");
}

TEST(DoctorHostRules, know_which_numbers_a_node_has_to_have) {
    Evidence evidence = healthy();
    evidence.host.nodes = {{"/dev/nvidia12", 196, 12, 0666, 1},        {"/dev/nvidiactl", 196, 255, 0666, 1},
                           {"/dev/nvidia-modeset", 196, 254, 0666, 1}, {"/dev/nvidia-uvm-tools", 196, 1, 0666, 1},
                           {"/dev/nvidia-nvlink", 196, 0, 0666, 1},    {"/dev/nvidia", 196, 0, 0666, 1},
                           {"/dev/nvidia0x", 196, 0, 0666, 1}};
    EXPECT_EQ(in_host(evidence).size(), 4u) << "of the others nothing is known";
    evidence.host.majors.erase("nvidia");
    evidence.host.majors["nvidia-frontend"] = 196;
    EXPECT_EQ(in_host(evidence).size(), 1u) << "before driver 560 they were the frontend's";
    evidence.host.majors.clear();
    EXPECT_THAT(in_host(evidence), IsEmpty());
}

TEST(DoctorHostRules, miss_the_sockets_that_the_policy_wants) {
    Evidence evidence = healthy();
    evidence.policy->sockets = {HostSocket::persistenced, HostSocket::fabricmanager};
    const Finding finding = in_host(evidence, "socket-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, HasSubstr("socket of nvidia-fabricmanager"));
    EXPECT_THAT(finding.evidence, ElementsAre("/run/nvidia-fabricmanager/socket: not there"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "systemctl enable --now nvidia-fabricmanager");
    evidence.host.sockets.clear();
    EXPECT_EQ(in_host(evidence).size(), 2u);
}

}  // namespace
}  // namespace cuda_nspawn
