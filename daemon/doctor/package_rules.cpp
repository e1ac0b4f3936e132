// CUDA that came with packages of Python or conda, which bring their own runtime and need the driver for it.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/guest_facts.hpp"
#include "doctor/guest_rules.hpp"
#include "doctor/remedies.hpp"

namespace cuda_nspawn {
namespace {

using Packages = std::vector<const CudaPackage*>;

Packages packages_beyond(const Evidence& evidence) {
    Packages packages;
    if (!evidence.software) return packages;
    for (const CudaPackage& package : evidence.software->packages)
        if (const auto cuda = parse_cuda_version(package.cuda);
            cuda && toolkit_fit(*cuda, host_driver(evidence)) == Fit::no)
            packages.push_back(&package);
    // The one that others came with is named first.
    std::ranges::stable_sort(packages, {},
                             [](const CudaPackage* package) { return package->name.starts_with("nvidia-"); });
    return packages;
}

// The interpreter of "/opt/venv/lib/python3.11/site-packages": "/opt/venv/bin/python3.11"; empty if that is not its
// form. Distributions forbid pip to write into their own, which does not bind an admin.
std::string pip_of(std::string_view path) {
    const std::size_t lib = path.find("/lib/python");
    if (lib == std::string_view::npos || !can_be_typed(path)) return "";
    const std::string_view prefix = path.substr(0, lib);
    std::string_view rest = path.substr(lib + std::string_view("/lib/").size());
    const std::size_t slash = rest.find('/');
    const std::string_view directory = slash == std::string_view::npos ? "" : rest.substr(slash + 1);
    if (directory != "site-packages" && directory != "dist-packages") return "";
    const std::string_view python = rest.substr(0, slash);
    if (python.find_first_not_of("python0123456789.") != std::string_view::npos) return "";
    if (prefix == "/usr" || prefix == "/usr/local") return fmt::format("PIP_BREAK_SYSTEM_PACKAGES=1 {} -m pip", python);
    return fmt::format("{} -m pip", shell_word(fmt::format("{}/bin/{}", prefix, python)));
}

// What the families of packages call the newest CUDA that fits.
struct Family {
    std::string_view cupy, nvidia, torch;
};
std::optional<Family> fitting_family(const Evidence& evidence) {
    const auto gpu = gpu_capability(evidence);
    const auto families = fitting_wheels(host_driver(evidence), gpu);
    if (families.empty()) return std::nullopt;
    if (families.back() == "cu118") return Family{"cupy-cuda11x", "-cu11", "cu118"};
    if (families.back() == "cu13x") return Family{"cupy-cuda13x", "", "cu130"};
    // PyTorch's packages for CUDA 12.6 run with every driver of CUDA 12, and those for 12.8 are the first for
    // Blackwell.
    const bool is_blackwell = gpu && gpu->major >= 10;
    return Family{"cupy-cuda12x", "-cu12", is_blackwell ? "cu128" : "cu126"};
}

bool is_package_name(std::string_view name) {
    return !name.empty() && name.front() != '-' && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
    });
}

bool is_torch(std::string_view name) { return name == "torch" || name == "torchvision" || name == "torchaudio"; }

// "nvidia-cuda-runtime" of "nvidia-cuda-runtime-cu13", as it is called since CUDA 13.
std::string_view without_family(std::string_view name) {
    const std::size_t at = name.rfind("-cu");
    const bool has = at != std::string_view::npos && at + 3 < name.size() &&
                     name.find_first_not_of("0123456789", at + 3) == std::string_view::npos;
    return has ? name.substr(0, at) : name;
}

// The arguments of pip for what takes their place; empty if that is not known of one of them.
std::vector<std::string> replacements(const Packages& packages, const Family& family) {
    std::vector<std::string> torch, others, parts;
    for (const CudaPackage* package : packages) {
        if (is_torch(package->name))
            torch.push_back(package->name);
        else if (package->name.starts_with("cupy-cuda"))
            others.emplace_back(family.cupy);
        else if (package->name.starts_with("nvidia-"))
            parts.push_back(fmt::format("{}{}", without_family(package->name), family.nvidia));
        else
            return {};
    }
    std::vector<std::string> arguments;
    if (!torch.empty())
        arguments.push_back(
            fmt::format("{} --index-url https://download.pytorch.org/whl/{}", fmt::join(torch, " "), family.torch));
    if (!others.empty()) arguments.push_back(fmt::format("{}", fmt::join(others, " ")));
    // PyTorch and CuPy bring the parts that they need.
    if (arguments.empty() && !parts.empty()) arguments.push_back(fmt::format("{}", fmt::join(parts, " ")));
    return arguments;
}

std::string replace_wheels(const Evidence& evidence, const Packages& packages) {
    const std::string pip = pip_of(packages.front()->path);
    const auto family = fitting_family(evidence);
    if (pip.empty() || !family) return "";
    std::vector<std::string> names;
    for (const CudaPackage* package : packages) {
        if (!is_package_name(package->name)) return "";
        names.push_back(package->name);
    }
    std::vector<std::string> commands{fmt::format("{} uninstall -y {}", pip, fmt::join(names, " "))};
    const auto arguments = replacements(packages, *family);
    if (arguments.empty()) return "";
    for (const std::string& argument : arguments) commands.push_back(fmt::format("{} install {}", pip, argument));
    return one_after_the_other(commands);
}

std::string replace_conda(const Evidence& evidence, const CudaPackage& package) {
    const auto cuda = cuda_of_driver(host_driver(evidence));
    if (!cuda || !package.path.starts_with('/') || !can_be_typed(package.path)) return "";
    return fmt::format("conda install -y -p {} cuda-version={}", shell_word(package.path), to_string(*cuda));
}

// Of the first environment; one that has them all is by far the most frequent.
std::string replace(const Evidence& evidence, const Packages& packages) {
    const CudaPackage& first = *packages.front();
    if (first.kind == PackageKind::conda) return replace_conda(evidence, first);
    Packages together;
    std::ranges::copy_if(packages, std::back_inserter(together), [&](const CudaPackage* package) {
        return package->kind == first.kind && package->path == first.path;
    });
    return replace_wheels(evidence, together);
}

}  // namespace

void find_packages(const Evidence& evidence, Findings& findings) {
    const Packages packages = packages_beyond(evidence);
    if (packages.empty()) return;
    const CudaPackage& first = *packages.front();
    const std::string driver = host_driver(evidence);
    const std::string oldest = oldest_compatible_driver(*parse_cuda_version(first.cuda));
    Finding finding{
        .code = "packages-need-newer-driver",
        .severity = FindingSeverity::warning,
        .text = fmt::format("{} {} in {}{} is made for CUDA {}, which needs {}, and the host's is {}.",
                            shown(first.name), shown(first.version), shown(first.path),
                            packages.size() > 1 ? fmt::format(" (and {} more)", packages.size() - 1) : "", first.cuda,
                            oldest.empty() ? "a newer driver" : fmt::format("driver {} or newer", oldest),
                            with_cuda(driver))};
    constexpr std::size_t most_lines = 16;
    for (const CudaPackage* package : packages) {
        if (finding.evidence.size() == most_lines) {
            finding.evidence.push_back(fmt::format("and {} more", packages.size() - most_lines));
            break;
        }
        finding.evidence.push_back(
            fmt::format("{}: {} {}", shown(package->path), shown(package->name), shown(package->version)));
    }
    finding.evidence.push_back(what_fits(driver, gpu_capability(evidence)));
    mend_in_machine(finding, replace(evidence, packages),
                    fmt::format("Install packages that fit in the machine ({}), or {} on the host",
                                fmt::join(fitting_wheels(driver, gpu_capability(evidence)), ", "),
                                oldest.empty() ? "a newer driver" : fmt::format("driver {} or newer", oldest)));
    findings.push_back(std::move(finding));
}

}  // namespace cuda_nspawn
