// Names for the shell's completion, from a daemon that runs; none is started for it.
#pragma once

#include <string>
#include <vector>

#include "ctl/command.hpp"

namespace cuda_nspawn::ctl {

std::vector<std::string> offered_names(Offer offer);

}  // namespace cuda_nspawn::ctl
