#include "guest/bundled_cuda.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "guest/libc_evidence.hpp"
#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t header_size = 64;
constexpr std::size_t most_names = 1024;  // read of a directory
constexpr std::size_t most_toolkits = 16;
constexpr std::size_t most_targets = 4;  // of a toolkit
constexpr std::size_t most_in_opt = 64;
constexpr std::size_t most_libraries = 256;
constexpr std::size_t longest_name = 64;
constexpr std::size_t longest_version_file = std::size_t{16} * 1024;

// Those of the driver's that programs load by these names; the others they bring in by themselves, by names that hold
// the driver's version. driver/catalogue.cpp has all.
constexpr std::array<std::string_view, 14> library_names = {"libcuda.so.1",
                                                            "libcuda.so",
                                                            "libnvidia-ml.so.1",
                                                            "libnvidia-ml.so",
                                                            "libcudadebugger.so.1",
                                                            "libnvidia-ptxjitcompiler.so.1",
                                                            "libnvidia-nvvm.so.4",
                                                            "libnvidia-opencl.so.1",
                                                            "libnvidia-encode.so.1",
                                                            "libnvcuvid.so.1",
                                                            "libnvidia-opticalflow.so.1",
                                                            "libnvoptix.so.1",
                                                            "libGLX_nvidia.so.0",
                                                            "libEGL_nvidia.so.0"};

using Identity = std::pair<std::uint64_t, std::uint64_t>;
Identity identity(const TreeEntry& entry) { return {entry.device, entry.inode}; }

bool is_version(std::string_view text) {
    constexpr std::size_t longest = 32;
    return text.size() <= longest && text.find('.') != std::string_view::npos &&
           std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

std::string version_after(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix)) return "";
    name.remove_prefix(prefix.size());
    return is_version(name) ? std::string(name) : "";
}

BundledKind kind_of(std::string_view directory) {
    if (directory.ends_with("/compat")) return BundledKind::compat;
    if (directory.ends_with("/stubs")) return BundledKind::stub;
    return BundledKind::copy;
}

// What can be shown as it is; directories of the loader's configuration are asked by their reader.
std::vector<std::string> list(const GuestTree& tree, const std::string& directory, std::size_t most) {
    std::vector<std::string> names = tree.list(directory, most_names);
    std::erase_if(names, [](const std::string& name) { return printable(name, longest_name) != name; });
    if (names.size() > most) names.resize(most);
    return names;
}

std::vector<std::string> toolkit_directories(const GuestTree& tree) {
    std::vector<std::string> directories;
    for (const std::string& name : list(tree, "/usr/local", most_names))
        if ((name == "cuda" || name.starts_with("cuda-")) && directories.size() < most_toolkits)
            directories.push_back("/usr/local/" + name);
    return directories;
}

std::vector<std::string> well_known_directories(const GuestTree& tree) {
    std::vector<std::string> directories{"/usr/local/nvidia/lib", "/usr/local/nvidia/lib64"};
    for (const std::string& toolkit : toolkit_directories(tree)) {
        directories.push_back(toolkit + "/compat");
        directories.push_back(toolkit + "/lib64/stubs");
        for (const std::string& target : list(tree, toolkit + "/targets", most_targets))
            directories.push_back(fmt::format("{}/targets/{}/lib/stubs", toolkit, target));
    }
    for (const std::string& name : list(tree, "/opt", most_in_opt))
        directories.push_back(fmt::format("/opt/{}/lib", name));
    return directories;
}

class LibraryFinder {
public:
    LibraryFinder(const GuestTree& tree, std::string_view architecture) : tree_(tree), architecture_(architecture) {}

    void look_into(const std::string& directory) {
        const auto entry = tree_.find(directory);
        if (!entry || entry->type != FileType::directory || !directories_.insert(identity(*entry)).second) return;
        std::set<Identity> here;
        for (const std::string_view name : library_names) {
            const std::string path = fmt::format("{}/{}", directory, name);
            const auto file = tree_.find(path);
            if (!file || file->type != FileType::regular || found.size() >= most_libraries) continue;
            // libcuda.so is most often a link to libcuda.so.1.
            if (!here.insert(identity(*file)).second) continue;
            if (file->size == 0)
                found.push_back({path, "", BundledKind::empty});
            else if (elf_architecture(tree_.read(path, header_size).value_or("")) == architecture_)
                found.push_back(
                    {path, version_after(file->real_name, name.substr(0, name.find(".so") + 4)), kind_of(directory)});
        }
    }

    std::vector<BundledLibrary> found;

private:
    const GuestTree& tree_;
    std::string_view architecture_;
    std::set<Identity> directories_;
};

// Toolkits since 11.1 have the file.
std::string toolkit_version(const GuestTree& tree, const std::string& directory, std::string_view real_name) {
    const auto text = tree.read(directory + "/version.json", longest_version_file);
    const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
    if (json.is_object() && json.contains("cuda") && json["cuda"].is_object()) {
        const auto version = json["cuda"].find("version");
        if (version != json["cuda"].end() && version->is_string() && is_version(version->get_ref<const std::string&>()))
            return *version;
    }
    return version_after(real_name, "cuda-");
}

}  // namespace

std::vector<BundledLibrary> find_bundled_libraries(const GuestTree& tree, const std::vector<std::string>& directories,
                                                   std::string_view architecture) {
    LibraryFinder finder(tree, architecture);
    for (const std::string& directory : directories) finder.look_into(directory);
    for (const std::string& directory : well_known_directories(tree)) finder.look_into(directory);
    return std::move(finder.found);
}

std::vector<Toolkit> find_toolkits(const GuestTree& tree) {
    std::vector<Toolkit> toolkits;
    std::set<Identity> known;
    for (const std::string& directory : toolkit_directories(tree)) {
        const auto entry = tree.find(directory);
        if (!entry || entry->type != FileType::directory || !known.insert(identity(*entry)).second) continue;
        const std::string version = toolkit_version(tree, directory, entry->real_name);
        if (!version.empty()) toolkits.push_back({directory, version});
    }
    return toolkits;
}

}  // namespace cuda_nspawn
