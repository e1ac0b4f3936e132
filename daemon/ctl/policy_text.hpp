// Policies from files, as the admin has them.
#pragma once

#include <string>
#include <variant>

#include "policy/policy.hpp"

namespace cuda_nspawn::ctl {

// What is in a file, or why it cannot be read; "-" is standard input.
std::variant<std::string, Diagnostic> read_policy_text(const std::string& path);

// The host's defaults, which count for every policy; what is wrong with them is told where they are checked themselves.
Policy host_defaults();

// Parsed as that machine's, with the defaults; an empty name: what the file's name says. The diagnostics have the path
// as it was given.
PolicyResult parse_policy_of(const std::string& path, const std::string& text, const std::string& machine,
                             const Policy& defaults);

}  // namespace cuda_nspawn::ctl
