// "Did you mean …?" for a word that is none of the known ones.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace cuda_nspawn {

// " (did you mean 'compute'?)" when one of the words is close, else "".
std::string suggest(std::string_view text, std::span<const std::string_view> words);

// "compute, utility and graphics"
std::string enumerate(std::span<const std::string_view> words, std::string_view last_separator = " and ");

// A text from a file, fit for a message: in quotes, without control characters, cut when long.
std::string quoted(std::string_view text);

}  // namespace cuda_nspawn
