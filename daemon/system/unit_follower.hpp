// cuda-nspawn@NAME.service follows the machine: the daemon starts and stops it, and can tell its own stops from an
// admin's.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "system/systemd.hpp"

namespace cuda_nspawn {

class UnitFollower {
public:
    UnitFollower(Systemd& systemd, std::filesystem::path state_directory)
        : systemd_(systemd), state_directory_(std::move(state_directory)) {}

    // As Ports has them.
    void follow(const std::string& machine, bool active);
    void follow_again(const std::string& machine);
    bool is_stopping(const std::string& machine) const;

private:
    void start(const std::string& machine);
    std::filesystem::path mark(const std::string& machine) const;
    void has_stopped(const std::string& machine);

    Systemd& systemd_;
    std::filesystem::path state_directory_;
    // Machines whose unit is being stopped by us; `true`: it is on its way down by another's job, or a start overtook
    // the stop.
    std::map<std::string, bool> stopping_;
};

}  // namespace cuda_nspawn
