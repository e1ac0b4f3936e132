#include "bus/objects.hpp"

#include <fmt/format.h>

#include <utility>

#include "bus/errors.hpp"
#include "doctor/cuda_table.hpp"
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

// PropertiesChanged for those that are not as they were sent last.
template <class Object, class Shown>
void emit_changed(Object& object, const char* interface, Shown& sent, Shown shown) {
    std::vector<sdbus::PropertyName> changed;
    for (const auto& [name, value] : shown)
        if (const auto before = sent.find(name); before == sent.end() || before->second != value)
            changed.emplace_back(name);
    sent = std::move(shown);
    if (!changed.empty()) object.getObject().emitPropertiesChangedSignal(sdbus::InterfaceName(interface), changed);
}

}  // namespace

// --- Manager ---------------------------------------------------------------------------------------------------------

ManagerObject::ManagerObject(sdbus::IConnection& connection, Engine& engine, Verbs& verbs, Authority& authority)
    : AdaptorInterfaces(connection, sdbus::ObjectPath(std::string(names::root_object))),
      engine_(engine),
      verbs_(verbs),
      authority_(authority) {
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

// Everybody may ask this: only for root a file is read, so that one written a moment ago counts.
void ManagerObject::GetMachine(PathAnswer&& result, std::string name) {
    check_name(name);
    if (engine_.machines().contains(name)) return result.returnResults(machine_path(name));
    const auto answer = std::make_shared<PathAnswer>(std::move(result));
    authority_.identify([this, answer, name](bool is_root) {
        if (is_root) verbs_.host().reread(name);
        try {
            answer->returnResults(machine_path(engine_.machine(name).name));
        } catch (const JobRefused& refused) {
            throw error(refused);
        }
    });
}

void ManagerObject::Audit(AuditAnswer&& result, Options options) {
    const auto answer = std::make_shared<AuditAnswer>(std::move(result));
    authority_.authorize(Action::inspect, "",
                         [this, answer, options = std::move(options)] { verbs_.audit(std::move(*answer), options); });
}

void ManagerObject::ListHolders(HoldersAnswer&& result, std::string machine) {
    if (!machine.empty()) check_name(machine);
    const auto answer = std::make_shared<HoldersAnswer>(std::move(result));
    authority_.authorize(Action::inspect, machine,
                         [this, answer, machine] { verbs_.list_holders(std::move(*answer), machine); });
}

void ManagerObject::Refresh(sdbus::Result<>&& result, Options options) {
    constexpr std::size_t longest_cause = 200;  // it stands in a line of the journal
    OptionReader reader(std::move(options));
    const std::string cause = printable(reader.take_string("cause", "refresh"), longest_cause);
    reader.finish();
    const auto answer = std::make_shared<sdbus::Result<>>(std::move(result));
    authority_.authorize(Action::refresh, "", [this, answer, cause] {
        verbs_.host().refresh(cause);
        answer->returnResults();
    });
}

void ManagerObject::VerifyStore(StoreAnswer&& result) {
    const auto answer = std::make_shared<StoreAnswer>(std::move(result));
    const auto reply = [answer](const StoreReport& report, const std::string& failure) {
        if (!failure.empty()) return answer->returnError(error("Failed", failure));
        std::vector<sdbus::Struct<std::string, std::string, std::string>> list;
        for (const StoredGeneration& stored : report) list.emplace_back(stored.generation, stored.result, stored.text);
        answer->returnResults(list);
    };
    authority_.authorize(Action::refresh, "", [this, reply] { verbs_.host().verify_store(reply); });
}

void ManagerObject::Reload(sdbus::Result<>&& result) {
    const auto answer = std::make_shared<sdbus::Result<>>(std::move(result));
    authority_.authorize(Action::refresh, "", [this, answer] {
        verbs_.host().reload();
        answer->returnResults();
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

std::string ManagerObject::CudaVersion() {
    const auto newest = cuda_of_driver(engine_.driver().userspace_version);
    return newest ? to_string(*newest) : "";
}

void ManagerObject::emit_changes() {
    const std::map<std::string, std::vector<std::string>> shown{{"KernelVersion", {KernelVersion()}},
                                                                {"DriverVersion", {DriverVersion()}},
                                                                {"PendingVersion", {PendingVersion()}},
                                                                {"Generation", {Generation()}},
                                                                {"Generations", Generations()},
                                                                {"CudaVersion", {CudaVersion()}},
                                                                {"Warnings", Warnings()}};
    emit_changed(*this, org::cudanspawn1::Manager_adaptor::INTERFACE_NAME, sent_, shown);
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

// What is no running job's is refused without asking anybody.
void cancel(Engine& engine, Verbs& verbs, Authority& authority, CancelAnswer&& result, unsigned job) {
    const auto place = engine.jobs().find(job);
    if (place == engine.jobs().end() || place->second.state == JobState::ended)
        return verbs.cancel(std::move(result), job);
    const Action action = place->second.kind == JobKind::self_test ? Action::self_test : Action::apply;
    const auto answer = std::make_shared<CancelAnswer>(std::move(result));
    authority.authorize(action, place->second.machine,
                        [&verbs, answer, job] { verbs.cancel(std::move(*answer), job); });
}

JobObject::JobObject(sdbus::IConnection& connection, Engine& engine, Verbs& verbs, Authority& authority, unsigned id)
    : AdaptorInterfaces(connection, job_path(id)), engine_(engine), verbs_(verbs), authority_(authority), id_(id) {
    registerAdaptor();
    sent_ = shown();
    emitInterfacesAddedSignal();
}

JobObject::~JobObject() {
    remove_quietly(*this);
    unregisterAdaptor();
}

std::map<std::string, std::string> JobObject::shown() {
    return {{"State", State()},
            {"Result", Result()},
            {"Step", std::to_string(Step())},
            {"Steps", std::to_string(Steps())},
            {"Text", Text()}};
}

void JobObject::emit_changes() { emit_changed(*this, org::cudanspawn1::Job_adaptor::INTERFACE_NAME, sent_, shown()); }

}  // namespace cuda_nspawn::bus
