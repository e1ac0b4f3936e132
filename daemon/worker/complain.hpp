// What a worker has to say beside its report, as the daemon says it: with the event's id and the machine it is about.
#pragma once

#include "engine/event.hpp"

namespace cuda_nspawn {

// To the journal; where standard error is none, there. Of the host, so never in a process that has entered a machine.
void complain(const Message& message);

}  // namespace cuda_nspawn
