// A process in which the kernel has no inotify instance left, as on a host with very many guests.
#pragma once

#include <sched.h>

#include <cstdlib>
#include <fstream>

namespace cuda_nspawn::testing {

// For the child of EXPECT_EXIT: a user namespace of its own has limits of its own.
inline void use_up_inotify() {
    if (::unshare(CLONE_NEWUSER) != 0) std::_Exit(2);
    std::ofstream limit("/proc/sys/user/max_inotify_instances");
    limit << "0\n" << std::flush;
    if (!limit) std::_Exit(3);
}

}  // namespace cuda_nspawn::testing
