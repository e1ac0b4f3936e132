#include "guest/guest.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "guest/bundled_cuda.hpp"
#include "guest/libc_evidence.hpp"
#include "guest/loader_configuration.hpp"
#include "guest/os_release.hpp"
#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t os_release_limit = std::size_t{64} * 1024;
constexpr std::size_t longest_id = 64;
constexpr std::size_t longest_name = 128;

bool is_os_id(std::string_view id) {
    return !id.empty() && id.size() <= longest_id && std::ranges::all_of(id, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    });
}

void read_os_release(const GuestTree& tree, Guest& guest) {
    auto text = tree.read("/etc/os-release", os_release_limit);
    if (!text) text = tree.read("/usr/lib/os-release", os_release_limit);
    if (!text) return;
    auto assignments = parse_os_release(*text);
    if (is_os_id(assignments["ID"])) guest.os_id = assignments["ID"];
    for (const char* key : {"PRETTY_NAME", "NAME", "ID"}) {
        guest.os_name = printable(assignments[key], longest_name);
        if (!guest.os_name.empty()) return;
    }
}

bool any_file(const GuestTree& tree, std::initializer_list<std::string_view> paths) {
    return std::ranges::any_of(paths, [&](std::string_view path) { return tree.is_file(path); });
}

struct Version {
    unsigned major = 0;
    unsigned minor = 0;
    auto operator<=>(const Version&) const = default;
};

// Fields that are missing or too large count as 0.
Version parse_version(std::string_view text) {
    Version version;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version.major);
    if (error == std::errc{} && end != text.data() + text.size() && *end == '.') {
        std::from_chars(end + 1, text.data() + text.size(), version.minor);
    }
    return version;
}

constexpr Version oldest_glibc{2, 17};  // what the self-test is linked for, and NVIDIA's libraries too

std::string_view directory_of(std::string_view path) { return path.substr(0, path.rfind('/')); }

// "libcuda.so.1 (535.183.01) and 2 more"
std::string describe(const std::vector<const BundledLibrary*>& libraries) {
    const BundledLibrary& first = *libraries.front();
    std::string text = first.path.substr(first.path.rfind('/') + 1);
    if (!first.version.empty()) text += fmt::format(" ({})", first.version);
    if (libraries.size() > 1) text += fmt::format(" and {} more", libraries.size() - 1);
    return text;
}

std::string warning_of(const std::string& directory, bool before, const std::vector<const BundledLibrary*>& libraries) {
    constexpr std::size_t longest = 1024;
    const std::string which = describe(libraries);
    if (libraries.front()->kind == BundledKind::empty)
        return printable(fmt::format("In the guest's {} there is {} of no bytes, as is left where something was bound "
                                     "over it. Its loader's cache passes over that, but a program that looks there by "
                                     "itself fails (\"file too short\"): remove it.",
                                     directory, which),
                         longest);
    return printable(
        fmt::format("The guest has its own {} in {}{}. A program that looks there by itself (LD_LIBRARY_PATH, RPATH) "
                    "gets that one, and it has to fit the host's kernel module: remove it, or the package that it came "
                    "with (dpkg -S or rpm -qf {}).",
                    which, directory,
                    before ? ", which its /etc/ld.so.conf names before all of ld.so.conf.d; the set-up puts the host's "
                             "before it in the loader's cache all the same, after each run of ldconfig"
                           : "; the host's comes before it in the loader's cache",
                    libraries.front()->path),
        longest);
}

}  // namespace

Guest examine_guest(const GuestTree& tree) {
    Guest guest;
    read_os_release(tree, guest);
    LibcEvidence evidence = find_libc(tree);
    guest.libc = evidence.libc;
    guest.libc_version = std::move(evidence.version);
    guest.architecture = std::move(evidence.architecture);
    guest.has_systemd = any_file(tree, {"/usr/lib/systemd/systemd", "/lib/systemd/systemd"});
    guest.has_ldconfig = any_file(tree, {"/sbin/ldconfig", "/usr/sbin/ldconfig", "/usr/bin/ldconfig"});
    if (guest.libc != Libc::glibc) return guest;  // others have another loader
    LoaderConfiguration loader = read_loader_configuration(tree, guest.architecture);
    guest.library_directories = std::move(loader.directories);
    guest.before_fragment = loader.before_fragment;
    guest.bundled = find_bundled_libraries(tree, guest.library_directories, guest.architecture);
    guest.toolkits = find_toolkits(tree);
    return guest;
}

std::optional<std::string> guest_problem(const Guest& guest, std::string_view host_architecture) {
    if (guest == Guest{}) {
        return "No operating system was found in the machine's root file system; install one there, or give the "
               "machine's image its name.";
    }
    std::string subject = guest.os_name.empty() ? "The guest" : fmt::format("The guest ({})", guest.os_name);
    if (guest.os_id == "nixos") {
        return fmt::format(
            "{} keeps its libraries in /nix/store, where no loader cache leads to the driver's, which is not supported "
            "by this version: use another distribution in the machine.",
            subject);
    }
    if (guest.libc == Libc::musl) {
        return fmt::format(
            "{} uses musl, as Alpine does, and NVIDIA's driver needs glibc: use a distribution with "
            "glibc, for example Debian, Ubuntu or Fedora.",
            subject);
    }
    if (guest.libc == Libc::none) {
        return fmt::format(
            "{} has no glibc where programs look for it (/lib64, /lib, /usr/lib64, /usr/lib), and "
            "NVIDIA's driver needs it: use a distribution that keeps glibc there.",
            subject);
    }
    if (!host_architecture.empty() && guest.architecture != host_architecture) {
        return fmt::format("{} is built for another processor ({}) than the host's driver ({}): use an image for {}.",
                           subject, guest.architecture, host_architecture, host_architecture);
    }
    if (!guest.libc_version.empty() && parse_version(guest.libc_version) < oldest_glibc) {
        return fmt::format(
            "{} has glibc {}, and {}.{} is the oldest that the driver runs with: use a newer release of "
            "the distribution.",
            subject, guest.libc_version, oldest_glibc.major, oldest_glibc.minor);
    }
    // Without it the guest's loader has no cache, and would never find the driver's libraries.
    if (!guest.has_ldconfig) {
        return fmt::format(
            "{} has no ldconfig, which tells its programs where the driver's libraries are: install the "
            "package that brings /sbin/ldconfig (libc-bin on Debian, glibc elsewhere).",
            subject);
    }
    return std::nullopt;
}

std::vector<std::string> guest_warnings(const Guest& guest) {
    std::vector<std::string> warnings;
    for (std::size_t place = 0; place < guest.library_directories.size(); ++place) {
        const std::string& directory = guest.library_directories[place];
        std::map<bool, std::vector<const BundledLibrary*>> of_kind;
        for (const BundledLibrary& library : guest.bundled)
            if (directory_of(library.path) == directory)
                of_kind[library.kind == BundledKind::empty].push_back(&library);
        for (const auto& [empty, libraries] : of_kind)
            warnings.push_back(warning_of(directory, place < guest.before_fragment, libraries));
    }
    return warnings;
}

}  // namespace cuda_nspawn
