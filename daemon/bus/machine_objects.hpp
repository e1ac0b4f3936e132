// The objects of all machines, org.cudanspawn1.Machine: one table of functions for every path below …/machine. An
// object of sdbus-c++ for each would be 8 KiB a machine, most of what the daemon has.
#pragma once

#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>

#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bus/authority.hpp"
#include "bus/verbs.hpp"
#include "engine/engine.hpp"

namespace cuda_nspawn::bus {

class MachineObjects {
public:
    // `bus` is what the connection is made of; sdbus-c++ has no such tables.
    MachineObjects(sdbus::IConnection& connection, sd_bus* bus, Engine& engine, Verbs& verbs, Authority& authority);

    void add(const std::string& name);
    // What other objects show of a machine, that is no longer as it was.
    struct Others {
        std::vector<unsigned> gpus;  // by minor: given to it or taken from it
        bool generations = false;    // it has others than before
    };
    Others remove(const std::string& name);
    // Sends PropertiesChanged for those that differ from what was sent last.
    Others emit_changes(const std::string& name);

    // One machine as it was shown last.
    struct Object {
        const MachineObjects* all = nullptr;
        std::string name;
        std::array<std::size_t, 13> sent{};  // hashes of the properties' texts
        std::vector<unsigned> gpus;          // by minor
        std::set<std::string> generations;   // that it has, or may have
        const Machine& machine() const { return all->engine_.machine(name); }
        Engine& engine() const { return all->engine_; }
        Verbs& verbs() const { return all->verbs_; }
        Authority& authority() const { return all->authority_; }
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
    Authority& authority_;
    std::map<std::string, Object> objects_;  // their addresses are what sd-bus hands to the functions
    std::unique_ptr<sd_bus_slot, Unref> table_;
    std::unique_ptr<sd_bus_slot, Unref> enumerator_;
};

}  // namespace cuda_nspawn::bus
