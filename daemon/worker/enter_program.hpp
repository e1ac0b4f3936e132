// Runs a program of the host's, the self-test or the set-up, inside a machine, as its root would run it.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>

#include "guest/verdict.hpp"
#include "worker/enter_cgroup.hpp"
#include "worker/enter_machine.hpp"

namespace cuda_nspawn {

struct ProgramLimits {
    std::chrono::milliseconds time;
    std::size_t output = 0;
    int overtaken = -1;      // a descriptor: as soon as it can be read, the program is ended
    bool may_mount = false;  // in the machine, as its root may
};

// Never waits longer than the limits and a few seconds, whatever program and guest do. `reason` of a program that
// failed is the last line it wrote to standard error. Throws std::runtime_error when the host's side fails; what the
// guest prevents is not_started with a reason.
TestRun run_in_machine(const RunningMachine& machine, const LeafCgroup& cgroup, const std::filesystem::path& program,
                       const std::string& argument, const ProgramLimits& limits);

}  // namespace cuda_nspawn
