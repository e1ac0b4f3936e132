#include "driver/kernel_side.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <system_error>
#include <utility>

#include "driver/catalogue.hpp"

namespace cuda_nspawn {
namespace {

constexpr unsigned control_minor = 255;
constexpr unsigned modeset_minor = 254;
constexpr std::string_view spaces = " \t\r\n";

std::string_view trim(std::string_view text) {
    const auto begin = text.find_first_not_of(spaces);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(spaces) - begin + 1);
}

// Cuts the part before `separator` off the text's front.
std::string_view take_until(std::string_view& text, char separator) {
    const auto end = std::min(text.find(separator), text.size());
    const auto part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return part;
}

template <class Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
    Number value{};
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
    return value;
}

// "GPU-" and a UUID of lower-case digits. The driver fills the places with '?' until the GPU is opened.
std::optional<std::string> parse_uuid(std::string_view text) {
    constexpr std::string_view form = "GPU-hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh";
    if (text.size() != form.size()) return std::nullopt;
    std::string uuid(text);
    for (std::size_t i = 0; i < form.size(); ++i) {
        if (form[i] != 'h') {
            if (uuid[i] != form[i]) return std::nullopt;
            continue;
        }
        if (uuid[i] >= 'A' && uuid[i] <= 'F') uuid[i] = static_cast<char>(uuid[i] - 'A' + 'a');
        if (!((uuid[i] >= '0' && uuid[i] <= '9') || (uuid[i] >= 'a' && uuid[i] <= 'f'))) return std::nullopt;
    }
    return uuid;
}

struct PciAddress {
    std::uint32_t domain = 0, bus = 0, device = 0, function = 0;
    auto operator<=>(const PciAddress&) const = default;
};

std::optional<PciAddress> parse_pci_address(std::string_view text) {
    const auto domain = parse_number<std::uint32_t>(take_until(text, ':'), 16);
    const auto bus = parse_number<std::uint32_t>(take_until(text, ':'), 16);
    const auto device = parse_number<std::uint32_t>(take_until(text, '.'), 16);
    const auto function = parse_number<std::uint32_t>(text, 16);
    if (!domain || !bus || !device || !function || *bus > 0xff || *device > 0x1f || *function > 7) return std::nullopt;
    return PciAddress{*domain, *bus, *device, *function};
}

std::string to_string(const PciAddress& address) {
    return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", address.domain, address.bus, address.device, address.function);
}

// Files of /proc and /sys have no size; these have a few lines.
std::optional<std::string> read_small(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    std::string text(65536, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) return std::nullopt;
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

using Majors = std::map<std::string, unsigned, std::less<>>;

// The first of the names that /proc/devices has.
std::optional<unsigned> major_of(const Majors& majors, std::initializer_list<std::string_view> names) {
    for (const auto name : names)
        if (const auto found = majors.find(name); found != majors.end()) return found->second;
    return std::nullopt;
}

void read_version(const HostRoots& roots, KernelSide& side) {
    const auto text = read_small(roots.proc / "driver/nvidia/version");
    const auto module = read_small(roots.sys / "module/nvidia/version");
    const auto sys_version = module ? trim(*module) : std::string_view();
    if (const auto version = text ? parse_module_version(*text) : std::nullopt)
        side.version = *version;
    else if (is_driver_version(sys_version))
        side.version = sys_version;
    if (text && side.version.empty())
        side.notes.emplace_back("/proc/driver/nvidia/version is there, but no version can be read from it");
    else if (is_driver_version(sys_version) && sys_version != side.version)
        side.notes.push_back(fmt::format("/proc/driver/nvidia/version says {}, but /sys/module/nvidia/version says {}",
                                         side.version, sys_version));
}

void add_control_nodes(const HostRoots& roots, const Majors& majors, KernelSide& side) {
    // Before driver 550.40 the one name nvidia-frontend stood for GPUs, nvidiactl and modeset together.
    if (const auto major = major_of(majors, {"nvidiactl", "nvidia", "nvidia-frontend"}))
        side.control.push_back({"nvidiactl", *major, control_minor});
    if (const auto major = major_of(majors, {"nvidia-uvm"})) {
        side.control.push_back({"nvidia-uvm", *major, 0});
        side.control.push_back({"nvidia-uvm-tools", *major, 1});
    }
    std::error_code ignored;
    if (const auto major = major_of(majors, {"nvidia-modeset"}))
        side.modeset = DeviceNode{"nvidia-modeset", *major, modeset_minor};
    else if (const auto shared = major_of(majors, {"nvidia-frontend"});
             shared && std::filesystem::exists(roots.sys / "module/nvidia_modeset", ignored))
        side.modeset = DeviceNode{"nvidia-modeset", *shared, modeset_minor};
}

// The directories of /proc/driver/nvidia/gpus in PCI order, which is the order of CUDA's and nvidia-smi's indices.
std::vector<std::pair<PciAddress, std::filesystem::path>> gpu_directories(const HostRoots& roots, KernelSide& side) {
    std::vector<std::pair<PciAddress, std::filesystem::path>> found;
    std::error_code error;
    std::filesystem::directory_iterator entries(roots.proc / "driver/nvidia/gpus", error);
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        const std::string name = entries->path().filename();
        if (const auto address = parse_pci_address(name))
            found.emplace_back(*address, entries->path());
        else
            side.notes.push_back(fmt::format("/proc/driver/nvidia/gpus/{} is no PCI address and is left out", name));
    }
    std::ranges::sort(found);
    return found;
}

void read_gpus(const HostRoots& roots, const Majors& majors, KernelSide& side) {
    const auto major = major_of(majors, {"nvidia", "nvidia-frontend", "nvidiactl"});
    for (const auto& [address, directory] : gpu_directories(roots, side)) {
        const std::string pci = to_string(address);
        const auto text = read_small(directory / "information");
        const auto information = parse_gpu_information(text.value_or(""));
        if (information.excluded) {
            side.notes.push_back(fmt::format("the GPU at {} ({}) is excluded by the driver's settings and is left out",
                                             pci, information.model));
            continue;
        }
        if (!information.minor) {
            side.notes.push_back(fmt::format("the GPU at {} has no device minor in {} and is left out", pci,
                                             (directory / "information").string()));
            continue;
        }
        if (information.uuid.empty())
            side.notes.push_back(
                fmt::format("the UUID of the GPU at {} is not known before the GPU is opened for the first time", pci));
        Gpu gpu{static_cast<unsigned>(side.gpus.size()), *information.minor, information.uuid, pci, information.model};
        if (major) gpu.major = *major;
        side.gpus.push_back(std::move(gpu));
    }
}

}  // namespace

std::optional<std::string> parse_module_version(std::string_view text) {
    while (!text.empty()) {
        auto line = take_until(text, '\n');
        if (!line.starts_with("NVRM version:")) continue;
        while (!line.empty())
            if (const auto word = take_until(line, ' '); is_driver_version(word)) return std::string(word);
    }
    return std::nullopt;
}

std::map<std::string, unsigned, std::less<>> parse_character_majors(std::string_view text) {
    Majors majors;
    bool in_character_devices = false;
    while (!text.empty()) {
        auto line = trim(take_until(text, '\n'));
        if (line.ends_with("devices:")) {
            in_character_devices = line.starts_with("Character");
            continue;
        }
        const auto major = parse_number<unsigned>(take_until(line, ' '));
        if (in_character_devices && major && !trim(line).empty()) majors.emplace(trim(line), *major);
    }
    return majors;
}

unsigned parse_device_file_mode(std::string_view text) {
    while (!text.empty()) {
        auto line = take_until(text, '\n');
        if (trim(take_until(line, ':')) != "DeviceFileMode") continue;
        return parse_number<unsigned>(trim(line)).value_or(0666) & 0777;
    }
    return 0666;
}

GpuInformation parse_gpu_information(std::string_view text) {
    GpuInformation information;
    while (!text.empty()) {
        auto line = take_until(text, '\n');
        const auto key = trim(take_until(line, ':'));
        const auto value = trim(line);
        if (key == "Model") information.model = value;
        if (key == "GPU UUID") information.uuid = parse_uuid(value).value_or("");
        if (key == "Device Minor") information.minor = parse_number<unsigned>(value);
        if (key == "GPU Excluded" || key == "Excluded") information.excluded = value == "Yes";
    }
    return information;
}

std::optional<std::string> normal_pci_address(std::string_view text) {
    const auto address = parse_pci_address(text);
    return address ? std::optional(to_string(*address)) : std::nullopt;
}

KernelSide read_kernel_side(const HostRoots& roots) {
    KernelSide side;
    read_version(roots, side);
    if (side.version.empty()) return side;
    const auto devices = read_small(roots.proc / "devices");
    const auto majors = parse_character_majors(devices.value_or(""));
    add_control_nodes(roots, majors, side);
    side.node_mode = parse_device_file_mode(read_small(roots.proc / "driver/nvidia/params").value_or(""));
    read_gpus(roots, majors, side);
    return side;
}

}  // namespace cuda_nspawn
