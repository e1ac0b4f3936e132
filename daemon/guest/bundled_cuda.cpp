#include "guest/bundled_cuda.hpp"

#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "guest/library_finder.hpp"
#include "guest/path_patterns.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_names = 1024;  // read of a directory
constexpr std::size_t most_toolkits = 16;
constexpr std::size_t most_targets = 4;  // of a toolkit
constexpr std::size_t most_in_opt = 64;
constexpr std::size_t longest_version_file = std::size_t{16} * 1024;

std::string toolkit_directory_version(std::string_view name) {
    constexpr std::string_view prefix = "cuda-";
    if (!name.starts_with(prefix)) return "";
    name.remove_prefix(prefix.size());
    return is_dotted_version(name) ? std::string(name) : "";
}

std::vector<std::string> well_known_directories(const GuestTree& tree) {
    std::vector<std::string> directories{"/usr/local/nvidia/lib", "/usr/local/nvidia/lib64"};
    for (const std::string& toolkit : toolkit_directories(tree)) {
        directories.push_back(toolkit + "/compat");
        directories.push_back(toolkit + "/lib64/stubs");
        for (const std::string& target : list_shown(tree, toolkit + "/targets", most_targets))
            directories.push_back(fmt::format("{}/targets/{}/lib/stubs", toolkit, target));
    }
    for (const std::string& name : list_shown(tree, "/opt", most_in_opt))
        directories.push_back(fmt::format("/opt/{}/lib", name));
    return directories;
}

// Toolkits since 11.1 have the file.
std::string toolkit_version(const GuestTree& tree, const std::string& directory, std::string_view real_name) {
    const auto text = tree.read(directory + "/version.json", longest_version_file);
    const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
    if (json.is_object() && json.contains("cuda") && json["cuda"].is_object()) {
        const auto version = json["cuda"].find("version");
        if (version != json["cuda"].end() && version->is_string() &&
            is_dotted_version(version->get_ref<const std::string&>()))
            return *version;
    }
    return toolkit_directory_version(real_name);
}

}  // namespace

std::vector<std::string> toolkit_directories(const GuestTree& tree) {
    std::vector<std::string> directories;
    for (const std::string& name : list_shown(tree, "/usr/local", most_names))
        if ((name == "cuda" || name.starts_with("cuda-")) && directories.size() < most_toolkits)
            directories.push_back("/usr/local/" + name);
    return directories;
}

std::vector<BundledLibrary> find_bundled_libraries(const GuestTree& tree, const std::vector<std::string>& directories,
                                                   std::string_view architecture) {
    LibraryFinder finder(tree, architecture);
    for (const std::string& directory : directories) finder.look_into(directory);
    for (const std::string& directory : well_known_directories(tree)) finder.look_into(directory);
    return std::move(finder.found);
}

std::vector<Toolkit> find_toolkits(const GuestTree& tree) {
    std::vector<Toolkit> toolkits;
    std::set<FileIdentity> known;
    for (const std::string& directory : toolkit_directories(tree)) {
        const auto entry = tree.find(directory);
        if (!entry || entry->type != FileType::directory || !known.insert(identity(*entry)).second) continue;
        const std::string version = toolkit_version(tree, directory, entry->real_name);
        if (!version.empty()) toolkits.push_back({directory, version});
    }
    return toolkits;
}

}  // namespace cuda_nspawn
