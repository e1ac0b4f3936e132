// The objects on the bus: one class per interface of org.cudanspawn1.xml, but for Machine, of which there may be a
// thousand (machine_objects.hpp). They show the engine's state and hold none.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bus/org.cudanspawn1-adaptor.hpp"
#include "bus/verbs.hpp"
#include "engine/engine.hpp"

namespace cuda_nspawn::bus {

class ManagerObject final
    : public sdbus::AdaptorInterfaces<org::cudanspawn1::Manager_adaptor, sdbus::ObjectManager_adaptor> {
public:
    ManagerObject(sdbus::IConnection& connection, Engine& engine, Verbs& verbs);
    ~ManagerObject();
    void emit_driver_changed();

private:
    std::vector<sdbus::Struct<std::string, std::string, sdbus::ObjectPath>> ListMachines() override;
    sdbus::ObjectPath GetMachine(const std::string& name) override;
    void Plan(PlanResult&& result, std::string name, Options options) override {
        verbs_.plan(std::move(result), name, std::move(options));
    }
    void Attach(JobAnswer&& result, std::string name, Options options) override {
        verbs_.attach(std::move(result), name, std::move(options));
    }
    void Detach(JobAnswer&& result, std::string name, Options options) override {
        verbs_.detach(std::move(result), name, std::move(options));
    }
    void SelfTest(TestAnswer&& result, std::string name, Options options) override {
        verbs_.self_test(std::move(result), name, std::move(options));
    }
    void Diagnose(FindingsAnswer&& result, std::string name, Options options) override {
        verbs_.diagnose(std::move(result), name, std::move(options));
    }
    void Audit(AuditAnswer&& result, Options options) override { verbs_.audit(std::move(result), std::move(options)); }
    void ListHolders(HoldersAnswer&& result, std::string machine) override {
        verbs_.list_holders(std::move(result), machine);
    }
    void Refresh(const Options& options) override;
    void VerifyStore(StoreAnswer&& result) override;
    void Reload() override { verbs_.host().reload(); }
    std::string Version() override;
    std::string KernelVersion() override { return engine_.driver().kernel_version; }
    std::string DriverVersion() override { return engine_.driver().userspace_version; }
    std::string Generation() override { return engine_.generation(); }
    std::string PendingVersion() override { return engine_.pending_version(); }
    std::vector<std::string> Warnings() override;

    Engine& engine_;
    Verbs& verbs_;
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
    JobObject(sdbus::IConnection& connection, Engine& engine, unsigned id);
    ~JobObject();
    void emit_changes();

private:
    const Job& job() const { return engine_.jobs().at(id_); }
    std::uint32_t Id() override { return id_; }
    std::string Machine() override { return job().machine; }
    std::string Kind() override { return std::string(to_string(job().kind)); }
    std::string State() override { return std::string(to_string(job().state)); }
    std::string Result() override { return std::string(to_string(job().result)); }
    std::string Text() override { return job().text; }

    Engine& engine_;
    unsigned id_;
};

}  // namespace cuda_nspawn::bus
