#include "ctl/client.hpp"

#include <algorithm>
#include <utility>

#include "names.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn::ctl {

namespace {

Target object_manager() {
    return {std::string(names::bus_name), std::string(names::root_object), "org.freedesktop.DBus.ObjectManager"};
}

std::string interface_named(const std::string& name) { return std::string(names::bus_name) + "." + name; }

Value all_properties(Bus& bus, const std::string& path, const std::string& interface) {
    return bus
        .call({std::string(names::bus_name), path, "org.freedesktop.DBus.Properties"}, "GetAll",
              {interface_named(interface)})
        .at(0);
}

// A daemon of another version may lack a property.
Json get(const Value& properties, const std::string& name, Json otherwise) {
    const auto place = properties.find(name);
    return place == properties.end() ? std::move(otherwise) : Json(*place);
}

// An array of structs with named members.
Json named(const Value& properties, const std::string& name, const std::vector<std::string>& members) {
    auto list = Json::array();
    for (const Value& one : properties.value(name, Value::array())) {
        Json entry;
        for (std::size_t i = 0; i < members.size(); ++i) entry[members[i]] = one.at(i);
        list.push_back(std::move(entry));
    }
    return list;
}

Json granted_gpus(const Value& machine, const Objects& objects) {
    auto list = Json::array();
    for (const Value& uuid : machine.value("Gpus", Value::array())) {
        Json entry{{"uuid", uuid}};
        for (const auto& [path, gpu] : objects.all("Gpu"))
            if (gpu->at("Uuid") == uuid) entry = gpu_json(*gpu);
        list.push_back(std::move(entry));
    }
    return list;
}

Json running_jobs(const std::string& machine, const Objects& objects) {
    auto list = Json::array();
    for (const auto& [path, job] : objects.all("Job"))
        if (text(*job, "Machine") == machine && text(*job, "State") == "running") list.push_back(job_json(*job));
    return list;
}

}  // namespace

Objects::Objects(Value objects) : objects_(std::move(objects)) {
    for (const auto& [path, interfaces] : objects_.items())
        for (const auto& [name, properties] : interfaces.items())
            by_interface_[name.substr(name.rfind('.') + 1)].emplace(path, &properties);
}

const Objects::ByPath& Objects::all(const std::string& interface) const {
    static const ByPath none;
    const auto place = by_interface_.find(interface);
    return place == by_interface_.end() ? none : place->second;
}

const Value* Objects::machine(const std::string& name) const {
    const ByPath& machines = all("Machine");
    const auto place = machines.find(std::string(names::machine_objects) + "/" + escape_bus_label(name));
    return place == machines.end() ? nullptr : place->second;
}

Objects get_objects(Bus& bus) {
    Value answer = bus.call(object_manager(), "GetManagedObjects");
    return Objects(std::move(answer.at(0)));
}

Objects objects_of_running(Bus& bus) {
    try {
        return Objects(bus.call_running(object_manager(), "GetManagedObjects").at(0));
    } catch (const BusError&) {
        return Objects(Value::object());
    }
}

Value driver_properties(Bus& bus) { return all_properties(bus, std::string(names::root_object), "Manager"); }

Value machine_properties(Bus& bus, const std::string& name) {
    return all_properties(bus, bus.call(manager(), "GetMachine", {name}).at(0), "Machine");
}

std::string text(const Value& properties, const std::string& name) { return properties.value(name, ""); }

Json machine_json(const Value& machine, const Objects& objects) {
    return {{"machine", get(machine, "Name", "")},
            {"state", get(machine, "State", "")},
            {"text", get(machine, "StateText", "")},
            {"policy", get(machine, "Policy", "")},
            {"policy_errors", get(machine, "PolicyErrors", Json::array())},
            {"unit", get(machine, "Unit", "")},
            {"gpus", granted_gpus(machine, objects)},
            {"generation", get(machine, "Generation", "")},
            {"verdict", get(machine, "Verdict", "none")},
            {"verdict_text", get(machine, "VerdictText", "")},
            {"last_self_test", get(machine, "LastSelfTest", 0)},
            {"checks", named(machine, "Checks", {"name", "result", "milliseconds", "detail"})},
            {"findings", named(machine, "Findings", {"code", "severity", "text"})},
            {"warnings", get(machine, "Warnings", Json::array())},
            {"jobs", running_jobs(text(machine, "Name"), objects)}};
}

bool selects(const GpuSelector& selector, const Value& gpu) {
    if (const auto* index = std::get_if<GpuIndex>(&selector)) return get(gpu, "Index", 0) == index->value;
    if (const auto* uuid = std::get_if<GpuUuid>(&selector)) return text(gpu, "Uuid") == uuid->value;
    return text(gpu, "PciAddress") == std::get<GpuPciAddress>(selector).value;
}

Json gpu_json(const Value& gpu) {
    return {{"index", get(gpu, "Index", 0)},
            {"minor", get(gpu, "Minor", 0)},
            {"pci_address", get(gpu, "PciAddress", "")},
            {"model", get(gpu, "Model", "")},
            {"uuid", get(gpu, "Uuid", "")},
            {"machines", get(gpu, "Machines", Json::array())}};
}

Json job_json(const Value& job) {
    return {{"job", get(job, "Id", 0)},       {"machine", get(job, "Machine", "")}, {"kind", get(job, "Kind", "")},
            {"state", get(job, "State", "")}, {"result", get(job, "Result", "")},   {"step", get(job, "Step", 0)},
            {"steps", get(job, "Steps", 0)},  {"text", get(job, "Text", "")}};
}

Json driver_json(const Value& driver) {
    return {{"daemon", get(driver, "Version", "")},
            {"kernel_version", get(driver, "KernelVersion", "")},
            {"driver_version", get(driver, "DriverVersion", "")},
            {"pending_version", get(driver, "PendingVersion", "")},
            {"cuda_version", get(driver, "CudaVersion", "")},
            {"generation", get(driver, "Generation", "")},
            {"generations", get(driver, "Generations", Json::array())},
            {"warnings", get(driver, "Warnings", Json::array())}};
}

Json changes_json(const Value& changes) {
    auto list = Json::array();
    for (const Value& change : changes) {
        const std::string& detail = change.at(2).get_ref<const std::string&>();
        const bool is_diff = detail.starts_with("--- ");
        list.push_back({{"type", change.at(0)},
                        {"path", change.at(1)},
                        {"detail", is_diff ? "" : detail},
                        {"diff", is_diff ? detail : ""}});
    }
    return list;
}

std::string name_of_path(const std::string& path) {
    return unescape_bus_label(path.substr(path.rfind('/') + 1)).value_or("");
}

}  // namespace cuda_nspawn::ctl
