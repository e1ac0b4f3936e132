// What jobs say of what is being done for them: here are all the words.
#pragma once

#include <string>

#include "engine/machine.hpp"

namespace cuda_nspawn {

inline constexpr const char* copying_text = "copy the driver to the store";
inline constexpr const char* testing_text = "self-test";
inline constexpr const char* cleaning_text = "take what is left of ours out of the image";
std::string doing(Step step, const std::string& machine);
std::string explaining(const std::string& failure);

// What is no step of the worker that makes files, as changes.
Change mount_of(const std::string& unit);
Change start_of(const std::string& machine);

}  // namespace cuda_nspawn
