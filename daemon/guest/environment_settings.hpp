// Where a guest sets what decides on its programs' CUDA: logins, shells, services. Everything read is hostile input.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest/software.hpp"

namespace cuda_nspawn {

// Of a unit the ones that hold, the last of a name being the one that counts.
std::vector<EnvironmentSetting> find_environment_settings(const GuestTree& tree);

// The LD_LIBRARY_PATH that a program has when a unit of the guest or a login starts it; "" when none is set.
std::string library_path_of(const GuestTree& tree, const std::vector<EnvironmentSetting>& settings,
                            std::string_view program);

}  // namespace cuda_nspawn
