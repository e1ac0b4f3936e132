// The journal: one line per event, with fields, so that `journalctl CUDA_NSPAWN_MACHINE=NAME` tells one machine's
// story. Where standard error is no journal (a terminal, a test), plain lines by spdlog.
#pragma once

#include <string>

#include "engine/ports.hpp"

namespace cuda_nspawn {

void log(Severity severity, const std::string& machine, const std::string& text);
void set_log_level(Severity lowest);

}  // namespace cuda_nspawn
