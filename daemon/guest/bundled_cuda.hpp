// CUDA that a guest brings along: libraries with names of the driver's, and toolkits. Everything read is hostile input.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

// In the loader's directories, and where toolkits, containers' base images and conda have them.
std::vector<BundledLibrary> find_bundled_libraries(const GuestTree& tree, const std::vector<std::string>& directories,
                                                   std::string_view architecture);
// "/usr/local/cuda", "/usr/local/cuda-12.4"; they may be links to each other.
std::vector<std::string> toolkit_directories(const GuestTree& tree);
std::vector<Toolkit> find_toolkits(const GuestTree& tree);

}  // namespace cuda_nspawn
