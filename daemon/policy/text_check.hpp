// What must hold of a text file before any parser sees it.
#pragma once

#include <optional>
#include <string_view>

#include "policy/policy.hpp"

namespace cuda_nspawn {

// Where the first byte stands that begins no valid UTF-8 sequence.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

// Size, NUL and other control bytes, UTF-8: the first violation, with its place.
std::optional<Diagnostic> check_text(std::string_view path, std::string_view text, std::size_t size_limit);

}  // namespace cuda_nspawn
