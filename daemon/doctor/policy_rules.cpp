// The machine's policy, and the image it is for.
#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "doctor/rules.hpp"

namespace cuda_nspawn {

void find_in_policy(const Evidence& evidence, Findings& findings) {
    if (!evidence.policy_errors.empty()) {
        const Diagnostic& first = evidence.policy_errors.front();
        std::vector<std::string> all;
        for (const Diagnostic& diagnostic : evidence.policy_errors) all.push_back(to_string(diagnostic));
        findings.push_back(
            {.code = "policy-invalid",
             .severity = evidence.policy ? FindingSeverity::warning : FindingSeverity::error,
             .text = evidence.policy ? fmt::format("{}; the last good policy stays in force", to_string(first))
                                     : to_string(first),
             .evidence = std::move(all),
             .fix = first.line == 0 ? fmt::format("Mend {}: cuda-nspawn.yaml(5)", first.path)
                                    : fmt::format("Mend line {} of {}: cuda-nspawn.yaml(5)", first.line, first.path)});
    } else if (!evidence.policy) {
        const std::string path = fmt::format("/etc/cuda-nspawn/machines/{}.yaml", evidence.machine);
        findings.push_back({.code = "no-policy",
                            .text = fmt::format("There is no policy for machine \"{}\".", evidence.machine),
                            .evidence = {fmt::format("{}: not there", path)},
                            .where = FixPlace::host,
                            .fix = fmt::format("echo 'gpus: all' >{}", path)});
    } else if (!evidence.policy->wants_gpus()) {
        findings.push_back({.code = "policy-grants-none",
                            .text = fmt::format("{} grants no GPU (gpus: none).", evidence.policy->path),
                            .evidence = {evidence.policy->path},
                            .where = FixPlace::policy,
                            .fix = "gpus: all"});
    }
}

namespace {

const char* code_of(const Guest& guest) {
    if (guest == Guest{}) return "guest-empty";
    if (guest.os_id == "nixos") return "guest-nixos";
    if (guest.libc == Libc::musl) return "guest-musl";
    if (guest.libc == Libc::none) return "guest-no-glibc";
    if (guest.architecture != host_architecture) return "guest-other-architecture";
    Guest complete = guest;
    complete.has_ldconfig = true;
    return guest_problem(complete, host_architecture) ? "guest-glibc-too-old" : "guest-no-ldconfig";
}

}  // namespace

void find_in_image(const Evidence& evidence, Findings& findings) {
    if (!evidence.image) return;
    const Image& image = *evidence.image;
    if (image.path.empty()) {
        findings.push_back(
            {.code = "no-image",
             .text = fmt::format("There is no image of machine \"{}\".", evidence.machine),
             .evidence = {fmt::format("/var/lib/machines/{}: not there", evidence.machine)},
             .fix = fmt::format("Make a root file system in /var/lib/machines/{0}, or import one (machinectl "
                                "import-tar FILE {0}), or name the policy after the machine that you have",
                                evidence.machine)});
        return;
    }
    if (!evidence.image_failure.empty())
        findings.push_back({.code = "not-examined",
                            .severity = FindingSeverity::warning,
                            .text = fmt::format("The image could not be looked into: {}", evidence.image_failure),
                            .evidence = {image.path},
                            .fix = "See journalctl -u 'cuda-nspawn-examine*' -u 'cuda-nspawn-audit*'"});
    if (!image.guest) return;
    const auto problem = guest_problem(*image.guest, host_architecture);
    if (!problem) return;
    const Guest& guest = *image.guest;
    Finding finding{.code = code_of(guest), .text = *problem, .evidence = {image.path}};
    if (!guest.os_name.empty()) finding.evidence.push_back(fmt::format("os-release: {}", guest.os_name));
    if (guest.libc == Libc::glibc)
        finding.evidence.push_back(fmt::format("glibc {} for {}", guest.libc_version, guest.architecture));
    finding.fix = finding.code == "guest-no-ldconfig"
                      ? "Install the package that brings /sbin/ldconfig in it (libc-bin on Debian, glibc elsewhere)"
                      : "Use an image with glibc 2.17 or newer for the host's processor, of Debian, Ubuntu, Fedora or "
                        "their kin";
    findings.push_back(std::move(finding));
}

}  // namespace cuda_nspawn
