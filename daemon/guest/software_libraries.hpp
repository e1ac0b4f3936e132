// Libraries with names of the driver's, beyond where the loader looks by itself, and NVIDIA's cuda-compat libraries.
#pragma once

#include <string_view>
#include <vector>

#include "guest/python_environments.hpp"
#include "guest/software.hpp"

namespace cuda_nspawn {

// Without those in guest.bundled. `directories` are further ones to look in, absolute; `notes` gets a sentence when
// there was too much.
std::vector<BundledLibrary> find_software_libraries(const GuestTree& tree, const Guest& guest,
                                                    const std::vector<std::string>& directories,
                                                    const PythonEnvironments& environments,
                                                    std::vector<std::string>& notes);

// Of toolkits, of conda, and of all libraries known already.
std::vector<CompatLibrary> find_compat_libraries(const GuestTree& tree, const std::vector<BundledLibrary>& bundled,
                                                 const std::vector<BundledLibrary>& libraries);

}  // namespace cuda_nspawn
