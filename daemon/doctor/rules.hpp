// The rules, a file for each place where causes lie. Each adds a finding or none; order and folding come after.
#pragma once

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace cuda_nspawn {

void find_in_policy(const Evidence& evidence, Findings& findings);
void find_in_host(const Evidence& evidence, Findings& findings);
void find_in_image(const Evidence& evidence, Findings& findings);     // what keeps any driver from running in it
void find_in_settings(const Evidence& evidence, Findings& findings);  // settings file and unit
void find_in_running(const Evidence& evidence, Findings& findings);
void find_in_guest(const Evidence& evidence, Findings& findings);    // libraries, environment
void find_in_program(const Evidence& evidence, Findings& findings);  // the one asked about
void find_in_cuda(const Evidence& evidence, Findings& findings);     // toolkits and packages against the driver
void find_in_verdict(const Evidence& evidence, Findings& findings);

}  // namespace cuda_nspawn
