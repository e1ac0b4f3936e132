// The objects of all machines, org.cudanspawn1.Machine: one table of functions for every path below …/machine. An
// object of sdbus-c++ for each would be 8 KiB a machine, most of what the daemon has.
#pragma once

#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bus/verbs.hpp"
#include "engine/engine.hpp"

namespace cuda_nspawn::bus {

class MachineObjects {
public:
    // `bus` is what the connection is made of; sdbus-c++ has no such tables.
    MachineObjects(sdbus::IConnection& connection, sd_bus* bus, Engine& engine, Verbs& verbs);

    void add(const std::string& name);
    // Returns the GPUs that it was granted, by minor.
    std::vector<unsigned> remove(const std::string& name);
    // Sends PropertiesChanged for those that differ from what was sent last. Returns the GPUs, by minor, that it was
    // granted or that were taken from it since then.
    std::vector<unsigned> emit_changes(const std::string& name);

    // One machine as it was shown last.
    struct Object {
        const MachineObjects* all = nullptr;
        std::string name;
        std::array<std::size_t, 13> sent{};  // hashes of the properties' texts
        std::vector<unsigned> gpus;          // by minor
        const Machine& machine() const { return all->engine_.machine(name); }
        Engine& engine() const { return all->engine_; }
        Verbs& verbs() const { return all->verbs_; }
        sdbus::IConnection& connection() const { return all->connection_; }
    };

private:
    static int find(sd_bus*, const char* path, const char* interface, void* data, void** found, sd_bus_error*);
    static int enumerate(sd_bus*, const char* prefix, void* data, char*** paths, sd_bus_error*);

    struct Unref {
        void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
    };

    sdbus::IConnection& connection_;
    sd_bus* bus_;
    Engine& engine_;
    Verbs& verbs_;
    std::map<std::string, Object> objects_;  // their addresses are what sd-bus hands to the functions
    std::unique_ptr<sd_bus_slot, Unref> table_;
    std::unique_ptr<sd_bus_slot, Unref> enumerator_;
};

}  // namespace cuda_nspawn::bus
