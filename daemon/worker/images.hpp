// Where a machine's image and settings files lie on the host, as systemd-nspawn looks for them.
#pragma once

#include <string>
#include <vector>

#include "plan/settings.hpp"
#include "worker/tree.hpp"

namespace cuda_nspawn {

// NAME or NAME.raw in machinectl's directories, the first one found (systemd: image_find); empty if there is none.
std::string find_image(const std::filesystem::path& root, const std::string& machine);

// Names of all images in these directories, sorted.
std::vector<std::string> list_images(const std::filesystem::path& root);

// The file nspawn would read without us: the admin's in /etc or /run, else the one beside the image. A file in /run
// that begins with our mark is ours and does not count. `image` as from find_image.
AdminSettings read_admin_settings(const Tree& tree, const std::string& machine, const std::string& image);

}  // namespace cuda_nspawn
