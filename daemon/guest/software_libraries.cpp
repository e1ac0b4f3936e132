#include "guest/software_libraries.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "guest/bundled_cuda.hpp"
#include "guest/library_finder.hpp"
#include "guest/path_patterns.hpp"

namespace cuda_nspawn {
namespace {

constexpr unsigned deepest = 4;            // below /opt
constexpr std::size_t most_tried = 512;    // names of a directory there
constexpr std::size_t most_followed = 64;  // directories in it
constexpr std::size_t most_names = 4096;
constexpr std::size_t most_walked = 1024;  // in all
constexpr std::size_t most_of_wheels = 64;

// Nothing of the driver's is below them, and they are large.
bool is_dull(std::string_view name) {
    constexpr std::string_view names[] = {"bin",     "sbin",     "include",      "share",  "doc", "docs",
                                          "man",     "pkgs",     "conda-meta",   "src",    "etc", "locale",
                                          "python3", "licenses", "node_modules", "samples"};
    return name.starts_with('.') || std::ranges::find(names, name) != std::end(names);
}

// What has such an ending is a file; what has another may be a directory ("cuda-12.4", "site.d").
bool looks_like_file(std::string_view name) {
    constexpr std::string_view endings[] = {".py", ".a", ".h", ".la", ".txt", ".json", ".md", ".pc", ".o", ".jar"};
    return name.find(".so") != std::string_view::npos ||
           std::ranges::any_of(endings, [&](std::string_view ending) { return name.ends_with(ending); });
}

// Goes through what is in /opt, where everyone has a layout of his own.
class OptWalk {
public:
    OptWalk(const GuestTree& tree, LibraryFinder& finder) : tree_(tree), finder_(finder) {}

    // Whether it is a directory.
    bool walk(const std::string& directory, unsigned depth) {
        const auto entry = tree_.find(directory);
        if (!entry || entry->type != FileType::directory) return false;
        if (walked_.contains(identity(*entry))) return true;
        if (walked_.size() >= most_walked) {
            is_cut_short_ = true;
            return true;
        }
        walked_.insert(identity(*entry));
        const std::vector<std::string> names = list_shown(tree_, directory, most_names);
        if (std::ranges::any_of(names, is_driver_library)) finder_.look_into(directory);
        if (depth < deepest) walk_below(directory, names, depth + 1);
        return true;
    }

    bool is_cut_short() const { return is_cut_short_; }

private:
    void walk_below(const std::string& directory, const std::vector<std::string>& names, unsigned depth) {
        std::size_t tried = 0;
        std::size_t followed = 0;
        for (const std::string& name : names) {
            if (is_dull(name) || looks_like_file(name)) continue;
            if (tried++ >= most_tried || followed >= most_followed) {
                is_cut_short_ = true;
                return;
            }
            if (walk(fmt::format("{}/{}", directory, name), depth)) ++followed;
        }
    }

    const GuestTree& tree_;
    LibraryFinder& finder_;
    std::set<FileIdentity> walked_;
    bool is_cut_short_ = false;
};

void look_into_prefix(LibraryFinder& finder, const std::string& prefix) {
    for (const std::string_view below :
         {"lib", "lib64", "lib/stubs", "cuda-compat", "targets/x86_64-linux/lib/stubs", "targets/sbsa-linux/lib/stubs"})
        finder.look_into(fmt::format("{}/{}", prefix, below));
}

// Wheels keep theirs in PACKAGE/lib, nvidia/COMPONENT/lib, and where auditwheel put them, in PACKAGE.libs.
void look_into_packages(const GuestTree& tree, LibraryFinder& finder, const PackageDirectory& packages) {
    for (const std::string& name : packages.names) {
        const std::string directory = fmt::format("{}/{}", packages.path, name);
        if (name.ends_with(".libs")) {
            for (const std::string& file : list_shown(tree, directory, most_names))
                if (const std::string before = name_before_auditwheel(file); !before.empty())
                    finder.look_at(fmt::format("{}/{}", directory, file), before);
            finder.look_into(directory);
        } else if (name == "nvidia") {
            for (const std::string& component : list_shown(tree, directory, most_of_wheels))
                finder.look_into(fmt::format("{}/{}/lib", directory, component));
        } else if (name.find('.') == std::string::npos) {
            finder.look_into(directory + "/lib");
        }
    }
}

}  // namespace

std::vector<BundledLibrary> find_software_libraries(const GuestTree& tree, const Guest& guest,
                                                    const std::vector<std::string>& directories,
                                                    const PythonEnvironments& environments,
                                                    std::vector<std::string>& notes) {
    if (guest.architecture.empty()) return {};
    LibraryFinder finder(tree, guest.architecture, true);
    for (const BundledLibrary& library : guest.bundled) finder.pass_over(library.path);
    for (const std::string& directory : directories) finder.look_into(directory);
    for (const std::string& prefix : environments.prefixes) look_into_prefix(finder, prefix);
    for (const PackageDirectory& packages : environments.packages) look_into_packages(tree, finder, packages);
    OptWalk opt(tree, finder);
    opt.walk("/opt", 0);
    if (opt.is_cut_short())
        notes.emplace_back("/opt has more directories than are looked into for libraries, so some may not be known.");
    return std::move(finder.found);
}

}  // namespace cuda_nspawn
