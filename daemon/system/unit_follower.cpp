#include "system/unit_follower.hpp"

#include <chrono>

#include "plan/plan.hpp"
#include "system/files.hpp"

namespace cuda_nspawn {

namespace fs = std::filesystem;

// A start takes the place of a stop that is under way. Ours it may; one of an admin's it must not, and a unit that is
// active or starting needs none.
void UnitFollower::follow(const std::string& machine, bool active) {
    if (active && is_stopping(machine)) return start(machine);
    if (active)
        return systemd_.get_active_state(our_unit(machine), [this, machine](const std::string& state) {
            if (state == "inactive" || state == "failed" || state.empty()) start(machine);
        });
    stopping_[machine] = false;
    write_or_warn(mark(machine), [](const fs::path& path) { write_file_atomically(path, ""); });
    systemd_.stop_if_active(our_unit(machine), [this, machine](const std::string&) {
        systemd_.get_active_state(our_unit(machine), [this, machine](const std::string& state) {
            if (state != "deactivating") return has_stopped(machine);
            stopping_[machine] = true;
            // If it is to start again, the end of that start says the same.
            systemd_.wait_for_rest(our_unit(machine), [this, machine](const std::string& failure) {
                if (failure.empty()) has_stopped(machine);
            });
        });
    });
}

void UnitFollower::start(const std::string& machine) {
    // What fails says so in the unit itself.
    systemd_.run_job("StartUnit", our_unit(machine), [this, machine](const std::string&) {
        if (const auto place = stopping_.find(machine); place == stopping_.end() || place->second) has_stopped(machine);
    });
}

// For the daemon that comes after one that was killed while it stopped the unit. Older than the unit's own time limit
// for its stop it means nothing.
fs::path UnitFollower::mark(const std::string& machine) const { return state_directory_ / (machine + ".stopping"); }

bool UnitFollower::is_stopping(const std::string& machine) const {
    std::error_code error;
    const auto written = fs::last_write_time(mark(machine), error);
    return stopping_.contains(machine) ||
           (!error && fs::file_time_type::clock::now() - written < std::chrono::seconds(90));
}

void UnitFollower::has_stopped(const std::string& machine) {
    stopping_.erase(machine);
    std::error_code ignored;
    fs::remove(mark(machine), ignored);
}

void UnitFollower::follow_again(const std::string& machine) {
    systemd_.get_active_state(our_unit(machine), [this, machine](const std::string& state) {
        if (state != "deactivating") has_stopped(machine);
        if (state == "inactive") start(machine);
    });
}

}  // namespace cuda_nspawn
