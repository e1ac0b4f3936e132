#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver/kernel_side.hpp"
#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view devices =
    "Character devices:\n"
    "  1 mem\n"
    "  4 /dev/vc/0\n"
    "  4 tty\n"
    "195 nvidia\n"
    "195 nvidia-modeset\n"
    "195 nvidiactl\n"
    "234 nvidia-nvswitch\n"
    "235 nvidia-caps-imex-channels\n"
    "236 nvidia-caps\n"
    "509 nvidia-uvm\n"
    "\n"
    "Block devices:\n"
    "  7 loop\n"
    "259 nvidia-uvm\n";

std::string information(std::string_view uuid, std::string_view minor, std::string_view excluded = "No") {
    return "Model: \t\t NVIDIA H200\nIRQ:   \t\t 57\nGPU UUID: \t " + std::string(uuid) +
           "\nVideo BIOS: \t ??.??.??.??.??\nBus Type: \t PCIe\nDMA Size: \t 52 bits\nBus Location: \t 0000:01:00.0\n"
           "Device Minor: \t " +
           std::string(minor) + "\nGPU Firmware: \t 580.159.04\nGPU Excluded:\t " + std::string(excluded) + "\n";
}

class KernelSideOfHost : public testing::HostFixture {
protected:
    void add_gpu(const std::string& bus, std::string_view uuid, std::string_view minor,
                 std::string_view excluded = "No") const {
        tree.write("/proc/driver/nvidia/gpus/" + bus + "/information", information(uuid, minor, excluded));
    }
    KernelSide read() const { return read_kernel_side(roots()); }
};

constexpr std::string_view first_uuid = "GPU-11111111-2222-3333-4444-55555555AAAA";
// As the driver writes it before the GPU is opened; in pieces, for "??-" is a trigraph.
constexpr std::string_view unknown_uuid =
    "GPU-????????"
    "-????"
    "-????"
    "-????"
    "-????????????";
constexpr std::string_view second_uuid = "GPU-66666666-2222-3333-4444-555555555555";

TEST(ModuleVersion, is_read_from_the_proprietary_and_the_open_module) {
    EXPECT_EQ(parse_module_version(
                  "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8 12:41:17 UTC 2025\n"
                  "GCC version:  gcc version 14.2.0 (Debian 14.2.0-19)\n"),
              "550.163.01");
    EXPECT_EQ(
        parse_module_version("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  "
                             "(dvs-builder@U22-I3-AE18-23-3)  Mon Jan  5 10:00:00 UTC 2026\n"),
        "580.159.04");
    EXPECT_EQ(parse_module_version("NVRM version: NVIDIA UNIX aarch64 Kernel Module  535.54\n"), "535.54");
}

TEST(ModuleVersion, is_not_taken_from_other_lines_or_words) {
    EXPECT_EQ(parse_module_version(""), std::nullopt);
    EXPECT_EQ(parse_module_version("GCC version:  gcc version 14.2.0\n"), std::nullopt);
    EXPECT_EQ(parse_module_version("NVRM version: NVIDIA UNIX x86_64 Kernel Module\nGCC version: 13.3.0\n"),
              std::nullopt);
}

TEST(CharacterMajors, leave_block_devices_out) {
    const auto majors = parse_character_majors(devices);
    EXPECT_EQ(majors.at("nvidia"), 195U);
    EXPECT_EQ(majors.at("nvidiactl"), 195U);
    EXPECT_EQ(majors.at("nvidia-caps"), 236U);
    EXPECT_EQ(majors.at("nvidia-uvm"), 509U);
    EXPECT_FALSE(majors.contains("loop"));
}

TEST(GpuInformationText, gives_model_uuid_and_minor) {
    const auto gpu = parse_gpu_information(information(first_uuid, "12"));
    EXPECT_EQ(gpu.model, "NVIDIA H200");
    EXPECT_EQ(gpu.uuid, "GPU-11111111-2222-3333-4444-55555555aaaa");
    EXPECT_EQ(gpu.minor, 12U);
    EXPECT_FALSE(gpu.excluded);
    EXPECT_TRUE(parse_gpu_information(information(first_uuid, "0", "Yes")).excluded);
}

TEST(GpuInformationText, takes_only_a_real_uuid_and_a_real_minor) {
    EXPECT_EQ(parse_gpu_information(information(unknown_uuid, "0")).uuid, "");
    EXPECT_EQ(parse_gpu_information(information("GPU-1111", "0")).uuid, "");
    EXPECT_EQ(parse_gpu_information(information(first_uuid, "-1")).minor, std::nullopt);
    EXPECT_EQ(parse_gpu_information(information(first_uuid, "0x1")).minor, std::nullopt);
    EXPECT_EQ(parse_gpu_information("").minor, std::nullopt);
}

TEST(DeviceFileMode, is_decimal_and_for_everybody_unless_said_otherwise) {
    EXPECT_EQ(parse_device_file_mode("ModifyDeviceFiles: 1\nDeviceFileGID: 44\nDeviceFileMode: 432\n"), 0660U);
    EXPECT_EQ(parse_device_file_mode("DeviceFileMode: 438\n"), 0666U);
    EXPECT_EQ(parse_device_file_mode("DeviceFileMode: 33200\n"), 0660U) << "the permissions alone";
    for (const auto* text : {"", "DeviceFileModeOther: 0\n", "DeviceFileMode: 0x1b0\n", "DeviceFileMode:\n"})
        EXPECT_EQ(parse_device_file_mode(text), 0666U) << text;
}

TEST(PciAddressText, is_brought_to_one_form) {
    EXPECT_EQ(normal_pci_address("0000:01:00.0"), "0000:01:00.0");
    EXPECT_EQ(normal_pci_address("00000000:C1:1F.7"), "0000:c1:1f.7");
    EXPECT_EQ(normal_pci_address("10000:e1:00.0"), "10000:e1:00.0");
    for (const auto* text : {"", "01:00.0", "0000:01:00", "0000:01:20.0", "0000:01:00.8", "0000:1ff:00.0",
                             "0000:01:00.0x", "..", "0x0:1:2.3"})
        EXPECT_EQ(normal_pci_address(text), std::nullopt) << text;
}

TEST_F(KernelSideOfHost, has_nodes_and_gpus_in_pci_order) {
    add_kernel("580.159.04");
    tree.write("/proc/devices", devices);
    add_gpu("0000:C1:00.0", first_uuid, "0");
    add_gpu("0000:0a:00.0", second_uuid, "1");
    const auto side = read();
    EXPECT_EQ(side.version, "580.159.04");
    ASSERT_EQ(side.gpus.size(), 2U);
    EXPECT_EQ(side.gpus[0], (Gpu{0, 1, std::string(second_uuid), "0000:0a:00.0", "NVIDIA H200"}));
    EXPECT_EQ(side.gpus[1], (Gpu{1, 0, "GPU-11111111-2222-3333-4444-55555555aaaa", "0000:c1:00.0", "NVIDIA H200"}));
    EXPECT_THAT(side.control, ElementsAre(DeviceNode{"nvidiactl", 195, 255}, DeviceNode{"nvidia-uvm", 509, 0},
                                          DeviceNode{"nvidia-uvm-tools", 509, 1}));
    EXPECT_EQ(side.modeset, (DeviceNode{"nvidia-modeset", 195, 254}));
    EXPECT_THAT(side.notes, IsEmpty());
}

TEST_F(KernelSideOfHost, takes_majors_from_proc_devices_and_not_from_habit) {
    add_kernel("580.159.04");
    tree.write("/proc/devices", "Character devices:\n  4 nvidia\n  5 nvidiactl\n");
    add_gpu("0000:01:00.0", first_uuid, "3");
    const auto side = read();
    EXPECT_EQ(side.gpus.at(0).major, 4U);
    EXPECT_THAT(side.control, ElementsAre(DeviceNode{"nvidiactl", 5, 255}));
    EXPECT_EQ(side.modeset, std::nullopt);
}

TEST_F(KernelSideOfHost, knows_the_one_name_of_drivers_before_550_40) {
    add_kernel("535.274.02");
    tree.write("/proc/devices", "Character devices:\n195 nvidia-frontend\n509 nvidia-uvm\n");
    EXPECT_EQ(read().control.at(0), (DeviceNode{"nvidiactl", 195, 255}));
    EXPECT_EQ(read().modeset, std::nullopt);
    std::filesystem::create_directories(tree.at("/sys/module/nvidia_modeset"));
    EXPECT_EQ(read().modeset, (DeviceNode{"nvidia-modeset", 195, 254}));
}

TEST_F(KernelSideOfHost, leaves_out_excluded_and_unfinished_gpus_with_a_note) {
    add_kernel("580.159.04");
    add_gpu("0000:01:00.0", first_uuid, "0", "Yes");
    add_gpu("0000:02:00.0", second_uuid, "");
    add_gpu("0000:03:00.0", unknown_uuid, "2");
    std::filesystem::create_directories(tree.at("/proc/driver/nvidia/gpus/strange"));
    const auto side = read();
    ASSERT_EQ(side.gpus.size(), 1U);
    EXPECT_EQ(side.gpus[0], (Gpu{0, 2, "", "0000:03:00.0", "NVIDIA H200"}));
    EXPECT_THAT(side.notes, ElementsAre(HasSubstr("gpus/strange"), HasSubstr("0000:01:00.0 (NVIDIA H200) is excluded"),
                                        HasSubstr("0000:02:00.0 has no device minor"),
                                        HasSubstr("UUID of the GPU at 0000:03:00.0")));
}

TEST_F(KernelSideOfHost, falls_back_to_sysfs_for_the_version_and_notes_a_contradiction) {
    tree.write("/sys/module/nvidia/version", "570.86.15\n");
    EXPECT_EQ(read().version, "570.86.15");
    add_kernel("580.159.04");
    const auto side = read();
    EXPECT_EQ(side.version, "580.159.04");
    EXPECT_THAT(side.notes, ElementsAre(HasSubstr("570.86.15")));
}

TEST_F(KernelSideOfHost, knows_the_mode_that_the_module_was_told) {
    add_kernel("580.159.04");
    EXPECT_EQ(read().node_mode, 0666U);
    tree.write("/proc/driver/nvidia/params", "DeviceFileMode: 432\n");
    EXPECT_EQ(read().node_mode, 0660U);
    EXPECT_EQ(discover_driver(roots()).node_mode, 0660U);
}

TEST_F(KernelSideOfHost, is_empty_without_a_module) {
    tree.write("/proc/devices", devices);
    const auto side = read();
    EXPECT_EQ(side.version, "");
    EXPECT_THAT(side.gpus, IsEmpty());
    EXPECT_THAT(side.control, IsEmpty());
    EXPECT_THAT(side.notes, IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
