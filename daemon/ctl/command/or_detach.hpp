// attach --or-detach: for a unit whose start may be cut short by its stop, of which systemd runs no ExecStop=.
#pragma once

#include <string>

namespace cuda_nspawn::ctl {

// From now on SIGTERM detaches the machine and ends the process then. Before any other thread exists, which would take
// the signal.
void detach_at_termination(const std::string& machine);

// What was begun fails by that detach, and must not end the process before it is done. Returns the status.
int exit_unless_terminating(int status);

}  // namespace cuda_nspawn::ctl
