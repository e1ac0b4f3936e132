// What the commands share of the API: the objects of the daemon as JSON with stable keys (cuda-nspawnctl(1), JSON),
// from which what people read is printed too.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "ctl/bus.hpp"
#include "policy/policy.hpp"

namespace cuda_nspawn::ctl {

using Json = nlohmann::ordered_json;

// All objects of the daemon, from one GetManagedObjects.
class Objects {
public:
    // What GetManagedObjects answers.
    explicit Objects(Value objects);
    Objects(const Objects&) = delete;
    Objects(Objects&&) = default;

    using ByPath = std::map<std::string, const Value*>;
    // The properties of all objects with such an interface ("Machine").
    const ByPath& all(const std::string& interface) const;
    // Of one machine; nullptr: it has no object.
    const Value* machine(const std::string& name) const;

private:
    Value objects_;
    std::map<std::string, ByPath> by_interface_;  // into objects_
};
Objects get_objects(Bus& bus);
// The same without starting the daemon for it: none when it does not run, or does not answer in time.
Objects objects_of_running(Bus& bus);
// Of the manager: the driver.
Value driver_properties(Bus& bus);
// Of one machine, by name; its policy is read if the daemon does not know it. Throws BusError.
Value machine_properties(Bus& bus, const std::string& name);

// Whether that GPU's properties are what the selector names.
bool selects(const GpuSelector& selector, const Value& gpu);

// A property's text; "" where a daemon of another version has none.
std::string text(const Value& properties, const std::string& name);

// What --json prints.
Json machine_json(const Value& machine, const Objects& objects);
Json gpu_json(const Value& gpu);
Json job_json(const Value& job);
Json driver_json(const Value& driver);
Json changes_json(const Value& changes);

// From a path's last part: "/org/cudanspawn1/machine/my_2dbox" → "my-box".
std::string name_of_path(const std::string& path);

}  // namespace cuda_nspawn::ctl
