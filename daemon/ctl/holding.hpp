// Who has a GPU open.
#pragma once

#include <string>

#include "ctl/client.hpp"

namespace cuda_nspawn::ctl {

// Objects with machine ("": the host itself), pid, pid_in_machine, name, devices. Of all for an empty name. Throws
// BusError, also when there is no answer within the limit.
Json holders_of(Bus& bus, const std::string& machine, std::chrono::microseconds limit = time_to_ask);

}  // namespace cuda_nspawn::ctl
