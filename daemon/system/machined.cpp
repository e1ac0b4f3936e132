#include "system/machined.hpp"

#include <fmt/format.h>

#include <utility>

namespace cuda_nspawn {

namespace {
const sdbus::ServiceName service{"org.freedesktop.machine1"};
constexpr const char* manager_interface = "org.freedesktop.machine1.Manager";
constexpr const char* machine_interface = "org.freedesktop.machine1.Machine";
using Listed = sdbus::Struct<std::string, std::string, std::string, sdbus::ObjectPath>;  // name, class, service, path

template <class T>
const T* take(const std::map<std::string, sdbus::Variant>& properties, const std::string& name, T& place) {
    const auto found = properties.find(name);
    if (found == properties.end() || !found->second.containsValueOfType<T>()) return nullptr;
    place = found->second.get<T>();
    return &place;
}

// Nothing if one is missing or of another type: an exception in a reply's handler would lose the reply.
std::optional<Instance> to_instance(const std::map<std::string, sdbus::Variant>& properties) {
    Instance instance;
    std::uint32_t leader = 0;
    const bool complete = take(properties, "Unit", instance.unit) && take(properties, "Leader", leader) &&
                          take(properties, "Timestamp", instance.since_usec);
    instance.leader = leader;
    return complete ? std::optional(instance) : std::nullopt;
}
}  // namespace

Machined::Machined(sdbus::IConnection& connection, Handlers handlers)
    : handlers_(std::move(handlers)),
      manager_(sdbus::createProxy(connection, service, sdbus::ObjectPath{"/org/freedesktop/machine1"})),
      bus_(sdbus::createProxy(connection, sdbus::ServiceName{"org.freedesktop.DBus"},
                              sdbus::ObjectPath{"/org/freedesktop/DBus"})),
      machines_(connection, service) {
    manager_->uponSignal("MachineNew")
        .onInterface(manager_interface)
        .call([this](const std::string& name, const sdbus::ObjectPath& path) {
            get_instance_at(path, [this, name](std::optional<Instance> instance) {
                if (instance) handlers_.started(name, *instance);
            });
        });
    manager_->uponSignal("MachineRemoved")
        .onInterface(manager_interface)
        .call([this](const std::string& name, const sdbus::ObjectPath&) {
            for (const auto& gathering : gatherings_)
                if (const auto found = gathering.lock()) found->ended.insert(name);
            handlers_.ended(name);
        });
    bus_->uponSignal("NameOwnerChanged")
        .onInterface("org.freedesktop.DBus")
        .call([this](const std::string& name, const std::string&, const std::string& owner) {
            if (name == static_cast<const std::string&>(service) && !owner.empty()) handlers_.restarted();
        });
}

void Machined::get_instance_at(const sdbus::ObjectPath& path, std::function<void(std::optional<Instance>)> reply) {
    const auto proxy = machines_.at(path);
    proxy->callMethodAsync("GetAll")
        .onInterface("org.freedesktop.DBus.Properties")
        .withArguments(machine_interface)
        .uponReplyInvoke(
            [proxy, reply](std::optional<sdbus::Error> error, const std::map<std::string, sdbus::Variant>& properties) {
                if (error) return reply(std::nullopt);  // gone already
                reply(to_instance(properties));
            });
}

void Machined::get_instance(const std::string& machine, std::function<void(std::optional<Instance>)> reply) {
    manager_->callMethodAsync("GetMachine")
        .onInterface(manager_interface)
        .withArguments(machine)
        .uponReplyInvoke([this, reply](std::optional<sdbus::Error> error, const sdbus::ObjectPath& path) {
            if (error) return reply(std::nullopt);
            get_instance_at(path, reply);
        });
}

void Machined::enumerate(std::function<void(std::map<std::string, Instance>, std::string)> reply) {
    manager_->callMethodAsync("ListMachines")
        .onInterface(manager_interface)
        .uponReplyInvoke([this, reply](std::optional<sdbus::Error> error, const std::vector<Listed>& machines) {
            if (error) return reply({}, fmt::format("systemd-machined does not answer: {}", error->getMessage()));
            auto gathering = std::make_shared<Gathering>();
            std::erase_if(gatherings_, [](const auto& other) { return other.expired(); });
            gatherings_.push_back(gathering);
            std::vector<Listed> containers;
            for (const Listed& machine : machines)
                if (std::get<1>(machine) == "container") containers.push_back(machine);
            gathering->missing = containers.size();
            if (containers.empty()) return reply({}, "");
            for (const Listed& machine : containers)
                get_instance_at(std::get<3>(machine),
                                [gathering, reply, name = std::get<0>(machine)](std::optional<Instance> instance) {
                                    if (instance) gathering->found[name] = *instance;
                                    if (--gathering->missing > 0) return;
                                    for (const std::string& gone : gathering->ended) gathering->found.erase(gone);
                                    reply(gathering->found, "");
                                });
        });
}

}  // namespace cuda_nspawn
