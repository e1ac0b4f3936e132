#include "worker/images.hpp"

#include <fmt/format.h>

#include <array>

#include "names.hpp"

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
