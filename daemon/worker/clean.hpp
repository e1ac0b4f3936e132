// What an instance that was killed left of ours in its machine's root file system is taken away by our set-up, with the
// guest's own ldconfig, in a container of that root in which nothing else runs: no host program follows a path there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ports.hpp"

namespace cuda_nspawn {

// Throws std::runtime_error with a sentence where it cannot be tried; what went wrong in the container is the failure.
Cleaned clean(const std::string& machine);

// The lines "removed PATH" of what the set-up printed. A program of the guest's may have printed them too.
std::vector<Change> removed_in(std::string_view output);

// What systemd-nspawn is started with, so that no owner of a file changes. `owner`: of the root directory; nothing: of
// an image that is no directory.
std::vector<std::string> clean_command(const std::string& machine, const std::string& image,
                                       std::optional<unsigned> owner);

}  // namespace cuda_nspawn
