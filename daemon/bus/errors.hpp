// Every error of the D-Bus API and what it means. busctl shows only the text, so the text carries the fact.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <span>
#include <string>
#include <string_view>

#include "engine/job.hpp"

namespace cuda_nspawn::bus {

struct KnownError {
    std::string_view name;     // behind "org.cudanspawn1.Error."
    std::string_view meaning;  // a sentence, as org.cudanspawn1(5) has it
};
std::span<const KnownError> known_errors();

// `name` is one of those.
sdbus::Error error(std::string_view name, const std::string& text);
inline sdbus::Error error(const JobRefused& refused) { return error(refused.name(), refused.what()); }

}  // namespace cuda_nspawn::bus
