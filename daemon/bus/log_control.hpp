// org.freedesktop.LogControl1(5) at /org/freedesktop/LogControl1, for `systemctl service-log-level` and
// `service-log-target`. sdbus-c++ has no private properties, so a table of sd-bus's.
#pragma once

#include <systemd/sd-bus.h>

#include <functional>
#include <memory>
#include <string>

namespace cuda_nspawn::bus {

// In the words of LogControl1. The setters return whether there is such a level or target.
struct LogSettings {
    std::function<std::string()> level;
    std::function<bool(const std::string&)> set_level;
    std::function<std::string()> target;
    std::function<bool(const std::string&)> set_target;
};

class LogControl {
public:
    LogControl(sd_bus* bus, LogSettings settings);
    LogControl(const LogControl&) = delete;
    LogControl& operator=(const LogControl&) = delete;

private:
    struct Unref {
        void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
    };
    LogSettings settings_;
    std::unique_ptr<sd_bus_slot, Unref> table_;
};

}  // namespace cuda_nspawn::bus
