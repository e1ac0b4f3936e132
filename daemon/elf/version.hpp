// Versions as libraries and drivers have them: numbers with dots between.
#pragma once

#include <compare>
#include <string_view>

namespace cuda_nspawn {

// Number by number; what is missing is less than what is there, and leading zeros do not count.
std::strong_ordering compare_versions(std::string_view left, std::string_view right);

}  // namespace cuda_nspawn
