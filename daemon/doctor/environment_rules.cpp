// Variables that the guest sets for its services or logins. The self-test has none of them, so a verdict does not tell.
#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/guest_facts.hpp"
#include "doctor/guest_rules.hpp"
#include "doctor/remedies.hpp"
#include "driver/catalogue.hpp"

namespace cuda_nspawn {
namespace {

// A setting, a path in it, and the library that a program gets by that.
struct Diversion {
    const EnvironmentSetting* setting;
    std::string path;
    BundledLibrary library;
};

bool is_compat(const Evidence& evidence, const BundledLibrary& library) {
    return evidence.software && std::ranges::any_of(evidence.software->compat, [&](const CompatLibrary& compat) {
               return directory_of(compat.path) == directory_of(library.path);
           });
}

// Whether it is another one than the host's.
bool diverts(const Evidence& evidence, const BundledLibrary& library) {
    return library.kind != BundledKind::empty && !is_lent(library.path) &&
           (library.version.empty() || library.version != host_driver(evidence));
}

// The libcuda of a directory, if there is one, else the first other library.
std::optional<BundledLibrary> library_in(const Evidence& evidence, std::string_view directory) {
    std::optional<BundledLibrary> found;
    for (const BundledLibrary& library : libraries_of_guest(evidence)) {
        // Of compat libraries find_in_cuda() knows more.
        if (directory_of(library.path) != directory || !diverts(evidence, library) || is_compat(evidence, library))
            continue;
        if (!found || (file_name_of(library.path).starts_with("libcuda.so") &&
                       !file_name_of(found->path).starts_with("libcuda.so")))
            found = library;
    }
    return found;
}

std::string whose(const EnvironmentSetting& setting) {
    return setting.unit.empty() ? "programs" : fmt::format("the programs of {}", shown(setting.unit));
}

// Programs need a library by its SONAME; only some ask for libcuda.so.
std::string who_gets_it(const Diversion& diversion) {
    const std::string_view name = file_name_of(diversion.library.path);
    const bool by_soname = !name.ends_with(".so") || diversion.setting->name == "LD_PRELOAD";
    return whose(*diversion.setting) + (by_soname ? "" : fmt::format(" that load {} by this name", shown(name)));
}

void add_diversions(const Evidence& evidence, Finding finding, const std::vector<Diversion>& diversions,
                    Findings& findings) {
    if (diversions.empty()) return;
    const Diversion& first = diversions.front();
    const std::string driver = host_driver(evidence);
    finding.text = fmt::format("{} in {} names {}, so {} get {} and not the host's driver{}.", first.setting->name,
                               place_of(*first.setting), shown(first.path), who_gets_it(first),
                               named(first.library.path, first.library.version), driver.empty() ? "" : " " + driver);
    std::vector<std::string> commands;
    for (const Diversion& one : diversions) {
        finding.evidence.push_back(
            fmt::format("{}: {}={}", place_of(*one.setting), one.setting->name, shown(one.setting->value)));
        finding.evidence.push_back(
            fmt::format("{}: {}", shown(one.library.path),
                        one.library.version.empty() ? "version not known" : one.library.version));
        commands.push_back(take_out(*one.setting, one.path));
    }
    mend_in_machine(finding, one_after_the_other(commands),
                    fmt::format("Take {} out of {} in {} of the machine", shown(first.path), first.setting->name,
                                place_of(*first.setting)));
    findings.push_back(std::move(finding));
}

void find_library_path(const Evidence& evidence, Findings& findings) {
    std::vector<Diversion> diversions;
    for (const EnvironmentSetting* setting : settings_of(evidence, "LD_LIBRARY_PATH"))
        for (const std::string_view directory : parts_of(setting->value))
            if (auto library = library_in(evidence, directory))
                diversions.push_back({setting, std::string(directory), std::move(*library)});
    add_diversions(evidence, {.code = "library-path-wins", .severity = FindingSeverity::warning}, diversions, findings);
}

void find_preload(const Evidence& evidence, Findings& findings) {
    std::vector<Diversion> diversions;
    const auto libraries = libraries_of_guest(evidence);
    for (const EnvironmentSetting* setting : settings_of(evidence, "LD_PRELOAD"))
        for (const std::string_view path : parts_of(setting->value)) {
            // A bare name is looked up like any other.
            if (!path.starts_with('/') || !parse_library_name(file_name_of(path))) continue;
            const auto known = std::ranges::find(libraries, path, &BundledLibrary::path);
            BundledLibrary library = known != libraries.end() ? *known : BundledLibrary{std::string(path), "", {}};
            if (diverts(evidence, library)) diversions.push_back({setting, std::string(path), std::move(library)});
        }
    add_diversions(evidence, {.code = "library-preloaded", .severity = FindingSeverity::warning}, diversions, findings);
}

// --- GPUs that are hidden --------------------------------------------------------------------------------------------

std::vector<std::string> uuids_of_machine(const Evidence& evidence) {
    if (!evidence.policy) return evidence.verdict.gpu_uuids;
    std::vector<std::string> uuids;
    for (const Gpu& gpu : select_gpus(*evidence.policy, evidence.driver).gpus) uuids.push_back(gpu.uuid);
    return uuids;
}

bool names_none(std::string_view value) {
    constexpr std::array<std::string_view, 5> words{"", "-1", "none", "void", "NoDevFiles"};
    return std::ranges::find(words, value) != words.end();
}

// The place of the GPU that CUDA takes the word for.
std::optional<std::size_t> gpu_of(std::string_view word, const std::vector<std::string>& uuids) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), index);
    if (error == std::errc{} && end == word.data() + word.size())
        return index < uuids.size() ? std::optional(index) : std::nullopt;
    const auto found = std::ranges::find_if(
        uuids, [&](const std::string& uuid) { return word.starts_with("GPU-") && uuid.starts_with(word); });
    return found == uuids.end() ? std::nullopt : std::optional(static_cast<std::size_t>(found - uuids.begin()));
}

// How many of the GPUs CUDA shows; it stops at the first word that names none (CUDA C++ Programming Guide,
// "CUDA Environment Variables"). Nothing when that cannot be told.
std::optional<std::size_t> visible(std::string_view value, const std::vector<std::string>& uuids) {
    if (names_none(value)) return 0;
    if (value == "all" || uuids.empty() || value.find("MIG-") != std::string_view::npos) return std::nullopt;
    std::vector<bool> seen(uuids.size());
    while (!value.empty()) {
        const std::size_t end = std::min(value.find(','), value.size());
        const auto gpu = gpu_of(value.substr(0, end), uuids);
        if (!gpu) break;
        seen[*gpu] = true;
        value.remove_prefix(std::min(end + 1, value.size()));
    }
    return static_cast<std::size_t>(std::ranges::count(seen, true));
}

std::string all_indices(std::size_t count) {
    std::vector<std::size_t> indices(count);
    for (std::size_t i = 0; i < count; ++i) indices[i] = i;
    return fmt::format("{}", fmt::join(indices, ","));
}

struct Hidden {
    const EnvironmentSetting* setting;
    std::size_t visible;
    std::string fix;
};

FindingSeverity severity_of(const Evidence& evidence, const Hidden& hidden) {
    if (hidden.setting->name != "CUDA_VISIBLE_DEVICES") return FindingSeverity::info;
    if (failed_check(evidence, "devices") != nullptr) return FindingSeverity::error;
    if (hidden.visible > 0) return FindingSeverity::info;
    // A service of its own is one program of many.
    return hidden.setting->unit.empty() ? FindingSeverity::error : FindingSeverity::warning;
}

std::string text_of(const Hidden& hidden, std::size_t count) {
    const EnvironmentSetting& setting = *hidden.setting;
    const std::string what = fmt::format("{}={} in {}", setting.name, shown(setting.value), place_of(setting));
    if (setting.name != "CUDA_VISIBLE_DEVICES")
        return fmt::format(
            "{} hides the GPUs from NVIDIA's container runtime; to CUDA in the machine itself it means "
            "nothing.",
            what);
    if (hidden.visible == 0) return fmt::format("{} hides all GPUs from {}.", what, whose(setting));
    return fmt::format("{} shows {} of the machine's {} GPUs to {}.", what, hidden.visible, count, whose(setting));
}

void find_hidden(const Evidence& evidence, Findings& findings) {
    const auto uuids = uuids_of_machine(evidence);
    std::vector<Hidden> all;
    for (const EnvironmentSetting* setting : settings_of(evidence, "CUDA_VISIBLE_DEVICES")) {
        const auto count = visible(setting->value, uuids);
        if (count && (*count == 0 || *count < uuids.size()))
            all.push_back({setting, *count, set_to(*setting, all_indices(uuids.size()))});
    }
    for (const EnvironmentSetting* setting : settings_of(evidence, "NVIDIA_VISIBLE_DEVICES"))
        if (names_none(setting->value)) all.push_back({setting, 0, set_to(*setting, "all")});
    if (all.empty()) return;
    const auto worst =
        std::ranges::min_element(all, {}, [&](const Hidden& hidden) { return severity_of(evidence, hidden); });
    Finding finding{
        .code = "gpus-hidden", .severity = severity_of(evidence, *worst), .text = text_of(*worst, uuids.size())};
    std::vector<std::string> commands;
    for (const Hidden& hidden : all) {
        finding.evidence.push_back(
            fmt::format("{}: {}={}", place_of(*hidden.setting), hidden.setting->name, shown(hidden.setting->value)));
        commands.push_back(hidden.fix);
    }
    mend_in_machine(finding, one_after_the_other(commands),
                    fmt::format("Take {} out of {} of the machine", worst->setting->name, place_of(*worst->setting)));
    findings.push_back(std::move(finding));
}

}  // namespace

void find_in_environment(const Evidence& evidence, Findings& findings) {
    find_library_path(evidence, findings);
    find_preload(evidence, findings);
    find_hidden(evidence, findings);
}

}  // namespace cuda_nspawn
