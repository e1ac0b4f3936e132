// Taking privileges away from a process that is about to run a guest's code as the guest's root.
#pragma once

#include <cstdint>

namespace cuda_nspawn {

// In the child, after it has entered the namespaces and before exec: becomes the namespaces' root with the few
// capabilities the self-test needs and the guest's leader has, without groups, new privileges, and the system calls
// that systemd-nspawn keeps from a guest. A program of ours that is to mount may do that. Returns the step that failed
// and leaves errno; nullptr: done. Everything here is fit for use after fork().
const char* become_confined_root(std::uint64_t leader_capabilities, bool may_mount);

}  // namespace cuda_nspawn
