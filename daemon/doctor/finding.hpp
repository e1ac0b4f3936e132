// A finding: a named cause, with what shows it and the way out. docs/cuda-nspawn-findings.7.scd has all.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

// error: CUDA does not work in the machine, or not for the program asked about. warning: it will fail for some program,
// or at the next start. info: nothing is wrong with what the policy wants, but people ask about it.
enum class FindingSeverity { error, warning, info };
std::string_view to_string(FindingSeverity value);

// Where the fix is to be made.
enum class FixPlace {
    none,     // there is no command for it; the fix is a sentence
    host,     // a command for a root shell on the host
    machine,  // a command for a root shell in the machine, which runs or is started for it
    policy,   // a line for the machine's policy
};
std::string_view to_string(FixPlace value);

struct Finding {
    std::string code = {};  // of the catalogue: "uvm-missing"
    FindingSeverity severity = FindingSeverity::error;
    std::string text = {};                   // one sentence with the actual names and versions
    std::vector<std::string> evidence = {};  // what was seen, one line each: "/proc/devices: no nvidia-uvm"
    FixPlace where = FixPlace::none;
    std::string fix = {};
    std::vector<std::string> consequences = {};  // findings that this one explains, "CODE: TEXT"
    bool operator==(const Finding&) const = default;
};
using Findings = std::vector<Finding>;

// Whether there is such a code, and what it explains, are in doctor/catalogue.hpp.

}  // namespace cuda_nspawn
