// systemd-machined on the bus: org.freedesktop.machine1(5). Which machines run, and when that changes.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "system/object_proxies.hpp"

namespace cuda_nspawn {

class Machined {
public:
    struct Handlers {
        std::function<void(const std::string& machine, const Instance&)> started;
        std::function<void(const std::string& machine)> ended;
        std::function<void()> restarted;  // machined has a new owner on the bus: enumerate again
    };
    // Subscribes at once, so that nothing is missed between enumeration and signals.
    Machined(sdbus::IConnection& connection, Handlers handlers);

    void enumerate(std::function<void(std::map<std::string, Instance>, std::string failure)> reply);
    void get_instance(const std::string& machine, std::function<void(std::optional<Instance>)> reply);

private:
    void get_instance_at(const sdbus::ObjectPath& path, std::function<void(std::optional<Instance>)> reply);

    // One enumeration under way; machines that end meanwhile must not come back with its result.
    struct Gathering {
        std::map<std::string, Instance> found;
        std::set<std::string> ended;
        std::size_t missing = 0;
    };

    Handlers handlers_;
    std::vector<std::weak_ptr<Gathering>> gatherings_;
    std::unique_ptr<sdbus::IProxy> manager_;
    std::unique_ptr<sdbus::IProxy> bus_;
    ObjectProxies machines_;
};

}  // namespace cuda_nspawn
