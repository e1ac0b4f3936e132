// Commands for a root shell in the machine, made of names that come from the guest: quoted, so that they are one word
// each whatever they hold. Empty where a name cannot be typed (a control character in it, or no UTF-8).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "doctor/finding.hpp"
#include "guest/software.hpp"

namespace cuda_nspawn {

// As it is when it has nothing but [A-Za-z0-9_./+:@%=-], else in single quotes.
std::string shell_word(std::string_view text);
bool can_be_typed(std::string_view text);

// The files and what they are links to, since ldconfig makes a SONAME's link again from the file.
std::string remove_libraries(const std::vector<std::string>& paths);
// Takes one path out of a list of paths, LD_LIBRARY_PATH or LD_PRELOAD, and leaves the others.
std::string take_out(const EnvironmentSetting& setting, std::string_view path);
// Gives it another value, which has nothing that sed or a shell would take for its own; empty: comments the line out.
std::string set_to(const EnvironmentSetting& setting, std::string_view value);
// Takes a directory out of ld.so.conf and the files that it includes.
std::string take_out_of_loader(std::string_view directory);

// One after the other, each once; empty if one of them is.
std::string one_after_the_other(const std::vector<std::string>& commands);
// The command as the finding's fix, or the sentence where there is none.
void mend_in_machine(Finding& finding, std::string command, std::string_view otherwise);

}  // namespace cuda_nspawn
