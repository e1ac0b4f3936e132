// One entry of `gpus:`, from its text.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include "policy/policy.hpp"

namespace cuda_nspawn {

// The selector in its normal form, or the sentence that says what is wrong with the text.
std::variant<GpuSelector, std::string> parse_gpu_selector(std::string_view text);

}  // namespace cuda_nspawn
