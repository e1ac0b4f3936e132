// The doctor: from evidence to findings, by rules that each know one cause. Pure.
#pragma once

#include <optional>
#include <string>

#include "doctor/evidence.hpp"
#include "doctor/finding.hpp"

namespace cuda_nspawn {

// The most likely cause first: by severity, then by the catalogue's order. What another one explains is folded under
// that. Nothing for a machine in which all is well.
Findings diagnose(const Evidence& evidence);

// Of a root file system that has no policy, or is not asked about for one: what is in it only.
Findings diagnose_guest(const Evidence& evidence);

// For one who waits for a start that failed: the sentence that says so, with its cause and the way out, if there is one
// that explains it.
std::string explain(const std::string& failure, const Findings& findings);

}  // namespace cuda_nspawn
