// The objects on the bus: one class per interface of org.cudanspawn1.xml, but for Machine, of which there may be a
// thousand (machine_objects.hpp). They show the engine's state and hold none.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bus/authority.hpp"
#include "bus/org.cudanspawn1-adaptor.hpp"
#include "bus/verbs.hpp"
#include "engine/engine.hpp"

namespace cuda_nspawn::bus {

// Cancels a job once the caller is known to be allowed to do what the job does.
void cancel(Engine& engine, Verbs& verbs, Authority& authority, CancelAnswer&& result, unsigned job);

class ManagerObject final
    : public sdbus::AdaptorInterfaces<org::cudanspawn1::Manager_adaptor, sdbus::ObjectManager_adaptor> {
public:
    ManagerObject(sdbus::IConnection& connection, Engine& engine, Verbs& verbs, Authority& authority);
    ~ManagerObject();
    // PropertiesChanged for those that differ from what was sent last.
    void emit_changes();

private:
    std::vector<sdbus::Struct<std::string, std::string, sdbus::ObjectPath>> ListMachines() override;
    void GetMachine(PathAnswer&& result, std::string name) override;
    void Plan(PlanResult&& result, std::string name, Options options) override {
        call(Action::inspect, name, &Verbs::plan, std::move(result), std::move(options));
    }
    void Attach(JobAnswer&& result, std::string name, Options options) override {
        call(Action::apply, name, &Verbs::attach, std::move(result), std::move(options));
    }
    void Detach(JobAnswer&& result, std::string name, Options options) override {
        call(Action::apply, name, &Verbs::detach, std::move(result), std::move(options));
    }
    void SelfTest(TestAnswer&& result, std::string name, Options options) override {
        call(Action::self_test, name, &Verbs::self_test, std::move(result), std::move(options));
    }
    void CancelJob(CancelAnswer&& result, std::uint32_t id) override {
        cancel(engine_, verbs_, authority_, std::move(result), id);
    }
    void Diagnose(FindingsAnswer&& result, std::string name, Options options) override {
        call(Action::inspect, name, &Verbs::diagnose, std::move(result), std::move(options));
    }
    void Audit(AuditAnswer&& result, Options options) override;
    void ListHolders(HoldersAnswer&& result, std::string machine) override;
    void Refresh(sdbus::Result<>&& result, Options options) override;
    void VerifyStore(StoreAnswer&& result) override;
    void Reload(sdbus::Result<>&& result) override;
    std::string Version() override;
    std::string KernelVersion() override { return engine_.driver().kernel_version; }
    std::string DriverVersion() override { return engine_.driver().userspace_version; }
    std::string Generation() override { return engine_.generation(); }
    std::string PendingVersion() override { return engine_.pending_version(); }
    std::vector<std::string> Generations() override { return engine_.generations_in_use(); }
    std::string CudaVersion() override;
    std::vector<std::string> Warnings() override;

    // A verb about one machine, once its caller is known to be allowed to.
    template <class Answer>
    void call(Action action, const std::string& machine, void (Verbs::*verb)(Answer&&, const std::string&, Options),
              Answer&& result, Options options) {
        check_name(machine);
        const auto answer = std::make_shared<Answer>(std::move(result));
        authority_.authorize(action, machine, [this, verb, answer, machine, options = std::move(options)] {
            (verbs_.*verb)(std::move(*answer), machine, options);
        });
    }

    Engine& engine_;
    Verbs& verbs_;
    Authority& authority_;
    std::map<std::string, std::vector<std::string>> sent_;  // what the properties were, by name
};

class GpuObject final : public sdbus::AdaptorInterfaces<org::cudanspawn1::Gpu_adaptor, sdbus::ManagedObject_adaptor,
                                                        sdbus::Properties_adaptor> {
public:
    GpuObject(sdbus::IConnection& connection, Engine& engine, Gpu gpu);
    ~GpuObject();
    void emit_machines_changed();
    const Gpu& gpu() const { return gpu_; }

private:
    std::string Uuid() override { return gpu_.uuid; }
    std::uint32_t Index() override { return gpu_.index; }
    std::uint32_t Minor() override { return gpu_.minor; }
    std::string PciAddress() override { return gpu_.pci_address; }
    std::string Model() override { return gpu_.model; }
    std::vector<std::string> Machines() override;

    Engine& engine_;
    Gpu gpu_;
};

class JobObject final : public sdbus::AdaptorInterfaces<org::cudanspawn1::Job_adaptor, sdbus::ManagedObject_adaptor,
                                                        sdbus::Properties_adaptor> {
public:
    JobObject(sdbus::IConnection& connection, Engine& engine, Verbs& verbs, Authority& authority, unsigned id);
    ~JobObject();
    void emit_changes();

private:
    const Job& job() const { return engine_.jobs().at(id_); }
    // Those that change, as text.
    std::map<std::string, std::string> shown();
    void Cancel(CancelAnswer&& result) override { cancel(engine_, verbs_, authority_, std::move(result), id_); }
    std::uint32_t Id() override { return id_; }
    std::string Machine() override { return job().machine; }
    std::string Kind() override { return std::string(to_string(job().kind)); }
    std::string State() override { return std::string(to_string(job().state)); }
    std::string Result() override { return std::string(to_string(job().result)); }
    std::uint32_t Step() override { return job().step; }
    std::uint32_t Steps() override { return job().steps; }
    std::string Text() override { return job().text; }

    Engine& engine_;
    Verbs& verbs_;
    Authority& authority_;
    unsigned id_;
    std::map<std::string, std::string> sent_;
};

}  // namespace cuda_nspawn::bus
