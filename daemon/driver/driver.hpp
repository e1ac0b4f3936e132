// What the host offers: kernel module, device nodes, GPUs, and the userspace files by capability.
// Pure but for an injected HostTree; no path is opened elsewhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.hpp"

namespace cuda_nspawn {

// The roots that discovery reads. Tests point them at fixtures.
struct HostRoots {
    std::filesystem::path root = "/";      // ld.so.cache, library directories, programs, data
    std::filesystem::path proc = "/proc";  // devices, driver/nvidia/**
    std::filesystem::path sys = "/sys";    // module/nvidia/version
};

// A device node by number; what a cgroup rule and mknod need. No node has to exist on the host.
struct DeviceNode {
    std::string name;  // below /dev: "nvidia0", "nvidiactl", "nvidia-caps/nvidia-cap1"
    unsigned major = 0;
    unsigned minor = 0;
    auto operator<=>(const DeviceNode&) const = default;
};

struct Gpu {
    unsigned index = 0;       // in PCI order
    unsigned minor = 0;       // /dev/nvidiaMINOR
    std::string uuid;         // "GPU-…"
    std::string pci_address;  // "0000:01:00.0"
    std::string model;        // "NVIDIA H200"
    unsigned major = 195;     // of /dev/nvidiaMINOR; 195 unless /proc/devices says otherwise
    bool operator==(const Gpu&) const = default;
};

enum class FileKind { library, library32, program, data, firmware };

// One regular file of the driver's userspace, resolved (no links), and the names it has in a generation.
struct DriverFile {
    Capability capability = Capability::compute;  // the directory of the generation it goes to
    FileKind kind = FileKind::library;
    std::string source;              // real path on the host
    std::string name;                // file name in the generation: "libcuda.so.580.159.04"
    std::vector<std::string> links;  // names beside it that lead to it: "libcuda.so.1", "libcuda.so"
    std::uint64_t size = 0;
    std::int64_t mtime_ns = 0;
    std::string build_id;  // hex, empty where the file has none
    std::string text;      // contents in the generation where they differ from the source's (ICD files); else empty
    bool operator==(const DriverFile&) const = default;
};

struct Driver {
    std::string kernel_version;       // of the loaded module; empty: not loaded
    std::string userspace_version;    // the suffix of libcuda.so.*; empty: none found
    std::vector<Gpu> gpus;            // in PCI order
    std::vector<DeviceNode> control;  // nvidiactl, nvidia-uvm, nvidia-uvm-tools as far as the majors are known
    std::optional<DeviceNode> modeset;
    unsigned node_mode = 0666;       // of device nodes, as the kernel module was told
    std::vector<DriverFile> files;   // sorted by capability, kind, name
    std::vector<std::string> notes;  // what was seen and is odd, one sentence each
    std::string unreadable;          // a file of it that cannot be read, as a sentence: `files` is not all of it

    bool has_uvm() const;
    bool operator==(const Driver&) const = default;
};

// Kernel side: /proc/driver/nvidia/{version,gpus/*/information}, /proc/devices, /sys/module/nvidia/version. Cheap.
// Userspace side: ld.so.cache, known directories. `version` chooses among several installed ones: the running module's.
Driver discover_driver(const HostRoots& roots);

// Why a guest cannot get a GPU from this driver, as a sentence with the way out; nothing if it can.
// "no NVIDIA kernel module is loaded (…): load it with modprobe nvidia …", "no GPU", "no nvidia-uvm", version mismatch.
std::optional<std::string> driver_problem(const Driver& driver);

// The GPUs a policy names, in index order, or one sentence per selector that matches nothing.
struct GpuSelection {
    std::vector<Gpu> gpus;
    std::vector<std::string> errors;
};
GpuSelection select_gpus(const Policy& policy, const Driver& driver);

// Name of the generation: VERSION-DIGEST16 over version and (capability, kind, source, name, links, size, mtime,
// build-id) of all files. A valid file name of [0-9A-Za-z.-]. Empty when there are no files.
std::string generation_name(const Driver& driver);

}  // namespace cuda_nspawn
