// What the host's journal has that explains a failure. Bounded: a busy host's has millions of lines.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

// Of this boot's kernel messages those that are wanted, the latest `most`, the oldest of them first.
std::vector<std::string> read_kernel_log(std::size_t most, const std::function<bool(std::string_view)>& is_wanted);

// What systemd-nspawn itself said in the last run of a machine's unit, and PID 1 on how it ended. What a guest prints
// on its console stands there too, and is left out: only a program of the host's names its source file (CODE_FILE=) to
// journald.
std::vector<std::string> read_unit_log(const std::string& unit, std::size_t most);

}  // namespace cuda_nspawn
