// What changes in a text, as `diff -u` writes it. Pure: texts in, text out.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cuda_nspawn {

// Without a NUL byte.
bool is_text(std::string_view content);

// `--- PATH`, `+++ PATH`, and hunks with three lines of context; /dev/null for a file that does not exist. Empty where
// nothing differs. The work is bounded: texts that differ in very many places are shown as taken out and put in.
std::string unified_diff(const std::string& path, const std::optional<std::string>& before,
                         const std::optional<std::string>& after);

}  // namespace cuda_nspawn
