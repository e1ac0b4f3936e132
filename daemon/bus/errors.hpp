// Every error of the D-Bus API and what it means. busctl shows only the text, so the text carries the fact.
#pragma once

#include <fmt/format.h>
#include <sdbus-c++/sdbus-c++.h>

#include <string>

#include "engine/job.hpp"
#include "names.hpp"

namespace cuda_nspawn::bus {

// InvalidName, NoSuchMachine, NotRunning, Detached, TooManyJobs: the call was refused, nothing was done.
// InvalidArgs: an option that the method does not know, or of another type.
// Failed: the job ended as failed. Superseded: a later call asked for the opposite.
inline sdbus::Error error(const std::string& name, const std::string& text) {
    return sdbus::Error(sdbus::Error::Name(fmt::format("{}{}", names::error_prefix, name)), text);
}

inline sdbus::Error error(const JobRefused& refused) { return error(refused.name(), refused.what()); }

}  // namespace cuda_nspawn::bus
