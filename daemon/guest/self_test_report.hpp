// The self-test's output as data, before anyone judges it. Format: docs/self-test.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest/verdict.hpp"

namespace cuda_nspawn {

struct SelfTestReport {
    std::vector<Check> checks;              // in order; of a name given twice the worse one
    std::vector<std::string> gpu_uuids;     // sorted, unique, "GPU-" and lower case
    std::vector<std::string> capabilities;  // sorted, unique, "9.0"
    bool ended = false;                     // {"end":true} was there
    std::size_t unknown_lines = 0;
};

SelfTestReport parse_self_test(std::string_view output);

// "GPU-" and lower-case hexadecimal digits; "" when it is no GPU's UUID.
std::string normalized_uuid(std::string_view text);

}  // namespace cuda_nspawn
