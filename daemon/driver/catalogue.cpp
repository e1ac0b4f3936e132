#include "driver/catalogue.hpp"

#include <algorithm>
#include <string>
#include <unordered_map>

namespace cuda_nspawn {
namespace {

using enum Capability;

// Order and grouping follow NVIDIA's README ("Installed Components"). Only names of files that NVIDIA builds stand
// here.
constexpr LibraryEntry libraries[] = {
    {"libnvidia-ml", utility, false, {"libnvidia-ml.so"}},
    {"libnvidia-cfg", utility, false, {"libnvidia-cfg.so"}},
    {"libnvidia-nscq", utility, true},
    {"libnvidia-api", utility, true},

    {"libcuda", compute, false, {"libcuda.so"}},
    {"libcudadebugger", compute},
    {"libnvidia-opencl", compute},
    {"libnvidia-gpucomp", compute},
    {"libnvidia-ptxjitcompiler", compute, false, {"libnvidia-ptxjitcompiler.so"}},
    {"libnvidia-fatbinaryloader", compute},
    // Mesa's libgbm loads its backend for an NVIDIA card under the second name.
    {"libnvidia-allocator", compute, false, {"libnvidia-allocator.so", "gbm/nvidia-drm_gbm.so"}},
    {"libnvidia-compiler", compute},
    {"libnvidia-pkcs11", compute, true},
    {"libnvidia-pkcs11-openssl3", compute, true},
    {"libnvidia-nvvm", compute, false, {"libnvidia-nvvm.so"}},
    {"libnvidia-nvvm70", compute, true},
    {"libnvidia-tileiras", compute, true},
    {"libnvidia-sandboxutils", compute},

    {"libnvcuvid", video, false, {"libnvcuvid.so"}},
    {"libnvidia-encode", video, false, {"libnvidia-encode.so"}},
    {"libnvidia-opticalflow", video, false, {"libnvidia-opticalflow.so"}},
    {"libvdpau_nvidia", video, false, {"libvdpau_nvidia.so"}},

    {"libnvidia-eglcore", graphics},
    {"libnvidia-glcore", graphics},
    {"libnvidia-tls", graphics},
    {"libnvidia-glsi", graphics},
    {"libnvidia-fbc", graphics, false, {"libnvidia-fbc.so"}},
    {"libnvidia-ifr", graphics, false, {"libnvidia-ifr.so"}},
    {"libnvidia-rtcore", graphics},
    {"libnvoptix", graphics},
    {"libGLX_nvidia", graphics, false, {"libGLX_indirect.so.0"}},
    {"libEGL_nvidia", graphics},
    {"libGLESv1_CM_nvidia", graphics},
    {"libGLESv2_nvidia", graphics},
    {"libnvidia-glvkspirv", graphics},
    {"libnvidia-cbl", graphics},
    {"libnvidia-vulkan-producer", graphics, false, {"libnvidia-vulkan-producer.so"}},
    {"libnvidia-egl-gbm", graphics, true, {}, true},
    {"libnvidia-egl-wayland", graphics, true, {}, true},
    {"libnvidia-egl-wayland2", graphics, true, {}, true},
    {"libnvidia-egl-xcb", graphics, true, {}, true},
    {"libnvidia-egl-xlib", graphics, true, {}, true},
    {"libnvidia-vksc-core", graphics},
    {"libnvidia-present", graphics},
    {"libnvidia-wayland-client", graphics, false, {}, true},

    {"libnvidia-ngx", ngx, false, {"libnvidia-ngx.so"}},
};

constexpr ProgramEntry programs[] = {
    {"nvidia-smi", utility},
    {"nvidia-debugdump", utility},
    {"nvidia-persistenced", utility, true},
    {"nvidia-cuda-mps-control", compute},
    {"nvidia-cuda-mps-server", compute},
    {"nvidia-imex", compute},
    {"nvidia-imex-ctl", compute},
};

// JSON and .icd files are offered only when the generation has the library that they name.
constexpr DataEntry data_files[] = {
    {compute, FileKind::data, "OpenCL/vendors", "nvidia.icd"},
    {graphics, FileKind::data, "glvnd/egl_vendor.d", "10_nvidia.json"},
    {graphics, FileKind::data, "egl/egl_external_platform.d", "[0-9][0-9]_nvidia_*.json"},
    {graphics, FileKind::data, "vulkan/icd.d", "nvidia_icd.json"},
    {graphics, FileKind::data, "vulkan/icd.d", "nvidia_icd.x86_64.json"},   // Fedora
    {graphics, FileKind::data, "vulkan/icd.d", "nvidia_icd.aarch64.json"},  // Fedora
    {graphics, FileKind::data, "vulkan/implicit_layer.d", "nvidia_layers.json"},
    {graphics, FileKind::data, "vulkansc/icd.d", "nvidia_icd_vksc.json"},
    {graphics, FileKind::data, "nvidia", "nvoptix.bin", true},
    {graphics, FileKind::data, "nvidia", "nvidia-application-profiles-VERSION-rc"},
    {graphics, FileKind::data, "nvidia", "nvidia-application-profiles-VERSION-key-documentation"},
    {compute, FileKind::firmware, "nvidia/VERSION", "gsp.bin"},
    {compute, FileKind::firmware, "nvidia/VERSION", "gsp_*.bin"},
};

constexpr std::string_view library_patterns[] = {
    "/usr/lib/x86_64-linux-gnu",           // Debian, Ubuntu
    "/usr/lib/x86_64-linux-gnu/nvidia/*",  // Debian's alternatives: current, tesla-535, …
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu/nvidia/*",
    "/usr/lib64",  // Fedora, RHEL, SUSE
    "/usr/lib64/nvidia*",
    "/usr/lib",  // Arch
    "/usr/lib/nvidia*",
    "/usr/lib32",  // Arch's multilib
    "/usr/lib32/nvidia*",
    "/usr/lib/i386-linux-gnu",
    "/usr/lib/i386-linux-gnu/nvidia/*",
    "/usr/local/nvidia/lib64",
    "/usr/local/nvidia/lib",
    "/usr/local/nvidia/lib32",
    "/run/opengl-driver/lib",  // NixOS
    "/run/opengl-driver-32/lib",
};

constexpr std::string_view program_patterns[] = {
    "/usr/bin",       "/usr/sbin", "/usr/lib/nvidia/current", "/usr/local/nvidia/bin",
    "/usr/local/bin", "/opt/bin",  "/run/opengl-driver/bin",  "/run/current-system/sw/bin",
};

constexpr std::string_view data_root_paths[] = {"/usr/share",
                                                "/etc",
                                                "/usr/local/share",
                                                "/usr/local/nvidia/share",
                                                "/run/opengl-driver/share",
                                                "/run/opengl-driver/etc"};
constexpr std::string_view firmware_root_paths[] = {"/usr/lib/firmware", "/lib/firmware", "/usr/local/nvidia/firmware",
                                                    "/run/current-system/firmware"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "1.1.2": numbers with single dots between them.
bool is_dotted_number(std::string_view text) {
    bool after_digit = false;
    for (const char c : text) {
        if (!is_digit(c) && !(c == '.' && after_digit)) return false;
        after_digit = is_digit(c);
    }
    return after_digit;
}

}  // namespace

std::span<const LibraryEntry> library_entries() { return libraries; }
std::span<const ProgramEntry> program_entries() { return programs; }
std::span<const DataEntry> data_entries() { return data_files; }
std::span<const std::string_view> library_directory_patterns() { return library_patterns; }
std::span<const std::string_view> program_directory_patterns() { return program_patterns; }
std::span<const std::string_view> data_roots() { return data_root_paths; }
std::span<const std::string_view> firmware_roots() { return firmware_root_paths; }

std::optional<LibraryName> parse_library_name(std::string_view file_name) {
    // Asked for every file of /usr/lib: most are no libraries, most libraries are not NVIDIA's.
    static const auto by_base = [] {
        std::unordered_map<std::string_view, const LibraryEntry*> map;
        for (const auto& entry : libraries) map.emplace(entry.base, &entry);
        return map;
    }();
    if (!file_name.starts_with("lib")) return std::nullopt;
    const auto extension = file_name.find(".so");
    if (extension == std::string_view::npos) return std::nullopt;
    const auto found = by_base.find(file_name.substr(0, extension));
    if (found == by_base.end()) return std::nullopt;
    auto version = file_name.substr(extension + 3);
    if (version.empty()) return LibraryName{found->second, {}};
    if (version[0] != '.' || !is_dotted_number(version.substr(1))) return std::nullopt;
    return LibraryName{found->second, version.substr(1)};
}

bool is_driver_version(std::string_view text) {
    const auto dot = text.find('.');
    return is_dotted_number(text) && dot != std::string_view::npos && dot >= 2;
}

}  // namespace cuda_nspawn
