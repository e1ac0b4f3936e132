// CUDA toolkits in the guest, against the host's driver and the machine's GPU.
#include <algorithm>

#include <fmt/format.h>

#include "doctor/guest_facts.hpp"
#include "doctor/guest_rules.hpp"
#include "doctor/rules.hpp"

namespace cuda_nspawn {
namespace {

struct KnownToolkit {
    CudaVersion version;
    const Toolkit* toolkit;
};

std::vector<KnownToolkit> toolkits_of(const Evidence& evidence) {
    std::vector<KnownToolkit> toolkits;
    if (!evidence.image || !evidence.image->guest) return toolkits;
    for (const Toolkit& toolkit : evidence.image->guest->toolkits)
        if (const auto version = parse_cuda_version(toolkit.version)) toolkits.push_back({*version, &toolkit});
    return toolkits;
}

std::string line(const Toolkit& toolkit) { return fmt::format("{}: CUDA {}", shown(toolkit.path), toolkit.version); }

std::string fix_of_toolkit(const Evidence& evidence, CudaVersion toolkit) {
    const std::string driver = host_driver(evidence);
    const CompatLibrary* compat = compat_for(evidence, toolkit);
    if (compat != nullptr && has_data_center_gpus_only(evidence))
        return fmt::format("Run its programs with LD_LIBRARY_PATH={}, whose compat library fits the host's driver",
                           shown(directory_of(compat->path)));
    const auto cuda = cuda_of_driver(driver);
    const std::string oldest = oldest_compatible_driver(toolkit);
    return fmt::format("Use a toolkit of CUDA {} or older in the machine, or {} on the host",
                       cuda ? to_string(*cuda) : "the driver's",
                       oldest.empty() ? "a newer driver" : fmt::format("driver {} or newer", oldest));
}

void find_newer_toolkits(const Evidence& evidence, Findings& findings) {
    const std::string driver = host_driver(evidence);
    Finding finding{.code = "toolkit-needs-newer-driver", .severity = FindingSeverity::warning};
    for (const auto& [version, toolkit] : toolkits_of(evidence)) {
        if (toolkit_fit(version, driver) != Fit::no) continue;
        if (finding.text.empty()) {
            const std::string oldest = oldest_compatible_driver(version);
            finding.text = fmt::format(
                "The guest's CUDA toolkit {} in {} needs {}, and the host's is {}: what is built with it fails with "
                "cudaErrorInsufficientDriver (35).",
                toolkit->version, shown(toolkit->path),
                oldest.empty() ? "a newer driver" : fmt::format("driver {} or newer", oldest), with_cuda(driver));
            finding.fix = fix_of_toolkit(evidence, version);
        }
        finding.evidence.push_back(line(*toolkit));
        if (const CompatLibrary* compat = compat_for(evidence, version))
            finding.evidence.push_back(fmt::format("{}: a compat library ({}) that fits driver {}, on data-center GPUs",
                                                   shown(compat->path), shown(compat->version), driver));
    }
    if (finding.text.empty()) return;
    finding.evidence.push_back(what_fits(driver, gpu_capability(evidence)));
    findings.push_back(std::move(finding));
}

// Of different GPUs, the first that the toolkit does not compile for.
std::optional<ComputeCapability> left_out(const Evidence& evidence, CudaVersion toolkit) {
    for (const std::string& text : evidence.verdict.capabilities)
        if (const auto gpu = parse_cuda_version(text); gpu && compiles_for(toolkit, *gpu) == false) return gpu;
    return std::nullopt;
}

std::string text_of(const KnownToolkit& known, ComputeCapability gpu) {
    const auto oldest = oldest_toolkit_for(gpu);
    const auto newest = newest_toolkit_for(gpu);
    const bool too_old = oldest && known.version < *oldest;
    return fmt::format("The guest's CUDA toolkit {} in {} {} for the machine's GPU (compute capability {}){}.",
                       known.toolkit->version, shown(known.toolkit->path),
                       too_old ? "is too old to compile" : "no longer compiles", to_string(gpu),
                       too_old  ? fmt::format(", which CUDA {} was the first to know", to_string(*oldest))
                       : newest ? fmt::format(", for which CUDA {} was the last", to_string(*newest))
                                : "");
}

void find_toolkits_without_gpu(const Evidence& evidence, Findings& findings) {
    Finding finding{.code = "toolkit-too-old-for-gpu", .severity = FindingSeverity::warning};
    for (const KnownToolkit& known : toolkits_of(evidence)) {
        const auto gpu = left_out(evidence, known.version);
        if (!gpu) continue;
        if (finding.text.empty()) {
            finding.text = text_of(known, *gpu);
            const auto oldest = oldest_toolkit_for(*gpu);
            const auto newest = newest_toolkit_for(*gpu);
            if (oldest && newest)
                finding.fix = fmt::format("Use a toolkit from CUDA {} to {} in the machine that fits the driver",
                                          to_string(*oldest), to_string(*newest));
            else
                finding.fix = "No toolkit of today compiles for this GPU";
        }
        finding.evidence.push_back(line(*known.toolkit));
    }
    if (finding.text.empty()) return;
    finding.evidence.push_back(what_fits(host_driver(evidence), gpu_capability(evidence)));
    findings.push_back(std::move(finding));
}

// Only where that leaves a question open: a driver runs all that is older.
void find_unknown_driver(const Evidence& evidence, Findings& findings) {
    const std::string driver = host_driver(evidence);
    if (!is_newer_than_table(driver)) return;
    std::vector<std::string> open;
    for (const auto& [version, toolkit] : toolkits_of(evidence))
        if (toolkit_fit(version, driver) == Fit::unknown) open.push_back(line(*toolkit));
    if (evidence.software)
        for (const CudaPackage& package : evidence.software->packages)
            if (const auto cuda = parse_cuda_version(package.cuda); cuda && toolkit_fit(*cuda, driver) == Fit::unknown)
                open.push_back(
                    fmt::format("{}: {} {}", shown(package.path), shown(package.name), shown(package.version)));
    if (open.empty()) return;
    findings.push_back(
        {.code = "driver-newer-than-table",
         .severity = FindingSeverity::info,
         .text = fmt::format("Driver {} is newer than this version's table, which ends with branch {} (CUDA {}), so it "
                             "is not known here whether it runs all CUDA that the guest has.",
                             driver, newest_branch(), to_string(newest_cuda())),
         .evidence = std::move(open),
         .fix = "Compare with the CUDA version that nvidia-smi shows, or use a newer version of cuda-nspawn"});
}

}  // namespace

void find_in_cuda(const Evidence& evidence, Findings& findings) {
    find_newer_toolkits(evidence, findings);
    find_packages(evidence, findings);
    find_unfit_compat(evidence, findings);
    find_toolkits_without_gpu(evidence, findings);
    find_unknown_driver(evidence, findings);
}

}  // namespace cuda_nspawn
