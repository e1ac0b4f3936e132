// Libraries of the driver's names that the guest has of its own, whether or not a program gets them.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "doctor/guest_facts.hpp"
#include "doctor/guest_rules.hpp"
#include "doctor/remedies.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_lines = 8;
constexpr std::size_t most_removed = 32;  // in one command

// Where the guest's loader looks, by what its ld.so.conf says.
enum class Place { first, later, not_at_all };
Place place_in_loader(const Evidence& evidence, std::string_view path) {
    if (!evidence.image || !evidence.image->guest) return Place::not_at_all;
    const Guest& guest = *evidence.image->guest;
    const auto found = std::ranges::find(guest.library_directories, directory_of(path));
    if (found == guest.library_directories.end()) return Place::not_at_all;
    const auto index = static_cast<std::size_t>(found - guest.library_directories.begin());
    return index < guest.before_fragment ? Place::first : Place::later;
}

std::vector<BundledLibrary> of_kind(const Evidence& evidence, BundledKind kind) {
    std::vector<BundledLibrary> libraries;
    for (const BundledLibrary& library : libraries_of_guest(evidence))
        if (library.kind == kind && !is_lent(library.path)) libraries.push_back(library);
    // What programs get most likely is named first.
    std::ranges::stable_sort(libraries, {}, [&](const BundledLibrary& library) {
        return std::pair(place_in_loader(evidence, library.path),
                         !file_name_of(library.path).starts_with("libcuda.so"));
    });
    return libraries;
}

std::vector<std::string> lines(const std::vector<BundledLibrary>& libraries) {
    std::vector<std::string> lines;
    for (const BundledLibrary& library : libraries) {
        if (lines.size() == most_lines) {
            lines.push_back(fmt::format("and {} more", libraries.size() - most_lines));
            break;
        }
        lines.push_back(fmt::format("{}: {}", shown(library.path),
                                    library.kind == BundledKind::empty ? "of no bytes"
                                    : library.version.empty()          ? "version not known"
                                                                       : library.version));
    }
    return lines;
}

// "libcuda.so.1 (535.183.01) and 2 more in /usr/lib/x86_64-linux-gnu"
std::string headline(const std::vector<BundledLibrary>& libraries) {
    const BundledLibrary& first = libraries.front();
    const auto together = static_cast<std::size_t>(std::ranges::count_if(libraries, [&](const BundledLibrary& library) {
        return directory_of(library.path) == directory_of(first.path);
    }));
    std::string text = named(first.path, first.version);
    if (together > 1) text += fmt::format(" and {} more", together - 1);
    return fmt::format("{} in {}", text, shown(directory_of(first.path)));
}

std::string remove_all(const std::vector<BundledLibrary>& libraries) {
    std::vector<std::string> paths;
    for (const BundledLibrary& library : libraries) paths.push_back(library.path);
    if (paths.size() > most_removed) paths.resize(most_removed);
    return remove_libraries(paths);
}

std::string_view who_gets_it(Place place) {
    switch (place) {
        case Place::first:
            return "its /etc/ld.so.conf names that before all of ld.so.conf.d, and only the set-up keeps the host's "
                   "before it in the loader's cache";
        case Place::later:
            return "a program that looks there by itself (LD_LIBRARY_PATH, RPATH) gets it";
        case Place::not_at_all:
            break;
    }
    return "its loader does not look there, but a program that does by itself (LD_LIBRARY_PATH, RPATH) gets it";
}

void find_copies(const Evidence& evidence, Findings& findings) {
    const auto libraries = of_kind(evidence, BundledKind::copy);
    if (libraries.empty()) return;
    const std::string driver = host_driver(evidence);
    const bool same = std::ranges::all_of(libraries, [&](const BundledLibrary& library) {
        return !library.version.empty() && library.version == driver;
    });
    Finding finding{.code = "guest-libcuda",
                    .severity = same ? FindingSeverity::info : FindingSeverity::warning,
                    .text = fmt::format("The guest has its own {}, {}; {}.", headline(libraries),
                                        same             ? "the same as the host's until the host is upgraded"
                                        : driver.empty() ? "which has to fit the host's kernel module"
                                                         : fmt::format("and the host's driver is {}", driver),
                                        who_gets_it(place_in_loader(evidence, libraries.front().path))),
                    .evidence = lines(libraries)};
    finding.evidence.push_back(fmt::format("its package, if it has one: dpkg -S {0} or rpm -qf {0}",
                                           shell_word(shown(libraries.front().path))));
    mend_in_machine(finding, remove_all(libraries),
                    "Remove these files, or the package that they came with, in the machine, and run ldconfig there");
    findings.push_back(std::move(finding));
}

// Every toolkit has stubs for its linker. They do harm only where programs find them.
void find_stubs(const Evidence& evidence, Findings& findings) {
    std::vector<BundledLibrary> reached;
    std::vector<BundledLibrary> by_soname;
    for (const BundledLibrary& library : of_kind(evidence, BundledKind::stub)) {
        if (place_in_loader(evidence, library.path) != Place::not_at_all)
            reached.push_back(library);
        else if (file_name_of(library.path) == "libcuda.so.1")
            by_soname.push_back(library);
    }
    if (reached.empty() && by_soname.empty()) return;
    const bool is_reached = !reached.empty();
    const auto& libraries = is_reached ? reached : by_soname;
    Finding finding{.code = "guest-stub",
                    .severity = is_reached ? FindingSeverity::warning : FindingSeverity::info,
                    .text = fmt::format("The guest has a toolkit's stub {}{}; a program that gets it fails with "
                                        "STUB_LIBRARY (34).",
                                        headline(libraries),
                                        is_reached ? ", where its loader looks" : ", by the name that programs load"),
                    .evidence = lines(libraries)};
    std::vector<std::string> commands;
    for (const BundledLibrary& library : libraries) {
        // Linkers want it by its other name.
        if (file_name_of(library.path) == "libcuda.so.1")
            commands.push_back(fmt::format("rm -f {}", shell_word(library.path)));
        if (is_reached) commands.push_back(take_out_of_loader(directory_of(library.path)));
    }
    const bool typed =
        std::ranges::all_of(libraries, [](const BundledLibrary& library) { return can_be_typed(library.path); });
    mend_in_machine(finding, typed ? one_after_the_other(commands) : "",
                    "Take the stubs' directory out of /etc/ld.so.conf.d in the machine, and run ldconfig there");
    findings.push_back(std::move(finding));
}

void find_empty_files(const Evidence& evidence, Findings& findings) {
    const auto libraries = of_kind(evidence, BundledKind::empty);
    if (libraries.empty()) return;
    const Check* check = failed_check(evidence, "library");
    const bool breaks = check != nullptr && check->detail.find("file too short") != std::string::npos;
    Finding finding{.code = "guest-empty-library",
                    .severity = breaks ? FindingSeverity::error : FindingSeverity::warning,
                    .text = fmt::format("The guest has {} of no bytes, as is left where something was bound over a "
                                        "name that was not there; a program that gets it fails (\"file too short\").",
                                        headline(libraries)),
                    .evidence = lines(libraries)};
    if (breaks) finding.evidence.push_back(fmt::format("self-test: library: {}", check->detail));
    mend_in_machine(finding, remove_all(libraries), "Remove these files in the machine, and run ldconfig there");
    findings.push_back(std::move(finding));
}

}  // namespace

void find_in_libraries(const Evidence& evidence, Findings& findings) {
    find_copies(evidence, findings);
    find_stubs(evidence, findings);
    find_empty_files(evidence, findings);
}

}  // namespace cuda_nspawn
