#include "doctor/guest_facts.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "elf/version.hpp"
#include "guest/printable.hpp"
#include "names.hpp"

namespace cuda_nspawn {

std::string host_driver(const Evidence& evidence) {
    return evidence.driver.kernel_version.empty() ? evidence.driver.userspace_version : evidence.driver.kernel_version;
}

const Check* failed_check(const Evidence& evidence, std::string_view name) {
    const auto check = std::ranges::find(evidence.verdict.checks, name, &Check::name);
    return check != evidence.verdict.checks.end() && check->result == CheckResult::failed ? &*check : nullptr;
}

std::optional<ComputeCapability> gpu_capability(const Evidence& evidence) {
    const auto& capabilities = evidence.verdict.capabilities;
    if (capabilities.empty()) return std::nullopt;
    const bool same =
        std::ranges::all_of(capabilities, [&](const std::string& one) { return one == capabilities.front(); });
    return same ? parse_cuda_version(capabilities.front()) : std::nullopt;
}

bool has_data_center_gpus_only(const Evidence& evidence) {
    constexpr std::array<std::string_view, 4> others{"GeForce", "TITAN", "Quadro", "RTX"};
    return std::ranges::none_of(evidence.driver.gpus, [&](const Gpu& gpu) {
        return std::ranges::any_of(others,
                                   [&](std::string_view word) { return gpu.model.find(word) != std::string::npos; });
    });
}

std::vector<BundledLibrary> libraries_of_guest(const Evidence& evidence) {
    std::vector<BundledLibrary> libraries;
    if (evidence.image && evidence.image->guest) libraries = evidence.image->guest->bundled;
    if (!evidence.software) return libraries;
    for (const BundledLibrary& library : evidence.software->libraries)
        if (std::ranges::find(libraries, library.path, &BundledLibrary::path) == libraries.end())
            libraries.push_back(library);
    return libraries;
}

bool is_lent(std::string_view path) {
    return path.starts_with(std::string(names::guest_directory) + "/") ||
           path.starts_with(std::string(names::guest_store) + "/");
}

std::optional<bool> fits(const CompatLibrary& library, std::string_view driver) {
    const unsigned branch = driver_branch(driver);
    if (branch == 0) return std::nullopt;
    if (!library.version.empty() && compare_versions(library.version, driver) < 0) return false;
    if (library.note && !library.note->drivers.empty())
        return std::ranges::find(library.note->drivers, branch) != library.note->drivers.end();
    const auto own = cuda_of_driver(library.version);
    const auto of_driver = cuda_of_driver(driver);
    if (!own || !of_driver) return std::nullopt;
    return own->major > of_driver->major;
}

const CompatLibrary* compat_for(const Evidence& evidence, CudaVersion cuda) {
    if (!evidence.software) return nullptr;
    const std::string driver = host_driver(evidence);
    for (const CompatLibrary& library : evidence.software->compat) {
        auto own = library.note ? parse_cuda_version(library.note->cuda) : std::nullopt;
        if (!own) own = cuda_of_driver(library.version);
        if (own && own->major == cuda.major && fits(library, driver) == true) return &library;
    }
    return nullptr;
}

std::string with_cuda(std::string_view driver) {
    const auto cuda = cuda_of_driver(driver);
    return cuda ? fmt::format("{} (CUDA {})", driver, to_string(*cuda)) : std::string(driver);
}

std::vector<std::string_view> parts_of(std::string_view list) {
    std::vector<std::string_view> parts;
    while (!list.empty()) {
        const std::size_t end = std::min(list.find_first_of(": ;"), list.size());
        std::string_view part = list.substr(0, end);
        list.remove_prefix(std::min(end + 1, list.size()));
        while (part.size() > 1 && part.ends_with('/')) part.remove_suffix(1);
        if (!part.empty()) parts.push_back(part);
    }
    return parts;
}

bool has_part(std::string_view list, std::string_view path) {
    const auto parts = parts_of(list);
    return std::ranges::find(parts, path) != parts.end();
}

std::string place_of(const EnvironmentSetting& setting) {
    std::string place = shown(setting.file);
    if (setting.line != 0) place += fmt::format(":{}", setting.line);
    if (!setting.unit.empty()) place += fmt::format(" ({})", shown(setting.unit));
    return place;
}

std::vector<const EnvironmentSetting*> settings_of(const Evidence& evidence, std::string_view name) {
    std::vector<const EnvironmentSetting*> settings;
    if (!evidence.software) return settings;
    for (const EnvironmentSetting& setting : evidence.software->environment)
        if (setting.name == name) settings.push_back(&setting);
    return settings;
}

std::string_view directory_of(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? std::string_view() : path.substr(0, std::max<std::size_t>(slash, 1));
}

std::string_view file_name_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string shown(std::string_view text) {
    constexpr std::size_t longest = 256;
    return printable(text, longest);
}

std::string named(std::string_view path, std::string_view version) {
    return version.empty() ? shown(file_name_of(path))
                           : fmt::format("{} ({})", shown(file_name_of(path)), shown(version));
}

}  // namespace cuda_nspawn
