// The parts of find_in_guest() and find_in_cuda() that have a file of their own.
#pragma once

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace cuda_nspawn {

void find_in_loader(const Evidence& evidence, Findings& findings);       // what the self-test says of its library
void find_in_environment(const Evidence& evidence, Findings& findings);  // variables that the guest sets
void find_in_libraries(const Evidence& evidence, Findings& findings);    // the driver's libraries in the guest
// Of a newer driver, to be used with an older one (cuda-compat): those that nothing uses, and those that do not fit.
void find_idle_compat(const Evidence& evidence, Findings& findings);
void find_unfit_compat(const Evidence& evidence, Findings& findings);
void find_packages(const Evidence& evidence, Findings& findings);  // of Python and conda

}  // namespace cuda_nspawn
