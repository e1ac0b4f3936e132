#include "guest/software.hpp"

#include <utility>

#include <fmt/format.h>

#include "guest/bounded_tree.hpp"
#include "guest/environment_settings.hpp"
#include "guest/environment_text.hpp"
#include "guest/loader_cache.hpp"
#include "guest/loader_configuration.hpp"
#include "guest/path_patterns.hpp"
#include "guest/software_libraries.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_cdi_spec = std::size_t{256} * 1024;
constexpr std::size_t most_cdi_specs = 32;

std::vector<std::string> library_path_directories_of(const std::vector<EnvironmentSetting>& settings) {
    std::vector<std::string> directories;
    for (const EnvironmentSetting& setting : settings)
        if (setting.name == "LD_LIBRARY_PATH")
            for (std::string& directory : library_path_directories(setting.value))
                directories.push_back(std::move(directory));
    return directories;
}

std::vector<std::string> find_container_tools(const GuestTree& tree) {
    std::vector<std::string> tools;
    for (const std::string_view name : {"docker", "podman", "nerdctl", "apptainer", "singularity"})
        for (const std::string_view directory : {"/usr/bin", "/usr/local/bin"})
            if (std::string path = fmt::format("{}/{}", directory, name); tree.is_file(path))
                tools.push_back(std::move(path));
    return tools;
}

bool find_cdi_spec(const GuestTree& tree) {
    for (const std::string_view directory : {"/etc/cdi", "/run/cdi", "/var/run/cdi"})
        for (const std::string& name : list_shown(tree, std::string(directory), most_cdi_specs)) {
            if (!name.ends_with(".yaml") && !name.ends_with(".json")) continue;
            const auto text = tree.read(fmt::format("{}/{}", directory, name), longest_cdi_spec);
            if (text && text->find("nvidia.com/gpu") != std::string::npos) return true;
        }
    return false;
}

}  // namespace

GuestSoftware examine_software(const GuestTree& tree, const Guest& guest) {
    const BoundedTree bounded(tree);
    GuestSoftware software;
    // What is cheap and says most comes first, should there be too much of the rest.
    const LoaderCache cache(bounded);
    software.has_cache = cache.is_there();
    software.cached_libcuda = cache.paths_of("libcuda.so.1", abi_of(guest.architecture));
    if (guest.libc == Libc::glibc)
        software.reads_fragments = read_loader_configuration(bounded, guest.architecture).reads_fragments;
    software.container_tools = find_container_tools(bounded);
    software.has_cdi_spec = find_cdi_spec(bounded);
    software.environment = find_environment_settings(bounded);
    const PythonEnvironments environments = find_python_environments(bounded, software.notes);
    software.packages = find_cuda_packages(environments);
    software.libraries = find_software_libraries(bounded, guest, library_path_directories_of(software.environment),
                                                 environments, software.notes);
    software.compat = find_compat_libraries(bounded, guest.bundled, software.libraries);
    for (std::string& note : bounded.notes()) software.notes.push_back(std::move(note));
    return software;
}

}  // namespace cuda_nspawn
