// Who has a GPU open.
#pragma once

#include <string>

#include "ctl/client.hpp"

namespace cuda_nspawn::ctl {

// Objects with machine ("": the host itself), pid, pid_in_machine, name, devices. Of all for an empty name. Throws
// BusError.
Json holders_of(Bus& bus, const std::string& machine);

}  // namespace cuda_nspawn::ctl
