// The program that was asked about: whether the guest's loader starts it, and which libcuda it gets.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/guest_facts.hpp"
#include "doctor/remedies.hpp"
#include "doctor/rules.hpp"
#include "driver/catalogue.hpp"
#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

std::string name_of(const Program& program) {
    return program.script_of.empty() ? shown(program.path)
                                     : fmt::format("{} (which {} runs)", shown(program.path), shown(program.script_of));
}

const Guest* guest_of(const Evidence& evidence) {
    return evidence.image && evidence.image->guest ? &*evidence.image->guest : nullptr;
}

std::string fix_of_32_bit(const Evidence& evidence) {
    std::vector<std::string_view> names;
    for (const Capability capability : evidence.policy->capabilities) names.push_back(to_string(capability));
    names.push_back(to_string(Capability::compat32));
    return fmt::format("capabilities: [{}]", fmt::join(names, ", "));
}

// Whether that is all there is to say.
bool find_architecture(const Evidence& evidence, const Program& program, Findings& findings) {
    const std::string architecture = guest_of(evidence) != nullptr && !guest_of(evidence)->architecture.empty()
                                         ? guest_of(evidence)->architecture
                                         : "x86-64";
    const std::vector<std::string> seen{
        fmt::format("{}: {}, {} bit", shown(program.path), program.architecture, program.is_64bit ? 64 : 32)};
    if (!program.is_64bit && (program.architecture == "x86" || program.architecture == architecture)) {
        const bool lent =
            evidence.policy && std::ranges::count(evidence.policy->capabilities, Capability::compat32) > 0;
        if (lent) return false;
        Finding finding{.code = "program-32-bit",
                        .text = fmt::format("{} is a 32-bit program, and the policy lends the machine the 64-bit "
                                            "driver only.",
                                            name_of(program)),
                        .evidence = seen,
                        .fix = "Use a 64-bit build of the program"};
        if (evidence.policy) {
            finding.where = FixPlace::policy;
            finding.fix = fix_of_32_bit(evidence);
        }
        findings.push_back(std::move(finding));
        return false;
    }
    if (program.architecture.empty() || program.architecture == architecture) return false;
    findings.push_back({.code = "program-other-architecture",
                        .text = fmt::format("{} is built for {}, and the machine and the host's driver are {}.",
                                            name_of(program), program.architecture, architecture),
                        .evidence = seen,
                        .fix = fmt::format("Use a build of the program for {}", architecture)});
    return true;
}

void find_loader(const Evidence& evidence, const Program& program, Findings& findings) {
    const std::vector<std::string> seen{
        fmt::format("{}: its loader is {}", shown(program.path), shown(program.interpreter))};
    if (file_name_of(program.interpreter).starts_with("ld-musl")) {
        findings.push_back(
            {.code = "program-musl",
             .text = fmt::format("{} is built for musl, which cannot load NVIDIA's driver.", name_of(program)),
             .evidence = seen,
             .fix = "Use a build of the program for glibc"});
        return;
    }
    if (!program.interpreter.empty() && !program.has_interpreter)
        findings.push_back({.code = "program-no-loader",
                            .text = fmt::format("{} asks for the loader {}, which the guest does not have, so it "
                                                "cannot be started (\"No such file or directory\").",
                                                name_of(program), shown(program.interpreter)),
                            .evidence = seen,
                            .fix = "Install the C library that has this loader in the machine, or use a build of the "
                                   "program for its distribution"});
    const Guest* guest = guest_of(evidence);
    if (guest == nullptr || guest->libc_version.empty() || program.needed_glibc.empty()) return;
    if (compare_versions(program.needed_glibc, guest->libc_version) > 0)
        findings.push_back(
            {.code = "program-needs-newer-glibc",
             .text = fmt::format("{} needs glibc {}, and the guest has {}.", name_of(program),
                                 shown(program.needed_glibc), guest->libc_version),
             .evidence = {fmt::format("{}: GLIBC_{}", shown(program.path), shown(program.needed_glibc)),
                          fmt::format("the guest: glibc {}", guest->libc_version)},
             .fix = "Use a build of the program for this distribution, or a newer release of it in the machine"});
}

// Of a toolkit in the guest that has them, its directory for the loader.
std::string add_to_loader(const Evidence& evidence, const std::vector<const LoadedLibrary*>& missing) {
    constexpr std::string_view prefix = "libcudart.so.";
    const Guest* guest = guest_of(evidence);
    const auto cudart =
        std::ranges::find_if(missing, [&](const LoadedLibrary* library) { return library->name.starts_with(prefix); });
    if (guest == nullptr || cudart == missing.end()) return "";
    const auto wanted = parse_cuda_version(std::string_view((*cudart)->name).substr(prefix.size()));
    for (const Toolkit& toolkit : guest->toolkits) {
        const auto version = parse_cuda_version(toolkit.version);
        // Up to CUDA 10 the name has the minor version too.
        if (!wanted || !version || version->major != wanted->major || !can_be_typed(toolkit.path)) continue;
        if (wanted->major < 11 && version->minor != wanted->minor) continue;
        return fmt::format("echo {} >/etc/ld.so.conf.d/cuda-toolkit.conf && ldconfig",
                           shell_word(toolkit.path + "/lib64"));
    }
    return "";
}

void find_missing_libraries(const Evidence& evidence, const Program& program, Findings& findings) {
    std::vector<const LoadedLibrary*> missing;
    std::vector<std::string> names;
    for (const LoadedLibrary& library : program.libraries) {
        // The driver's come from the host.
        if (!library.path.empty() || parse_library_name(library.name)) continue;
        missing.push_back(&library);
        names.push_back(shown(library.name));
    }
    if (missing.empty()) return;
    Finding finding{.code = "program-library-missing",
                    .text = fmt::format("{} needs {}, which the guest's loader does not find.", name_of(program),
                                        fmt::join(names, ", "))};
    for (const LoadedLibrary* library : missing)
        finding.evidence.push_back(
            fmt::format("{}: not found, for {}", shown(library->name), shown(library->needed_by)));
    mend_in_machine(finding, add_to_loader(evidence, missing),
                    "Install the package that has them in the machine; CUDA's own come with a toolkit or, for Python, "
                    "with the packages nvidia-*");
    findings.push_back(std::move(finding));
}

// The compat library that the program gets, if that is one that fits.
bool gets_fitting_compat(const Evidence& evidence, const Program& program) {
    if (!program.libcuda || !evidence.software) return false;
    return std::ranges::any_of(evidence.software->compat, [&](const CompatLibrary& library) {
        return directory_of(library.path) == directory_of(program.libcuda->path) &&
               fits(library, host_driver(evidence)) == true;
    });
}

std::string give_hosts_libcuda(const Evidence& evidence, const Program& program) {
    const LoadedLibrary& libcuda = *program.libcuda;
    const std::string_view directory = directory_of(libcuda.path);
    if (libcuda.by != FoundBy::library_path)
        return directory.ends_with("/stubs") ? "" : remove_libraries({libcuda.path});
    std::vector<std::string> commands;
    for (const EnvironmentSetting* setting : settings_of(evidence, "LD_LIBRARY_PATH"))
        if (has_part(setting->value, directory)) commands.push_back(take_out(*setting, directory));
    if (!commands.empty()) return one_after_the_other(commands);
    return can_be_typed(program.path) ? fmt::format("env -u LD_LIBRARY_PATH {}", shell_word(program.path)) : "";
}

std::string_view how(FoundBy by) {
    switch (by) {
        case FoundBy::rpath:
            return "its RPATH";
        case FoundBy::library_path:
            return "LD_LIBRARY_PATH";
        case FoundBy::runpath:
            return "its RUNPATH";
        case FoundBy::cache:
            return "the loader's cache";
        case FoundBy::standard_directory:
            return "the loader's own directories";
        case FoundBy::none:
            break;
    }
    return "the loader";
}

void find_other_libcuda(const Evidence& evidence, const Program& program, Findings& findings) {
    if (!program.libcuda || program.libcuda->path.empty() || is_lent(program.libcuda->path)) return;
    const LoadedLibrary& libcuda = *program.libcuda;
    const std::string driver = host_driver(evidence);
    if ((!libcuda.version.empty() && libcuda.version == driver) || gets_fitting_compat(evidence, program)) return;
    Finding finding{.code = "program-finds-other-libcuda",
                    .text = fmt::format("{} gets {} in {} by {}, and not the host's driver{}.", name_of(program),
                                        named(libcuda.path, libcuda.version), shown(directory_of(libcuda.path)),
                                        how(libcuda.by), driver.empty() ? "" : " " + driver),
                    .evidence = {fmt::format("{}: libcuda.so.1 is {}", shown(program.path), shown(libcuda.path))}};
    if (!libcuda.needed_by.empty() && libcuda.needed_by != program.path)
        finding.evidence.push_back(fmt::format("loaded by {}", shown(libcuda.needed_by)));
    if (!program.library_path.empty())
        finding.evidence.push_back(fmt::format("LD_LIBRARY_PATH={}", shown(program.library_path)));
    mend_in_machine(finding, give_hosts_libcuda(evidence, program),
                    "Take that directory out of the program's RPATH, or link it again without it");
    findings.push_back(std::move(finding));
}

void find_newer_runtime(const Evidence& evidence, const Program& program, Findings& findings) {
    const auto cuda = parse_cuda_version(program.cudart);
    const std::string driver = host_driver(evidence);
    if (!cuda || toolkit_fit(*cuda, driver) != Fit::no || gets_fitting_compat(evidence, program)) return;
    const std::string oldest = oldest_compatible_driver(*cuda);
    Finding finding{.code = "program-needs-newer-driver",
                    .text = fmt::format("{} is built for CUDA {}, which needs {}, and the host's is {}: it fails with "
                                        "cudaErrorInsufficientDriver (35).",
                                        name_of(program), program.cudart,
                                        oldest.empty() ? "a newer driver" : fmt::format("driver {} or newer", oldest),
                                        with_cuda(driver)),
                    .evidence = {fmt::format("{}: CUDA runtime {}", shown(program.path), program.cudart),
                                 what_fits(driver, gpu_capability(evidence))}};
    const CompatLibrary* compat = compat_for(evidence, *cuda);
    const bool helps = compat != nullptr && has_data_center_gpus_only(evidence) && can_be_typed(compat->path) &&
                       can_be_typed(program.path);
    mend_in_machine(
        finding,
        helps
            ? fmt::format("env LD_LIBRARY_PATH={} {}", shell_word(directory_of(compat->path)), shell_word(program.path))
            : "",
        oldest.empty()
            ? "Use a build of the program for an older CUDA, or a newer driver on the host"
            : fmt::format("Use a build of the program for an older CUDA, or driver {} or newer on the host", oldest));
    findings.push_back(std::move(finding));
}

}  // namespace

void find_in_program(const Evidence& evidence, Findings& findings) {
    if (!evidence.program) return;
    const Program& program = *evidence.program;
    if (!program.problem.empty()) {
        findings.push_back({.code = "program-missing",
                            .text = fmt::format("Nothing is known of {}: {}.", shown(program.path), program.problem),
                            .evidence = {fmt::format("{}: {}", shown(program.path), program.problem)},
                            .fix = "Give the path of a program as the machine sees it"});
        return;
    }
    if (find_architecture(evidence, program, findings)) return;
    find_loader(evidence, program, findings);
    find_missing_libraries(evidence, program, findings);
    find_other_libcuda(evidence, program, findings);
    find_newer_runtime(evidence, program, findings);
}

}  // namespace cuda_nspawn
