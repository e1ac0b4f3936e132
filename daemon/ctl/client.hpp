// What the commands share: the bus, and how things are printed.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "names.hpp"

namespace cuda_nspawn::ctl {

using Options = std::map<std::string, sdbus::Variant>;

struct Arguments {
    std::string command;
    std::string machine;
    std::map<std::string, bool> flags = {};
    std::map<std::string, std::string> values = {};  // of options that have one
};

inline const std::string manager_interface = std::string(names::bus_name) + ".Manager";
inline const std::string machine_interface = std::string(names::bus_name) + ".Machine";

// A job ends by its own time limits; the call waits as long as it takes.
inline constexpr auto as_long_as_it_takes = std::chrono::hours(24);

inline std::unique_ptr<sdbus::IProxy> proxy_at(const std::string& path) {
    return sdbus::createProxy(sdbus::createSystemBusConnection(), sdbus::ServiceName(std::string(names::bus_name)),
                              sdbus::ObjectPath(path), sdbus::dont_run_event_loop_thread);
}

inline std::unique_ptr<sdbus::IProxy> manager() { return proxy_at(std::string(names::root_object)); }

// diagnosis.cpp
int diagnose(const Arguments& arguments);
int audit(const Arguments& arguments);

}  // namespace cuda_nspawn::ctl
