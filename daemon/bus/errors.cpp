#include "bus/errors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "names.hpp"

namespace cuda_nspawn::bus {

namespace {

// In the order in which org.cudanspawn1(5) explains them.
constexpr std::array errors{
    KnownError{"InvalidName", "This is no machine's name."},
    KnownError{"NoSuchMachine", "There is no policy for it."},
    KnownError{"InvalidPolicy", "The text that was given as a policy is none: what is wrong with it, a line each."},
    KnownError{"InvalidArgs", "An unknown option, or one of a wrong type or value."},
    KnownError{"Running", "The machine runs, so nothing is to be done in its root file system from outside."},
    KnownError{"NotRunning", "The machine does not run, so there is nothing to test in it."},
    KnownError{"Detached", "The machine has no GPU until it starts again, so there is nothing to test in it."},
    KnownError{"TooManyJobs", "4096 jobs run already, or 256 for this machine."},
    KnownError{"NoSuchJob", "There never was such a job, or it has ended and is forgotten."},
    KnownError{"NotCancellable", "The job has ended already."},
    KnownError{"Failed", "The job failed, with the job's text, or the question could not be answered."},
    KnownError{"Cancelled", "Somebody cancelled the job."},
    KnownError{"Superseded", "A later call asked for the opposite."},
};

}  // namespace

std::span<const KnownError> known_errors() { return errors; }

sdbus::Error error(std::string_view name, const std::string& text) {
    if (std::ranges::find(errors, name, &KnownError::name) == errors.end())
        throw std::logic_error(fmt::format("no error {} is known", name));
    return sdbus::Error(sdbus::Error::Name(fmt::format("{}{}", names::error_prefix, name)), text);
}

}  // namespace cuda_nspawn::bus
