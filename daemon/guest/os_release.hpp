// os-release(5), as far as a guest is told by it.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace cuda_nspawn {

// Assignments with their quotes and escapes taken off; of a key given twice the last counts, as for a shell.
std::map<std::string, std::string> parse_os_release(std::string_view text);

}  // namespace cuda_nspawn
