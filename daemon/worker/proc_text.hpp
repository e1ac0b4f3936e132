// What files of /proc/PID say. Pure: text in, fields out.
#pragma once

#include <string>
#include <string_view>

namespace cuda_nspawn {

// "Key:\tvalue" of /proc/PID/status (proc_pid_status(5)); empty if there is none.
std::string status_field(std::string_view status, std::string_view key);

// The process's cgroup in the unified hierarchy: of /proc/PID/cgroup the line "0::/path" (cgroups(7)).
std::string unified_cgroup(std::string_view text);

}  // namespace cuda_nspawn
