// Runs a program of the host's with an empty environment, for a limited time, and keeps what it prints.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace cuda_nspawn {

struct CommandEnd {
    std::string output;  // of both, at most 64 KiB
    int status = -1;     // of waitpid(2)
    bool in_time = true;
    bool succeeded() const;
    std::string last_line() const;  // printable
};

// argv[0] is a path. Asked to end (SIGTERM) when the time is over, and killed when it does not within 10 s. Throws
// std::runtime_error if it cannot be started.
CommandEnd run_command(std::vector<std::string> argv, std::chrono::milliseconds time_limit);

}  // namespace cuda_nspawn
