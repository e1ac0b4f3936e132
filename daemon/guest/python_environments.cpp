#include "guest/python_environments.hpp"

#include <set>
#include <utility>

#include <fmt/format.h>

#include "guest/library_finder.hpp"
#include "guest/path_patterns.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_of_pattern = 64;  // names that a * stands for
constexpr std::size_t most_tried = 1024;
constexpr std::size_t most_packages = 4096;  // in an environment
constexpr std::size_t most_pythons = 8;      // in a prefix

// Where administrators and installers put them.
std::vector<std::string> prefix_patterns() {
    std::vector<std::string> patterns{"/usr",   "/usr/local",  "/opt/*",      "/opt/*/*",
                                      "/srv/*", "/srv/*/venv", "/srv/*/.venv"};
    for (const std::string_view home : {"/root", "/home/*"})
        for (const std::string_view below : {".local", "venv", ".venv", "*/venv", "*/.venv", "miniconda3", "anaconda3",
                                             "miniforge3", "mambaforge", "micromamba"})
            patterns.push_back(fmt::format("{}/{}", home, below));
    return patterns;
}

class EnvironmentFinder {
public:
    explicit EnvironmentFinder(const GuestTree& tree) : tree_(tree) {}

    void look_at(const std::string& prefix) {
        if (!is_new_directory(prefix)) return;
        if (tried_++ >= most_tried) return;
        bool has_packages = false;
        // Fedora's lib64; Debian's own pythons share /usr/lib/python3/dist-packages.
        for (const std::string_view library : {"lib", "lib64"})
            for (const std::string& python : pythons(fmt::format("{}/{}", prefix, library)))
                for (const std::string_view packages : {"site-packages", "dist-packages"})
                    has_packages |= add_packages(fmt::format("{}/{}", python, packages));
        std::vector<std::string> metadata;
        if (tree_.is_directory(prefix + "/conda-meta"))
            metadata = list_shown(tree_, prefix + "/conda-meta", most_packages);
        if (has_packages || !metadata.empty()) found.prefixes.push_back(prefix);
        if (!metadata.empty()) found.conda.push_back({prefix, std::move(metadata)});
    }

    // And conda's other environments in it.
    void look_at_all(const std::string& prefix) {
        look_at(prefix);
        if (tree_.is_directory(prefix + "/envs"))
            for (const std::string& environment : expand_pattern(tree_, prefix + "/envs/*", most_of_pattern))
                look_at(environment);
    }

    bool is_cut_short() const { return tried_ > most_tried; }

    PythonEnvironments found;

private:
    std::vector<std::string> pythons(const std::string& library) {
        if (!is_new_directory(library)) return {};
        return expand_pattern(tree_, fmt::format("{}/python3*", library), most_pythons);
    }

    bool add_packages(const std::string& path) {
        if (!is_new_directory(path)) return false;
        std::vector<std::string> names = list_shown(tree_, path, most_packages);
        const bool has_any = !names.empty();
        if (has_any) found.packages.push_back({path, std::move(names)});
        return has_any;
    }

    bool is_new_directory(const std::string& path) {
        const auto entry = tree_.find(path);
        return entry && entry->type == FileType::directory && known_.insert(identity(*entry)).second;
    }

    const GuestTree& tree_;
    std::set<FileIdentity> known_;
    std::size_t tried_ = 0;
};

}  // namespace

PythonEnvironments find_python_environments(const GuestTree& tree, std::vector<std::string>& notes) {
    EnvironmentFinder finder(tree);
    for (const std::string& pattern : prefix_patterns())
        for (const std::string& prefix : expand_pattern(tree, pattern, most_of_pattern)) finder.look_at_all(prefix);
    if (finder.is_cut_short())
        notes.emplace_back(
            "There are more directories in /opt, /srv and homes than are looked at for environments of "
            "Python's and conda's, so some may not be known.");
    return std::move(finder.found);
}

}  // namespace cuda_nspawn
