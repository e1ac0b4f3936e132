// What the shell offers for the word at the cursor, from the table of commands.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "ctl/command.hpp"

namespace cuda_nspawn::ctl {

// Names of what there is now: machines, UUIDs of GPUs, numbers of jobs. Empty where the daemon does not run.
using Names = std::function<std::vector<std::string>(Offer)>;

// A line that stands for the names of files, which the shell knows better.
inline constexpr const char* files_line = ":files";

// `words` as bash has them (the program first; it makes words of their own of "=" and what follows), `current` the
// index of the one that is being typed.
std::vector<std::string> complete(const std::vector<Command>& commands, std::vector<std::string> words,
                                  std::size_t current, const Names& names);

}  // namespace cuda_nspawn::ctl
