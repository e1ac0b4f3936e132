// Paths in a root file system by pattern, and names that can be shown as they are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

// The names in a directory that printable() leaves as they are, sorted, at most `most`.
std::vector<std::string> list_shown(const GuestTree& tree, const std::string& directory, std::size_t most);

// As glob(3): absolute paths, sorted; the last component need not exist where it is no pattern. In each directory at
// most `most` names are followed.
std::vector<std::string> expand_pattern(const GuestTree& tree, std::string_view pattern, std::size_t most);

}  // namespace cuda_nspawn
