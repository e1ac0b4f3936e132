// A unified diff, fit for a terminal.
#pragma once

#include <string>
#include <string_view>

#include "ctl/terminal.hpp"

namespace cuda_nspawn::ctl {

// What a line of a unified diff is printed in, as git does.
Colour colour_of_diff_line(std::string_view line);

// Every line coloured and without control characters; ends with a line's end if the text does not.
std::string coloured_diff(std::string_view diff);

}  // namespace cuda_nspawn::ctl
