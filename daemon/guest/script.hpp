// Which file of a guest a path or a script runs (execve(2), "Interpreter scripts"). Everything read is hostile input.
#pragma once

#include <string>
#include <string_view>

#include "guest/guest.hpp"

namespace cuda_nspawn {

// Of a name without a slash where it lies in PATH, as units and env(1) have it; "" when it is nowhere.
std::string find_in_path(const GuestTree& tree, std::string_view name);

// What runs the script with that beginning: the interpreter, or what env(1) looks for; "" when it is no script.
std::string interpreter_of_script(const GuestTree& tree, std::string_view beginning);

}  // namespace cuda_nspawn
