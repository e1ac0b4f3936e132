// What is fuzzed: everything that reads what a guest, an admin or another process wrote. A target takes any bytes; it
// must end soon, touch no memory that is not its own, and keep what it promises, which it checks by require().
// replay.cpp gives the targets the corpora of this folder, for ctest, plain and under AddressSanitizer.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace cuda_nspawn::fuzz {

using Target = void (*)(std::string_view);

// By name, which is also the folder's of its corpus.
const std::map<std::string, Target, std::less<>>& targets();

// Ends the process with the sentence when a promise is broken.
void require(bool kept, std::string_view promise);

// Printable by our own measure: fit for a log, a bus and a terminal.
void require_printable(std::string_view text, std::string_view what);

// Takes what comes before the first line that is "--"; the whole text if there is none.
std::string_view take_part(std::string_view& text);

}  // namespace cuda_nspawn::fuzz
