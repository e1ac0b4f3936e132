// What the self-test's worker is told and tells: request and report between daemon and worker, the set-up's word in
// the guest, the isolation probe's finding. Pure; the JSON parsers throw std::runtime_error with a sentence.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ports.hpp"

namespace cuda_nspawn {

std::string to_json(const TestRequest& request);
TestRequest parse_enter_request(std::string_view text);

std::string to_json(const Tested& report);
Tested parse_enter_report(std::string_view text);

// The set-up's own word in the guest: "epoch=N", then lines "note: …" and "error: …". The guest can forge it.
struct SetupState {
    std::uint64_t epoch = 0;
    std::vector<std::string> notes;  // made printable, a few of them
    std::vector<std::string> errors;
};
std::optional<SetupState> parse_setup_state(std::string_view text);

// Whether a guest's /proc/PID/mountinfo (proc_pid_mountinfo(5)) has both of our mounts, the directory from the file
// system `machines`: what is left of an earlier one, which went while the guest ran, does not count. It can forge that,
// to its own disadvantage.
bool shows_our_mounts(std::string_view mountinfo, dev_t machines);

// What user a guest's root is on the host, by its /proc/PID/uid_map (user_namespaces(7)); 0 if it has none.
unsigned root_in_map(std::string_view uid_map);

// The set-up's part of the report, as one of the self-test's lines: the host's own, in front of the guest's.
std::string setup_check_line(const SetupState& state, double milliseconds);

// What differs from what was granted, a sentence for each node. `errors`: one errno per node, 0 where it opened.
std::vector<std::string> isolation_violations(const std::vector<DeviceNode>& nodes, const std::vector<int>& errors,
                                              const std::vector<DeviceNode>& granted);

}  // namespace cuda_nspawn
