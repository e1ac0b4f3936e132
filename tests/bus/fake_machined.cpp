#include "fake_machined.hpp"

#include <utility>

#include "policy/machine_name.hpp"

namespace cuda_nspawn::bus_tests {

namespace {
constexpr const char* manager_interface = "org.freedesktop.machine1.Manager";
constexpr const char* machine_interface = "org.freedesktop.machine1.Machine";
using Listed = sdbus::Struct<std::string, std::string, std::string, sdbus::ObjectPath>;
}  // namespace

FakeMachined::FakeMachined(sdbus::IConnection& connection, News& news)
    : connection_(connection),
      news_(news),
      manager_(sdbus::createObject(connection, sdbus::ObjectPath{"/org/freedesktop/machine1"})) {
    manager_
        ->addVTable(sdbus::registerMethod("ListMachines").implementedAs([this] {
            refuse_if_told("ListMachines");
            const std::lock_guard lock(mutex_);
            std::vector<Listed> list;
            for (const auto& [name, running] : machines_)
                list.emplace_back(name, running.machine_class, "systemd-nspawn", running.path);
            return list;
        }),
                    sdbus::registerMethod("GetMachine").implementedAs([this](const std::string& name) {
                        refuse_if_told("GetMachine");
                        const std::lock_guard lock(mutex_);
                        const auto place = machines_.find(name);
                        if (place == machines_.end())
                            throw sdbus::Error(sdbus::Error::Name("org.freedesktop.machine1.NoSuchMachine"),
                                               "No machine '" + name + "' known");
                        return place->second.path;
                    }),
                    sdbus::registerSignal("MachineNew").withParameters<std::string, sdbus::ObjectPath>(),
                    sdbus::registerSignal("MachineRemoved").withParameters<std::string, sdbus::ObjectPath>())
        .forInterface(manager_interface);
}

void FakeMachined::take_name() { connection_.requestName(sdbus::ServiceName{"org.freedesktop.machine1"}); }
void FakeMachined::drop_name() { connection_.releaseName(sdbus::ServiceName{"org.freedesktop.machine1"}); }

void FakeMachined::fail(const std::string& method) {
    const std::lock_guard lock(mutex_);
    fail_method_ = method;
}

void FakeMachined::refuse_if_told(const std::string& method) {
    const std::lock_guard lock(mutex_);
    if (fail_method_ == method)
        throw sdbus::Error(sdbus::Error::Name("org.freedesktop.DBus.Error.Failed"), method + " does not work today");
}

void FakeMachined::start(const std::string& machine, const std::string& unit, Oddity oddity, bool tell,
                         const std::string& machine_class) {
    const std::string running_unit = unit.empty() ? "systemd-nspawn@" + machine + ".service" : unit;
    const sdbus::ObjectPath path{"/org/freedesktop/machine1/machine/" + escape_bus_label(machine)};
    {
        const std::lock_guard lock(mutex_);
        auto object = sdbus::createObject(connection_, path);
        const unsigned leader = next_leader_++;
        const auto timestamp =
            sdbus::registerProperty("Timestamp").withGetter([leader] { return std::uint64_t{leader} * 1000; });
        const auto leader_property =
            sdbus::registerProperty("Leader").withGetter([leader] { return std::uint32_t{leader}; });
        const auto leader_text = sdbus::registerProperty("Leader").withGetter([] { return std::string("many"); });
        const auto unit_property = sdbus::registerProperty("Unit").withGetter([running_unit] { return running_unit; });
        switch (oddity) {
            case Oddity::none:
                object->addVTable(unit_property, leader_property, timestamp).forInterface(machine_interface);
                break;
            case Oddity::without_unit:
                object->addVTable(leader_property, timestamp).forInterface(machine_interface);
                break;
            case Oddity::leader_is_text:
                object->addVTable(unit_property, leader_text, timestamp).forInterface(machine_interface);
                break;
            case Oddity::without_object:
                object.reset();
                break;
        }
        machines_[machine] = {machine_class, path, std::move(object)};
    }
    if (tell) manager_->emitSignal("MachineNew").onInterface(manager_interface).withArguments(machine, path);
    news_.tell();
}

void FakeMachined::stop(const std::string& machine, bool tell) {
    sdbus::ObjectPath path;
    {
        const std::lock_guard lock(mutex_);
        path = machines_.at(machine).path;
        machines_.erase(machine);
    }
    if (tell) manager_->emitSignal("MachineRemoved").onInterface(manager_interface).withArguments(machine, path);
    news_.tell();
}

}  // namespace cuda_nspawn::bus_tests
