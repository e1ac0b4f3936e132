#include "bus/service.hpp"

#include <fmt/format.h>

#include <utility>

#include "names.hpp"

namespace cuda_nspawn::bus {

void Service::open(sdbus::IConnection& connection, sd_bus* bus, Engine& engine, HostVerbs verbs) {
    connection_ = &connection;
    engine_ = &engine;
    verbs_.emplace(engine, std::move(verbs));
    authority_.emplace(bus);
    option_check_.emplace(bus);
    log_control_.emplace(bus, surroundings_.log_settings);
    manager_ = std::make_unique<ManagerObject>(connection, engine, *verbs_, *authority_);
    machines_.emplace(connection, bus, engine, *verbs_, *authority_);
    for (const auto& [name, machine] : engine.machines()) machine_added(name);
    update_gpus();
    flush();
    connection.requestName(sdbus::ServiceName(std::string(names::bus_name)));
}

void Service::machine_added(const std::string& machine) {
    if (engine_ == nullptr) return;
    machines_->add(machine);
    machine_changed(machine);
}

void Service::machine_changed(const std::string& machine) {
    changed_machines_.insert(machine);
    flush_later();
}

void Service::machine_removed(const std::string& machine) {
    if (engine_ == nullptr) return;
    note(machines_->remove(machine));
    flush_later();
}

void Service::driver_changed() {
    driver_changed_ = true;
    flush_later();
}

// What the job is for begins first. Nobody can ask for it before: this turn of the loop ends with it.
void Service::job_added(unsigned id) {
    if (engine_ == nullptr) return;
    new_jobs_.insert(id);
    flush_later();
}

void Service::announce_jobs() {
    for (const unsigned id : std::exchange(new_jobs_, {})) {
        jobs_[id] = std::make_unique<JobObject>(*connection_, *engine_, *verbs_, *authority_, id);
        const Job& job = engine_->jobs().at(id);
        manager_->emitJobNew(id, job_path(id), job.machine, std::string(to_string(job.kind)));
    }
}

void Service::job_changed(unsigned id) {
    if (const auto place = jobs_.find(id); place != jobs_.end()) place->second->emit_changes();
}

void Service::job_ended(unsigned id) {
    if (engine_ == nullptr) return;
    announce_jobs();
    flush_later();
    job_changed(id);
    const Job& job = engine_->jobs().at(id);
    manager_->emitJobRemoved(id, job_path(id), job.machine, std::string(to_string(job.result)));
}

void Service::job_forgotten(unsigned id) {
    new_jobs_.erase(id);
    jobs_.erase(id);
}

void Service::message(const Message& message) { surroundings_.message(message); }

// Several changes within one turn of the loop become one signal.
void Service::flush_later() {
    if (engine_ == nullptr || std::exchange(flush_scheduled_, true)) return;
    surroundings_.defer([this] {
        flush_scheduled_ = false;
        flush();
        surroundings_.changed();
    });
}

void Service::flush() {
    announce_jobs();
    if (driver_changed_) update_gpus();
    for (const std::string& name : std::exchange(changed_machines_, {})) note(machines_->emit_changes(name));
    const bool may_differ = std::exchange(driver_changed_, false) | std::exchange(manager_changed_, false);
    if (may_differ) manager_->emit_changes();
    for (const auto& [uuid, gpu] : gpus_)
        if (regranted_gpus_.contains(gpu->gpu().minor)) gpu->emit_machines_changed();
    regranted_gpus_.clear();
}

void Service::note(const MachineObjects::Others& others) {
    regranted_gpus_.insert(others.gpus.begin(), others.gpus.end());
    manager_changed_ = manager_changed_ || others.generations;
}

void Service::update_gpus() {
    std::map<std::string, std::unique_ptr<GpuObject>> present;
    for (const Gpu& gpu : engine_->driver().gpus) {
        const std::string key = gpu.uuid.empty() ? gpu.pci_address : gpu.uuid;
        if (const auto known = gpus_.find(key); known != gpus_.end() && known->second->gpu() == gpu)
            present[key] = std::move(known->second);
        gpus_.erase(key);
        if (!present[key]) present[key] = std::make_unique<GpuObject>(*connection_, *engine_, gpu);
    }
    gpus_ = std::move(present);
}

}  // namespace cuda_nspawn::bus
