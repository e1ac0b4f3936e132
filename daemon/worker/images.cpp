#include "worker/images.hpp"

#include <fmt/format.h>

#include <array>
#include <set>
#include <string_view>

#include "names.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn {

namespace {
constexpr std::array image_directories{"/etc/machines",      "/run/machines",           "/var/lib/machines",
                                       "/var/lib/container", "/usr/local/lib/machines", "/usr/lib/machines"};
}

std::string find_image(const std::filesystem::path& root, const std::string& machine) {
    std::error_code ignored;
    for (const char* directory : image_directories)
        for (const char* suffix : {"", ".raw"}) {
            const std::string path = fmt::format("{}/{}{}", directory, machine, suffix);
            if (std::filesystem::exists(root / path.substr(1), ignored)) return path;
        }
    return "";
}

std::vector<std::string> list_images(const std::filesystem::path& root) {
    std::set<std::string> names;
    std::error_code ignored;
    for (const char* directory : image_directories)
        for (std::filesystem::directory_iterator entry(root / std::string_view(directory).substr(1), ignored), end;
             entry != end; entry.increment(ignored)) {
            std::filesystem::path name = entry->path().filename();
            if (name.extension() == ".raw" && !entry->is_directory(ignored))
                name.replace_extension();
            else if (!entry->is_directory(ignored))
                continue;
            if (is_machine_name(name.native())) names.insert(name);
        }
    return {names.begin(), names.end()};
}

AdminSettings read_admin_settings(const Tree& tree, const std::string& machine, const std::string& image) {
    for (const char* directory : {"/etc/systemd/nspawn", "/run/systemd/nspawn"}) {
        const std::string path = fmt::format("{}/{}.nspawn", directory, machine);
        const auto text = tree.read_linked(path);
        if (text && !text->starts_with(names::generated_mark)) return {SettingsOrigin::trusted, path, *text};
    }
    if (image.empty()) return {};
    const std::string path = fmt::format("{}/{}.nspawn", image.substr(0, image.rfind('/')), machine);
    if (const auto text = tree.read_linked(path)) return {SettingsOrigin::untrusted, path, *text};
    return {};
}

}  // namespace cuda_nspawn
