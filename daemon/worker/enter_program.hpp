// Runs the host's own self-test program inside a machine, as its root would run it.
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
};

// Never waits longer than the limits and a few seconds, whatever program and guest do. `argument`: "quick" or "full".
// Throws std::runtime_error when the host's side fails; what the guest prevents is not_started with a reason.
TestRun run_in_machine(const RunningMachine& machine, const TestCgroup& cgroup, const std::filesystem::path& program,
                       const std::string& argument, const ProgramLimits& limits);

}  // namespace cuda_nspawn
