// The kernel module's side of the driver, as it shows itself in /proc and /sys (NVIDIA's README, "PROC Interface";
// /proc/devices: proc_devices(5)). The parsers take text and open nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "driver/driver.hpp"

namespace cuda_nspawn {

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  …" or
// "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  …"
std::optional<std::string> parse_module_version(std::string_view text);

// The character devices by driver name; of a name that is there twice, the first.
std::map<std::string, unsigned, std::less<>> parse_character_majors(std::string_view text);

// DeviceFileMode of /proc/driver/nvidia/params, which is decimal: 438 is 0666, which is also what it is when it is not
// said.
unsigned parse_device_file_mode(std::string_view text);

// /proc/driver/nvidia/gpus/BUS/information
struct GpuInformation {
    std::string model;
    std::string uuid;  // empty: not known before the GPU is opened for the first time
    std::optional<unsigned> minor;
    bool excluded = false;
};
GpuInformation parse_gpu_information(std::string_view text);

// "0000:01:00.0" with a domain of four lower-case digits, of more if it needs them; nothing when it is no PCI address.
std::optional<std::string> normal_pci_address(std::string_view text);

struct KernelSide {
    std::string version;
    std::vector<Gpu> gpus;
    std::vector<DeviceNode> control;
    std::optional<DeviceNode> modeset;
    unsigned node_mode = 0666;
    std::vector<std::string> notes;
};
KernelSide read_kernel_side(const HostRoots& roots);

}  // namespace cuda_nspawn
