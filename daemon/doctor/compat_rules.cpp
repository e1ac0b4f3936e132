// cuda-compat: libraries of a newer driver, which run newer CUDA with the host's older one where both fit together.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/guest_facts.hpp"
#include "doctor/guest_rules.hpp"
#include "doctor/remedies.hpp"
#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

// How programs get it.
struct Use {
    std::vector<const EnvironmentSetting*> settings;  // LD_LIBRARY_PATH with its directory
    std::string verdict;                              // the self-test got it, or what gives such an error
    bool any() const { return !settings.empty() || !verdict.empty(); }
};

Use use_of(const Evidence& evidence, const CompatLibrary& library) {
    Use use;
    for (const EnvironmentSetting* setting : settings_of(evidence, "LD_LIBRARY_PATH"))
        if (has_part(setting->value, directory_of(library.path))) use.settings.push_back(setting);
    const std::string file = library.version.empty() ? library.path : "/libcuda.so." + library.version;
    for (const Check& check : evidence.verdict.checks) {
        if (check.result != CheckResult::failed) continue;
        const bool is_it = check.detail.find(file) != std::string::npos;
        const bool is_its_error =
            check.detail.find("(803)") != std::string::npos || check.detail.find("(804)") != std::string::npos;
        if (is_it && (is_its_error || check.name == "library"))
            use.verdict = fmt::format("self-test: {}: {}", check.name, check.detail);
    }
    return use;
}

// Why it cannot be used here; empty if it can.
std::string misfit(const Evidence& evidence, const CompatLibrary& library) {
    const std::string driver = host_driver(evidence);
    const auto fitting = fits(library, driver);
    if (!fitting) return "";
    if (*fitting) {
        if (has_data_center_gpus_only(evidence)) return "";
        return "works on data-center GPUs only";
    }
    if (!library.version.empty() && compare_versions(library.version, driver) < 0)
        return fmt::format("is older than the host's driver {}", driver);
    if (library.note && !library.note->drivers.empty())
        return fmt::format("is for drivers of the branches {}, and the host's is {}",
                           fmt::join(library.note->drivers, ", "), driver);
    return fmt::format("is of the same CUDA as the host's driver {}", with_cuda(driver));
}

bool needed_for(const Evidence& evidence, std::string_view cuda) {
    const auto version = parse_cuda_version(cuda);
    return version && toolkit_fit(*version, host_driver(evidence)) == Fit::no && compat_for(evidence, *version);
}

bool is_needed(const Evidence& evidence) {
    if (evidence.program && needed_for(evidence, evidence.program->cudart)) return true;
    if (evidence.image && evidence.image->guest)
        for (const Toolkit& toolkit : evidence.image->guest->toolkits)
            if (needed_for(evidence, toolkit.version)) return true;
    return evidence.software && std::ranges::any_of(evidence.software->packages, [&](const CudaPackage& package) {
               return needed_for(evidence, package.cuda);
           });
}

}  // namespace

void find_idle_compat(const Evidence& evidence, Findings& findings) {
    if (!evidence.software || host_driver(evidence).empty() || is_needed(evidence)) return;
    Finding finding{.code = "guest-compat", .severity = FindingSeverity::info};
    for (const CompatLibrary& library : evidence.software->compat) {
        if (use_of(evidence, library).any()) continue;
        if (finding.text.empty())
            finding.text = fmt::format(
                "The guest has a compat library, {} in {}, which nothing needs with the host's "
                "driver {}.",
                named(library.path, library.version), shown(directory_of(library.path)),
                with_cuda(host_driver(evidence)));
        finding.evidence.push_back(fmt::format("{}: {}", shown(library.path), shown(library.version)));
    }
    if (finding.text.empty()) return;
    finding.fix = "Nothing has to be done as long as no LD_LIBRARY_PATH names its directory";
    findings.push_back(std::move(finding));
}

void find_unfit_compat(const Evidence& evidence, Findings& findings) {
    if (!evidence.software) return;
    Finding finding{.code = "compat-does-not-fit", .severity = FindingSeverity::warning};
    std::vector<std::string> commands;
    for (const CompatLibrary& library : evidence.software->compat) {
        const Use use = use_of(evidence, library);
        const std::string reason = use.any() ? misfit(evidence, library) : "";
        if (reason.empty()) continue;
        if (finding.text.empty())
            finding.text = fmt::format(
                "The compat library {} in {} {}, so programs that get it fail with "
                "SYSTEM_DRIVER_MISMATCH (803) or COMPAT_NOT_SUPPORTED (804).",
                named(library.path, library.version), shown(directory_of(library.path)), reason);
        for (const EnvironmentSetting* setting : use.settings) {
            finding.evidence.push_back(
                fmt::format("{}: {}={}", place_of(*setting), setting->name, shown(setting->value)));
            commands.push_back(take_out(*setting, directory_of(library.path)));
        }
        if (use.verdict.empty()) continue;
        finding.severity = FindingSeverity::error;
        finding.evidence.push_back(use.verdict);
        commands.push_back(remove_libraries({library.path}));
    }
    if (finding.text.empty()) return;
    mend_in_machine(finding, one_after_the_other(commands),
                    "Remove the cuda-compat package in the machine, or take its directory out of LD_LIBRARY_PATH");
    findings.push_back(std::move(finding));
}

}  // namespace cuda_nspawn
