#include "driver/change.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace cuda_nspawn {
namespace {

using Lines = std::vector<std::string>;

std::string count_of(const std::vector<Gpu>& gpus) {
    if (gpus.empty()) return "no GPU";
    return fmt::format("{} GPU{}", gpus.size(), gpus.size() == 1 ? "" : "s");
}

std::string name_of(const Gpu& gpu) {
    return fmt::format("GPU {} ({}, {})", gpu.index, gpu.uuid.empty() ? gpu.pci_address : gpu.uuid, gpu.model);
}

// The UUID of a GPU that nobody has opened yet is not known.
bool is_same(const Gpu& one, const Gpu& other) {
    const bool uuids_agree = one.uuid == other.uuid || one.uuid.empty() || other.uuid.empty();
    return one.pci_address == other.pci_address && uuids_agree;
}

const Gpu* find(const std::vector<Gpu>& gpus, const Gpu& wanted) {
    const auto place = std::ranges::find_if(gpus, [&wanted](const Gpu& gpu) { return is_same(gpu, wanted); });
    return place == gpus.end() ? nullptr : &*place;
}

const DeviceNode* find(const Driver& driver, std::string_view name) {
    if (driver.modeset && driver.modeset->name == name) return &*driver.modeset;
    const auto place = std::ranges::find(driver.control, name, &DeviceNode::name);
    return place == driver.control.end() ? nullptr : &*place;
}

void describe_module(const Driver& before, const Driver& after, Lines& lines) {
    if (before.kernel_version == after.kernel_version) return;
    if (before.kernel_version.empty())
        lines.push_back(
            fmt::format("the NVIDIA kernel module was loaded: {}, {}", after.kernel_version, count_of(after.gpus)));
    else if (after.kernel_version.empty())
        lines.push_back(fmt::format("the NVIDIA kernel module was unloaded: {}", before.kernel_version));
    else
        lines.push_back(fmt::format("the NVIDIA kernel module was reloaded: {} -> {}", before.kernel_version,
                                    after.kernel_version));
}

void describe_gpus(const Driver& before, const Driver& after, Lines& lines) {
    for (const Gpu& gpu : before.gpus)
        if (find(after.gpus, gpu) == nullptr) lines.push_back(fmt::format("{} is gone", name_of(gpu)));
    for (const Gpu& gpu : after.gpus) {
        const Gpu* known = find(before.gpus, gpu);
        if (known == nullptr) {
            lines.push_back(fmt::format("{} was added", name_of(gpu)));
            continue;
        }
        if (known->uuid.empty() && !gpu.uuid.empty())
            lines.push_back(fmt::format("{} at {} tells its UUID now", name_of(gpu), gpu.pci_address));
        if (known->minor != gpu.minor)
            lines.push_back(
                fmt::format("{} has another node: nvidia{} -> nvidia{}", name_of(gpu), known->minor, gpu.minor));
    }
}

void describe_nodes(const Driver& before, const Driver& after, Lines& lines) {
    for (const char* name : {"nvidiactl", "nvidia-uvm", "nvidia-modeset"}) {
        const DeviceNode* old = find(before, name);
        const DeviceNode* now = find(after, name);
        if (old == nullptr && now != nullptr) lines.push_back(fmt::format("{} was added", name));
        if (old != nullptr && now == nullptr) lines.push_back(fmt::format("{} is gone", name));
        if (old != nullptr && now != nullptr && old->major != now->major)
            lines.push_back(fmt::format("{} has another major: {} -> {}", name, old->major, now->major));
    }
    if (before.node_mode != after.node_mode)
        lines.push_back(
            fmt::format("the nodes have another mode: {:04o} -> {:04o}", before.node_mode, after.node_mode));
}

void describe_files(const Driver& before, const Driver& after, Lines& lines) {
    if (before.userspace_version.empty() && !after.userspace_version.empty())
        lines.push_back(fmt::format("driver files were installed: {}", after.userspace_version));
    else if (!before.userspace_version.empty() && after.userspace_version.empty())
        lines.push_back(fmt::format("driver files were removed: {}", before.userspace_version));
    else if (before.userspace_version != after.userspace_version)
        lines.push_back(
            fmt::format("driver files changed: {} -> {}", before.userspace_version, after.userspace_version));
    else if (before.files != after.files)
        lines.push_back(fmt::format("driver files of {} changed", after.userspace_version));
}

}  // namespace

std::string describe_driver(const Driver& driver) {
    const std::string files =
        driver.userspace_version.empty() ? "no driver files" : fmt::format("driver files {}", driver.userspace_version);
    if (driver.kernel_version.empty()) return fmt::format("no NVIDIA kernel module is loaded, {}", files);
    return fmt::format("NVIDIA kernel module {}, {}, {}", driver.kernel_version, count_of(driver.gpus), files);
}

std::string describe_change(const Driver& before, const Driver& after) {
    Lines lines;
    describe_module(before, after, lines);
    // With the module all of these come and go; its line says it.
    if (!before.kernel_version.empty() && !after.kernel_version.empty()) {
        describe_gpus(before, after, lines);
        describe_nodes(before, after, lines);
    }
    describe_files(before, after, lines);
    return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace cuda_nspawn
