// Before the programs go: what of ours lies among systemd's files would outlive them.
#pragma once

#include "worker/expose.hpp"

namespace cuda_nspawn {

// Takes away the settings files and drop-ins of all machines and the device rules that systemd keeps for us, so that
// machines start as if we had never been there. Their directories stay for those that run. Asks no daemon; none may
// run. Goes on after a failure; returns what failed, a sentence each.
std::vector<std::string> uninstall(const ExposeHost& host);

}  // namespace cuda_nspawn
