// All objects on the bus, kept in step with the engine.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "bus/authority.hpp"
#include "bus/log_control.hpp"
#include "bus/machine_objects.hpp"
#include "bus/objects.hpp"
#include "bus/option_check.hpp"
#include "engine/ports.hpp"

namespace cuda_nspawn::bus {

// Where messages for the journal and work for the next turn of the loop go; the bus knows neither.
struct Surroundings {
    std::function<void(const Message&)> message;
    std::function<void(std::function<void()>)> defer;
    std::function<void()> changed;  // something did; called once per turn
    LogSettings log_settings;
};

class Service final : public Observer {
public:
    explicit Service(Surroundings surroundings) : surroundings_(std::move(surroundings)) {}

    // Until then changes are only gathered. Requests the name when all objects are there.
    // `bus` is what the connection is made of.
    void open(sdbus::IConnection& connection, sd_bus* bus, Engine& engine, HostVerbs verbs);

    void machine_added(const std::string& machine) override;
    void machine_changed(const std::string& machine) override;
    void machine_removed(const std::string& machine) override;
    void driver_changed() override;
    void job_added(unsigned id) override;
    void job_changed(unsigned id) override;
    void job_ended(unsigned id) override;
    void job_forgotten(unsigned id) override;
    void message(const Message& message) override;

private:
    void flush_later();
    void announce_jobs();
    void flush();
    void update_gpus();
    void note(const MachineObjects::Others& others);

    Surroundings surroundings_;
    sdbus::IConnection* connection_ = nullptr;
    Engine* engine_ = nullptr;
    std::optional<Verbs> verbs_;
    std::optional<Authority> authority_;
    std::optional<OptionCheck> option_check_;
    std::optional<LogControl> log_control_;
    std::unique_ptr<ManagerObject> manager_;
    std::optional<MachineObjects> machines_;
    std::map<std::string, std::unique_ptr<GpuObject>> gpus_;
    std::map<unsigned, std::unique_ptr<JobObject>> jobs_;
    std::set<std::string> changed_machines_;
    std::set<unsigned> new_jobs_;        // by id: not on the bus yet
    std::set<unsigned> regranted_gpus_;  // by minor: some machine got it or has it no more
    bool manager_changed_ = false;       // maybe: what the manager shows
    bool driver_changed_ = false;
    bool flush_scheduled_ = false;
};

}  // namespace cuda_nspawn::bus
