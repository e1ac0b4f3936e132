#include "bus/objects.hpp"

#include <fmt/format.h>

#include <utility>

#include "bus/errors.hpp"
#include "guest/printable.hpp"
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

ManagerObject::ManagerObject(sdbus::IConnection& connection, Engine& engine, Verbs& verbs)
    : AdaptorInterfaces(connection, sdbus::ObjectPath(std::string(names::root_object))),
      engine_(engine),
      verbs_(verbs) {
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
    if (!engine_.machines().contains(name)) verbs_.host().reread(name);
    try {
        return machine_path(engine_.machine(name).name);
    } catch (const JobRefused& refused) {
        throw error(refused);
    }
}

void ManagerObject::Refresh(const Options& options) {
    constexpr std::size_t longest_cause = 200;  // it stands in a line of the journal
    OptionReader reader(options);
    const std::string cause = reader.take_string("cause", "refresh");
    reader.finish();
    verbs_.host().refresh(printable(cause, longest_cause));
}

void ManagerObject::VerifyStore(StoreAnswer&& result) {
    const auto answer = std::make_shared<StoreAnswer>(std::move(result));
    verbs_.host().verify_store([answer](const StoreReport& report, const std::string& failure) {
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

void GpuObject::emit_machines_changed() {
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
