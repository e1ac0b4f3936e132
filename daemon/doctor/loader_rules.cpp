// What the self-test in the guest says of the library that the guest's loader gave it (daemon/inside/self-test).
#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/guest_facts.hpp"
#include "doctor/guest_rules.hpp"
#include "doctor/remedies.hpp"
#include "names.hpp"

namespace cuda_nspawn {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// What is between the two in the text; empty when they are not there.
std::string_view between(std::string_view text, std::string_view before, std::string_view after) {
    const std::size_t begin = text.find(before);
    if (begin == std::string_view::npos) return {};
    text.remove_prefix(begin + before.size());
    const std::size_t end = text.find(after);
    return end == std::string_view::npos ? std::string_view() : text.substr(0, end);
}

std::string said(const Check& check) { return fmt::format("self-test: {}: {}", check.name, check.detail); }

std::string version_of(const Evidence& evidence, std::string_view path) {
    constexpr std::string_view prefix = "libcuda.so.";
    const std::string_view name = file_name_of(path);
    if (name.starts_with(prefix) && driver_branch(name.substr(prefix.size())) != 0)
        return std::string(name.substr(prefix.size()));
    for (const BundledLibrary& library : libraries_of_guest(evidence))
        if (library.path == path) return library.version;
    return "";
}

// A toolkit's stub is for its linker, so its directory goes, and not the file.
std::string remove_from_way(const Evidence& evidence, std::string_view path) {
    std::vector<std::string> commands;
    if (directory_of(path).ends_with("/stubs") && evidence.image && evidence.image->guest)
        for (const std::string& directory : evidence.image->guest->library_directories)
            if (directory.ends_with("/stubs")) commands.push_back(take_out_of_loader(directory));
    const std::string command =
        commands.empty() ? remove_libraries({std::string(path)}) : one_after_the_other(commands);
    // Where the set-up's own fragment went, the cache has the host's again only after it.
    return command.empty() ? "" : fmt::format("{}; {}/guest/setup apply", command, names::guest_directory);
}

void find_libcuda_in_the_way(const Evidence& evidence, const Check& check, Findings& findings) {
    if (!contains(check.detail, "the guest's loader prefers its own ")) return;
    const std::string_view path = between(check.detail, "prefers its own ", " to the host's driver");
    const std::string driver = host_driver(evidence);
    Finding finding{.code = "libcuda-in-the-way",
                    .text = fmt::format("The guest's loader prefers {}{} to the host's driver{}.",
                                        path.empty() ? "a library of the guest's own" : "the guest's own ",
                                        path.empty() ? "" : named(path, version_of(evidence, path)),
                                        driver.empty() ? "" : " " + driver),
                    .evidence = {said(check)}};
    if (!path.empty()) {
        finding.evidence.push_back(fmt::format("{}: gets in the way", path));
        finding.evidence.push_back(
            fmt::format("its package, if it has one: dpkg -S {0} or rpm -qf {0}", shell_word(path)));
    }
    mend_in_machine(finding, path.empty() ? "" : remove_from_way(evidence, path),
                    "Remove that library, or the package that it came with, in the machine, and run ldconfig there");
    findings.push_back(std::move(finding));
}

void find_unusable_library(const Evidence& evidence, const Check& check, Findings& findings) {
    const std::string_view symbol = between(check.detail, "version `", "' not found");
    if (!symbol.starts_with("GLIBC_")) return;
    const std::string_view needed_by = between(check.detail, "(required by ", ")");
    const Guest* guest = evidence.image && evidence.image->guest ? &*evidence.image->guest : nullptr;
    const std::string libc = guest != nullptr && !guest->libc_version.empty() ? " " + guest->libc_version : "";
    Finding finding{
        .code = "guest-library-unusable",
        .text = fmt::format("The guest's C library (glibc{}) has no {}, which {} needs, so CUDA cannot be "
                            "loaded there.",
                            libc, symbol, needed_by.empty() ? "the driver" : shown(file_name_of(needed_by))),
        .evidence = {said(check)}};
    const bool own = needed_by.starts_with('/') && !is_lent(needed_by);
    mend_in_machine(finding, own ? remove_libraries({std::string(needed_by)}) : "",
                    "Use a newer release of the distribution in the machine, or an older driver on the host");
    findings.push_back(std::move(finding));
}

// Why the loader does not know of the driver; empty if it does, or has none to know of.
std::string reason_for_stale_cache(const Evidence& evidence) {
    if (const Check* check = failed_check(evidence, "library"))
        if (contains(check->detail, "libcuda.so.1: cannot open shared object file")) return said(*check);
    if (const Check* check = failed_check(evidence, "set-up"))
        for (const std::string_view word : {"loader", "ldconfig", "ld.so.cache", "ld.so.conf"})
            if (contains(check->detail, word)) return said(*check);
    const VerdictResult result = evidence.verdict.result;
    const bool not_well = result == VerdictResult::failed || result == VerdictResult::no_verdict;
    const bool no_library = std::ranges::none_of(evidence.verdict.checks, [](const Check& check) {
        return check.name == "library" && check.result == CheckResult::passed;
    });
    if (evidence.running && not_well && no_library && evidence.software && !evidence.software->has_cache)
        return "/etc/ld.so.cache: not there";
    return "";
}

void find_stale_cache(const Evidence& evidence, Findings& findings) {
    if (evidence.generation.empty() || evidence.detached) return;
    const std::string reason = reason_for_stale_cache(evidence);
    if (reason.empty()) return;
    Finding finding{.code = "loader-cache-stale",
                    .text = fmt::format("The cache of the guest's loader (/etc/ld.so.cache) does not lead to the "
                                        "host's driver {}.",
                                        host_driver(evidence)),
                    .evidence = {reason}};
    if (evidence.software && !evidence.software->reads_fragments)
        finding.evidence.emplace_back("/etc/ld.so.conf: does not include /etc/ld.so.conf.d/*.conf");
    if (evidence.software)
        for (const std::string& path : evidence.software->cached_libcuda)
            finding.evidence.push_back(fmt::format("/etc/ld.so.cache: libcuda.so.1 is {}", shown(path)));
    mend_in_machine(finding, fmt::format("ldconfig; {}/guest/setup apply", names::guest_directory), "");
    findings.push_back(std::move(finding));
}

}  // namespace

void find_in_loader(const Evidence& evidence, Findings& findings) {
    if (const Check* check = failed_check(evidence, "library")) {
        find_libcuda_in_the_way(evidence, *check, findings);
        find_unusable_library(evidence, *check, findings);
    }
    find_stale_cache(evidence, findings);
}

}  // namespace cuda_nspawn
