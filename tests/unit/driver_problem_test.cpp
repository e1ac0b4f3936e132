#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver/driver.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

const Gpu first{0, 1, "GPU-11111111-2222-3333-4444-555555555555", "0000:01:00.0", "NVIDIA H200"};
const Gpu second{1, 0, "GPU-66666666-2222-3333-4444-555555555555", "0000:c1:00.0", "NVIDIA L4"};

Driver working_driver() {
    Driver driver;
    driver.kernel_version = driver.userspace_version = "580.159.04";
    driver.gpus = {first, second};
    driver.control = {{"nvidiactl", 195, 255}, {"nvidia-uvm", 509, 0}, {"nvidia-uvm-tools", 509, 1}};
    return driver;
}

Policy policy_with(std::vector<GpuSelector> gpus) {
    Policy policy;
    policy.machine = "trainer";
    policy.gpus = std::move(gpus);
    return policy;
}

TEST(DriverProblem, is_none_with_a_working_driver) { EXPECT_EQ(driver_problem(working_driver()), std::nullopt); }

TEST(DriverProblem, names_a_module_that_is_not_loaded) {
    auto driver = working_driver();
    driver.kernel_version.clear();
    EXPECT_THAT(driver_problem(driver), Optional(AllOf(HasSubstr("no NVIDIA kernel module is loaded"),
                                                       HasSubstr("580.159.04"), HasSubstr("modprobe nvidia"))));
    driver.userspace_version.clear();
    EXPECT_THAT(driver_problem(driver),
                Optional(AllOf(HasSubstr("no driver files are installed"), HasSubstr("install NVIDIA's driver"))));
}

TEST(DriverProblem, names_missing_and_mismatched_files) {
    auto driver = working_driver();
    driver.userspace_version = "550.163.01";
    EXPECT_THAT(driver_problem(driver),
                Optional(HasSubstr("kernel module is 580.159.04, driver files are 550.163.01: reload the module")));
    driver.userspace_version.clear();
    EXPECT_THAT(driver_problem(driver),
                Optional(AllOf(HasSubstr("no libcuda.so.580.159.04 was found"), HasSubstr("/etc/ld.so.conf.d"))));
}

TEST(DriverProblem, names_missing_gpus_and_nodes) {
    auto driver = working_driver();
    driver.control.resize(1);
    EXPECT_FALSE(driver.has_uvm());
    EXPECT_THAT(driver_problem(driver),
                Optional(AllOf(HasSubstr("nvidia-uvm is not loaded"), HasSubstr("modprobe nvidia-uvm"))));
    driver.control.clear();
    EXPECT_THAT(driver_problem(driver), Optional(HasSubstr("/proc/devices lists no major number for nvidia")));
    driver.gpus.clear();
    EXPECT_THAT(driver_problem(driver), Optional(HasSubstr("has no GPU")));
}

TEST(GpuSelection, finds_gpus_by_index_uuid_and_pci_address_in_index_order) {
    const auto driver = working_driver();
    EXPECT_THAT(select_gpus(policy_with({GpuIndex{1}}), driver).gpus, ElementsAre(second));
    EXPECT_THAT(select_gpus(policy_with({GpuPciAddress{"0000:c1:00.0"}, GpuUuid{first.uuid}}), driver).gpus,
                ElementsAre(first, second));
    EXPECT_THAT(select_gpus(policy_with({GpuPciAddress{"00000000:C1:00.0"}}), driver).gpus, ElementsAre(second));
    // The same GPU named twice is one GPU.
    EXPECT_THAT(select_gpus(policy_with({GpuIndex{0}, GpuUuid{first.uuid}}), driver).gpus, ElementsAre(first));
    EXPECT_THAT(select_gpus(policy_with({}), driver).gpus, IsEmpty());
}

TEST(GpuSelection, takes_all_gpus) {
    auto policy = policy_with({});
    policy.all_gpus = true;
    EXPECT_THAT(select_gpus(policy, working_driver()).gpus, ElementsAre(first, second));
    EXPECT_THAT(select_gpus(policy, Driver()).errors,
                ElementsAre(HasSubstr("trainer names all GPUs, but this host has no GPU")));
}

TEST(GpuSelection, says_for_each_unmatched_selector_what_there_is) {
    const auto selection = select_gpus(
        policy_with({GpuIndex{7}, GpuIndex{0}, GpuUuid{"GPU-99999999-2222-3333-4444-555555555555"}}), working_driver());
    EXPECT_THAT(selection.gpus, ElementsAre(first));
    EXPECT_THAT(selection.errors,
                ElementsAre("the policy of machine trainer names GPU index 7, but this host has GPUs 0 and 1 (0: "
                            "GPU-11111111-2222-3333-4444-555555555555 NVIDIA H200 at 0000:01:00.0, 1: "
                            "GPU-66666666-2222-3333-4444-555555555555 NVIDIA L4 at 0000:c1:00.0)",
                            HasSubstr("names GPU UUID GPU-99999999-2222-3333-4444-555555555555")));
}

TEST(GpuSelection, says_that_a_uuid_may_not_be_known_yet) {
    auto driver = working_driver();
    driver.gpus = {first};
    driver.gpus[0].uuid.clear();
    EXPECT_THAT(select_gpus(policy_with({GpuUuid{first.uuid}}), driver).errors,
                ElementsAre(HasSubstr("not known before its GPU is opened")));
    EXPECT_THAT(select_gpus(policy_with({GpuUuid{""}}), driver).gpus, IsEmpty());
    EXPECT_THAT(select_gpus(policy_with({GpuIndex{3}}), driver).errors,
                ElementsAre(AllOf(HasSubstr("this host has GPU 0 ("), HasSubstr("(UUID not known yet)"))));
}

}  // namespace
}  // namespace cuda_nspawn
