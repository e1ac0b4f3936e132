// Calls that wait for a job of the daemon's.
#pragma once

#include <string>

#include "ctl/bus.hpp"

namespace cuda_nspawn::ctl {

// The values of the answer. On a terminal, a line on standard error that is written anew shows where the job is. Ctrl-C
// ends cuda-nspawnctl, and not the job. Throws BusError.
Value call_job(Bus& bus, const std::string& method, const std::string& machine, const Options& options);

// "[2/4] set the device rules"; without the numbers where the daemon does not say them.
std::string progress_text(const Value& job);

}  // namespace cuda_nspawn::ctl
