// A child process: its output in a file, its end awaited by pidfd.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cuda_nspawn::bus_tests {

class Process {
public:
    // Both streams go to `output`. Throws std::system_error.
    Process(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
            const std::filesystem::path& output);
    ~Process();  // kills what still runs
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void signal(int number) const;
    // The exit status, or the negative signal's number; nothing if it still runs at the deadline.
    std::optional<int> wait(std::chrono::seconds limit = std::chrono::seconds(15));
    pid_t pid() const { return pid_; }

private:
    pid_t pid_ = 0;
    int pidfd_ = -1;
    std::optional<int> status_;
};

}  // namespace cuda_nspawn::bus_tests
