#include "driver/driver.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "driver/kernel_side.hpp"

namespace cuda_nspawn {
namespace {

bool has_node(const Driver& driver, std::string_view name) {
    return std::ranges::any_of(driver.control, [name](const DeviceNode& node) { return node.name == name; });
}

std::string no_module(const Driver& driver) {
    if (driver.userspace_version.empty())
        return "no NVIDIA kernel module is loaded (there is no /proc/driver/nvidia/version) and no driver files are "
               "installed: "
               "install NVIDIA's driver and load it with \"modprobe nvidia\"";
    return fmt::format(
        "no NVIDIA kernel module is loaded (there is no /proc/driver/nvidia/version), though driver files of version "
        "{} "
        "are installed: load it with \"modprobe nvidia\"; if that fails, build or install the module for this kernel",
        driver.userspace_version);
}

std::string describe(const Gpu& gpu) {
    return fmt::format("{}: {} {} at {}", gpu.index, gpu.uuid.empty() ? "(UUID not known yet)" : gpu.uuid, gpu.model,
                       gpu.pci_address);
}

// "this host has GPUs 0 and 1 (0: GPU-… NVIDIA H200 at 0000:01:00.0, 1: …)"
std::string describe(const std::vector<Gpu>& gpus) {
    if (gpus.empty()) return "this host has no GPU";
    std::vector<std::string> descriptions;
    std::string indices;
    for (const auto& gpu : gpus) {
        descriptions.push_back(describe(gpu));
        if (&gpu != &gpus.front()) indices += &gpu == &gpus.back() ? " and " : ", ";
        indices += std::to_string(gpu.index);
    }
    return fmt::format("this host has GPU{} {} ({})", gpus.size() == 1 ? "" : "s", indices,
                       fmt::join(descriptions, ", "));
}

struct Matches {
    const Gpu& gpu;
    bool operator()(const GpuIndex& index) const { return gpu.index == index.value; }
    bool operator()(const GpuUuid& uuid) const { return !gpu.uuid.empty() && gpu.uuid == uuid.value; }
    bool operator()(const GpuPciAddress& address) const {
        return gpu.pci_address == normal_pci_address(address.value).value_or(address.value);
    }
};

struct SelectorText {
    std::string operator()(const GpuIndex& index) const { return fmt::format("GPU index {}", index.value); }
    std::string operator()(const GpuUuid& uuid) const { return fmt::format("GPU UUID {}", uuid.value); }
    std::string operator()(const GpuPciAddress& address) const {
        return fmt::format("the GPU at PCI address {}", address.value);
    }
};

std::string unmatched(const Policy& policy, const GpuSelector& selector, const Driver& driver) {
    auto text = fmt::format("the policy of machine {} names {}, but {}", policy.machine,
                            std::visit(SelectorText{}, selector), describe(driver.gpus));
    const bool some_unknown = std::ranges::any_of(driver.gpus, [](const Gpu& gpu) { return gpu.uuid.empty(); });
    if (std::holds_alternative<GpuUuid>(selector) && some_unknown)
        text +=
            "; a UUID is not known before its GPU is opened for the first time (run nvidia-smi), or name it by index "
            "or PCI address";
    return text;
}

// FNV-1a, 64 bits: the digest tells contents apart, it protects from nobody.
class Digest {
public:
    void add(std::string_view text) {
        add(std::uint64_t{text.size()});
        for (const char c : text) add_byte(static_cast<unsigned char>(c));
    }
    void add(std::uint64_t value) {
        for (int shift = 0; shift < 64; shift += 8) add_byte(static_cast<unsigned char>(value >> shift));
    }
    std::uint64_t value() const { return value_; }

private:
    void add_byte(unsigned char byte) { value_ = (value_ ^ byte) * 0x100000001b3; }
    std::uint64_t value_ = 0xcbf29ce484222325;
};

void add_file(Digest& digest, const DriverFile& file) {
    digest.add(to_string(file.capability));
    digest.add(static_cast<std::uint64_t>(file.kind));
    for (const std::string_view text : {std::string_view(file.source), std::string_view(file.name),
                                        std::string_view(file.build_id), std::string_view(file.text)})
        digest.add(text);
    digest.add(std::uint64_t{file.links.size()});
    for (const auto& link : file.links) digest.add(link);
    digest.add(file.size);
    digest.add(static_cast<std::uint64_t>(file.mtime_ns));
}

}  // namespace

bool Driver::has_uvm() const { return has_node(*this, "nvidia-uvm"); }

std::optional<std::string> driver_problem(const Driver& driver) {
    if (driver.kernel_version.empty()) return no_module(driver);
    if (driver.userspace_version.empty())
        return fmt::format(
            "the NVIDIA kernel module {0} is loaded, but no libcuda.so.{0} was found in the loader's cache or the "
            "known "
            "directories: install the driver's user space of that version, or add its directory to /etc/ld.so.conf.d",
            driver.kernel_version);
    if (driver.kernel_version != driver.userspace_version)
        return fmt::format(
            "kernel module is {}, driver files are {}: reload the module (modprobe -r and modprobe nvidia, with "
            "nothing "
            "using it) or reboot",
            driver.kernel_version, driver.userspace_version);
    if (driver.gpus.empty())
        return fmt::format(
            "the NVIDIA kernel module {} is loaded, but has no GPU (/proc/driver/nvidia/gpus is empty): see lspci and "
            "the "
            "lines with NVRM in the kernel's log",
            driver.kernel_version);
    if (!has_node(driver, "nvidiactl"))
        return "/proc/devices lists no major number for nvidia: reload the kernel module (modprobe nvidia)";
    if (!driver.has_uvm())
        return "the kernel module nvidia-uvm is not loaded, without which CUDA fails with error 999: load it with "
               "\"modprobe nvidia-uvm\"";
    return std::nullopt;
}

GpuSelection select_gpus(const Policy& policy, const Driver& driver) {
    GpuSelection selection;
    if (policy.all_gpus) {
        selection.gpus = driver.gpus;
        if (driver.gpus.empty())
            selection.errors.push_back(
                fmt::format("the policy of machine {} names all GPUs, but this host has no GPU", policy.machine));
        return selection;
    }
    for (const auto& selector : policy.gpus)
        if (std::ranges::none_of(driver.gpus,
                                 [&selector](const Gpu& gpu) { return std::visit(Matches{gpu}, selector); }))
            selection.errors.push_back(unmatched(policy, selector, driver));
    for (const auto& gpu : driver.gpus)
        if (std::ranges::any_of(policy.gpus,
                                [&gpu](const GpuSelector& selector) { return std::visit(Matches{gpu}, selector); }))
            selection.gpus.push_back(gpu);
    return selection;
}

std::string generation_name(const Driver& driver) {
    if (driver.files.empty()) return {};
    Digest digest;
    digest.add(driver.userspace_version);
    for (const auto& file : driver.files) add_file(digest, file);
    return fmt::format("{}-{:016x}", driver.userspace_version, digest.value());
}

}  // namespace cuda_nspawn
