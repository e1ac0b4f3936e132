#include "bus/objects.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "bus/errors.hpp"
#include "names.hpp"

namespace cuda_nspawn::bus {

namespace {

// An object that goes away because the bus did has nobody to tell.
template <class Object>
void remove_quietly(Object& object) {
    try {
        object.emitInterfacesRemovedSignal();
    } catch (const sdbus::Error&) {
        return;
    }
}

}  // namespace

// --- Manager ---------------------------------------------------------------------------------------------------------

ManagerObject::ManagerObject(sdbus::IConnection& connection, Engine& engine, HostVerbs verbs)
    : AdaptorInterfaces(connection, sdbus::ObjectPath(std::string(names::root_object))),
      engine_(engine),
      verbs_(std::move(verbs)) {
    registerAdaptor();
}

ManagerObject::~ManagerObject() { unregisterAdaptor(); }

std::vector<sdbus::Struct<std::string, std::string, sdbus::ObjectPath>> ManagerObject::ListMachines() {
    std::vector<sdbus::Struct<std::string, std::string, sdbus::ObjectPath>> list;
    for (const auto& [name, machine] : engine_.machines())
        list.emplace_back(name, std::string(to_string(machine.state(engine_.generation_pending()))),
                          machine_path(name));
    return list;
}

sdbus::ObjectPath ManagerObject::GetMachine(const std::string& name) {
    // Everybody may ask this, so only what costs little.
    if (!engine_.machines().contains(name)) verbs_.reread(name);
    try {
        return machine_path(engine_.machine(name).name);
    } catch (const JobRefused& refused) {
        throw error(refused);
    }
}

void ManagerObject::Plan(PlanResult&& result, std::string name, Options options) {
    verbs_.reread(name);
    plan(engine_, std::move(result), name, std::move(options));
}
void ManagerObject::Attach(JobAnswer&& result, std::string name, Options options) {
    verbs_.look_at_driver();
    verbs_.reread(name);
    attach(engine_, std::move(result), name, std::move(options));
}
void ManagerObject::Detach(JobAnswer&& result, std::string name, Options options) {
    verbs_.reread(name);
    detach(engine_, std::move(result), name, std::move(options));
}
void ManagerObject::SelfTest(TestAnswer&& result, std::string name, Options options) {
    verbs_.reread(name);
    self_test(engine_, std::move(result), name, std::move(options));
}
void ManagerObject::ListHolders(HoldersAnswer&& result, std::string machine) {
    if (!machine.empty()) verbs_.reread(machine);
    list_holders(engine_, std::move(result), machine);
}

void ManagerObject::VerifyStore(StoreAnswer&& result) {
    const auto answer = std::make_shared<StoreAnswer>(std::move(result));
    verbs_.verify_store([answer](const StoreReport& report, const std::string& failure) {
        if (!failure.empty()) return answer->returnError(error("Failed", failure));
        std::vector<sdbus::Struct<std::string, std::string, std::string>> list;
        for (const StoredGeneration& stored : report) list.emplace_back(stored.generation, stored.result, stored.text);
        answer->returnResults(list);
    });
}

std::string ManagerObject::Version() { return CUDA_NSPAWN_VERSION; }

std::vector<std::string> ManagerObject::Warnings() {
    std::vector<std::string> warnings;
    if (const auto problem = driver_problem(engine_.driver())) warnings.push_back(*problem);
    if (!engine_.build_failure().empty()) warnings.push_back(engine_.build_failure());
    const auto& notes = engine_.driver().notes;
    warnings.insert(warnings.end(), notes.begin(), notes.end());
    return warnings;
}

void ManagerObject::emit_driver_changed() {
    getObject().emitPropertiesChangedSignal(
        sdbus::InterfaceName(org::cudanspawn1::Manager_adaptor::INTERFACE_NAME),
        {sdbus::PropertyName("KernelVersion"), sdbus::PropertyName("DriverVersion"),
         sdbus::PropertyName("PendingVersion"), sdbus::PropertyName("Generation"), sdbus::PropertyName("Warnings")});
}

// --- Machine ---------------------------------------------------------------------------------------------------------

MachineObject::MachineObject(sdbus::IConnection& connection, Engine& engine, std::string name)
    : AdaptorInterfaces(connection, machine_path(name)), engine_(engine), name_(std::move(name)) {
    registerAdaptor();
    emitInterfacesAddedSignal();
}

MachineObject::~MachineObject() {
    remove_quietly(*this);
    unregisterAdaptor();
}

void MachineObject::Attach(JobAnswer&& result, Options options) {
    attach(engine_, std::move(result), name_, std::move(options));
}
void MachineObject::Detach(JobAnswer&& result, Options options) {
    detach(engine_, std::move(result), name_, std::move(options));
}
void MachineObject::SelfTest(TestAnswer&& result, Options options) {
    self_test(engine_, std::move(result), name_, std::move(options));
}
void MachineObject::Plan(PlanResult&& result, Options options) {
    plan(engine_, std::move(result), name_, std::move(options));
}

std::string MachineObject::State() { return std::string(to_string(machine().state(engine_.generation_pending()))); }
std::string MachineObject::StateText() { return machine().state_text(engine_.generation_pending()); }
std::string MachineObject::Policy() { return machine().policy ? machine().policy->path : ""; }

std::vector<std::string> MachineObject::PolicyErrors() {
    std::vector<std::string> errors;
    for (const Diagnostic& diagnostic : machine().policy_errors) errors.push_back(to_string(diagnostic));
    return errors;
}

std::vector<std::string> MachineObject::Gpus() {
    std::vector<std::string> uuids;
    if (machine().is_granted())
        for (const Gpu& gpu : machine().planned.gpus) uuids.push_back(gpu.uuid);
    return uuids;
}

std::string MachineObject::Generation() { return machine().exposed ? machine().exposed->generation : ""; }
std::string MachineObject::Unit() { return machine().instance ? machine().instance->unit : ""; }
std::string MachineObject::Verdict() { return std::string(to_string(machine().verdict.result)); }
std::string MachineObject::VerdictText() { return machine().verdict.summary; }
std::uint64_t MachineObject::LastSelfTest() { return machine().tested_usec; }

std::vector<sdbus::Struct<std::string, std::string, double, std::string>> MachineObject::Checks() {
    std::vector<sdbus::Struct<std::string, std::string, double, std::string>> checks;
    for (const Check& check : machine().verdict.checks)
        checks.emplace_back(check.name, std::string(to_string(check.result)), check.milliseconds, check.detail);
    return checks;
}

void MachineObject::emit_changes() {
    const std::map<std::string, std::string> now{{"State", State()},
                                                 {"StateText", StateText()},
                                                 {"Policy", Policy()},
                                                 {"PolicyErrors", fmt::format("{}", fmt::join(PolicyErrors(), "\n"))},
                                                 {"Gpus", fmt::format("{}", fmt::join(Gpus(), "\n"))},
                                                 {"Generation", Generation()},
                                                 {"Unit", Unit()},
                                                 {"Verdict", Verdict()},
                                                 {"VerdictText", VerdictText()},
                                                 {"Checks", fmt::format("{}", LastSelfTest())},
                                                 {"LastSelfTest", fmt::format("{}", LastSelfTest())}};
    std::vector<sdbus::PropertyName> changed;
    for (const auto& [name, text] : now)
        if (const auto place = sent_.find(name); place == sent_.end() || place->second != text)
            changed.emplace_back(name);
    const bool first = sent_.empty();
    sent_ = now;
    if (!changed.empty() && !first)
        getObject().emitPropertiesChangedSignal(sdbus::InterfaceName(org::cudanspawn1::Machine_adaptor::INTERFACE_NAME),
                                                changed);
}

// --- Gpu -------------------------------------------------------------------------------------------------------------

GpuObject::GpuObject(sdbus::IConnection& connection, Engine& engine, Gpu gpu)
    : AdaptorInterfaces(connection, gpu_path(gpu.uuid.empty() ? gpu.pci_address : gpu.uuid)),
      engine_(engine),
      gpu_(std::move(gpu)) {
    registerAdaptor();
    emitInterfacesAddedSignal();
}

GpuObject::~GpuObject() {
    remove_quietly(*this);
    unregisterAdaptor();
}

std::vector<std::string> GpuObject::Machines() {
    std::vector<std::string> names;
    for (const auto& [name, machine] : engine_.machines())
        for (const Gpu& gpu : machine.planned.gpus)
            if (machine.is_granted() && gpu == gpu_) names.push_back(name);
    return names;
}

void GpuObject::emit_changes() {
    std::vector<std::string> now = Machines();
    if (now == sent_) return;
    sent_ = std::move(now);
    getObject().emitPropertiesChangedSignal(sdbus::InterfaceName(org::cudanspawn1::Gpu_adaptor::INTERFACE_NAME),
                                            {sdbus::PropertyName("Machines")});
}

// --- Job -------------------------------------------------------------------------------------------------------------

JobObject::JobObject(sdbus::IConnection& connection, Engine& engine, unsigned id)
    : AdaptorInterfaces(connection, job_path(id)), engine_(engine), id_(id) {
    registerAdaptor();
    emitInterfacesAddedSignal();
}

JobObject::~JobObject() {
    remove_quietly(*this);
    unregisterAdaptor();
}

void JobObject::emit_changes() {
    getObject().emitPropertiesChangedSignal(
        sdbus::InterfaceName(org::cudanspawn1::Job_adaptor::INTERFACE_NAME),
        {sdbus::PropertyName("State"), sdbus::PropertyName("Result"), sdbus::PropertyName("Text")});
}

}  // namespace cuda_nspawn::bus
