// The verbs that Manager and Machine share: the policy read again, options in, a job, and the answer at the right
// moment.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bus/options.hpp"
#include "engine/engine.hpp"

namespace cuda_nspawn::bus {

using BusChanges = std::vector<sdbus::Struct<std::string, std::string, std::string>>;
using PathAnswer = sdbus::Result<sdbus::ObjectPath>;
using PlanResult = sdbus::Result<BusChanges>;
using CancelAnswer = sdbus::Result<>;
using JobAnswer = sdbus::Result<sdbus::ObjectPath, BusChanges>;
using TestAnswer = sdbus::Result<sdbus::ObjectPath, std::string, std::string>;
// Machine, process on the host, process in the machine, name, nodes.
using BusHolder = sdbus::Struct<std::string, std::uint32_t, std::uint32_t, std::string, std::vector<std::string>>;
using HoldersAnswer = sdbus::Result<std::vector<BusHolder>>;

// Code, severity, text, evidence, where to mend it, how, what it explains, documentation.
using BusFinding = sdbus::Struct<std::string, std::string, std::string, std::vector<std::string>, std::string,
                                 std::string, std::vector<std::string>, std::string>;
using FindingsAnswer = sdbus::Result<std::vector<BusFinding>>;
// Machine, image, guest, whether it has a policy, findings.
using BusAudited = sdbus::Struct<std::string, std::string, std::string, bool, std::vector<BusFinding>>;
using AuditAnswer = sdbus::Result<std::vector<BusAudited>>;

// Generation, result, what was found.
using StoreAnswer = sdbus::Result<std::vector<sdbus::Struct<std::string, std::string, std::string>>>;

// What the verbs ask of the host; the loop's owner knows how.
struct HostVerbs {
    std::function<void()> look_at_driver;
    std::function<void()> look_at_driver_soon;              // when there is nothing but waiting for systemd
    std::function<void(const std::string& cause)> refresh;  // that, and verifies what all machines have
    std::function<void(std::function<void(const StoreReport&, const std::string& failure)>)> verify_store;
    std::function<void()> reload;
    std::function<void()> rest;  // what was just done took much memory that nobody needs any more
    // As if that machine's file had that text.
    std::function<PolicyResult(const std::string& machine, const std::string& text)> parse_policy;
    // Reads one machine's policy again, so that a file written a moment ago counts.
    std::function<void(const std::string& machine)> reread;
};

class Verbs {
public:
    Verbs(Engine& engine, HostVerbs host) : engine_(engine), host_(std::move(host)) {}

    const HostVerbs& host() const { return host_; }
    void plan(PlanResult&& result, const std::string& machine, Options options);
    void attach(JobAnswer&& result, const std::string& machine, Options options);
    void detach(JobAnswer&& result, const std::string& machine, Options options);
    void self_test(TestAnswer&& result, const std::string& machine, Options options);
    void cancel(CancelAnswer&& result, unsigned job);
    void diagnose(FindingsAnswer&& result, const std::string& machine, Options options);
    void audit(AuditAnswer&& result, Options options);
    void list_holders(HoldersAnswer&& result, const std::string& machine);

private:
    Engine& engine_;
    HostVerbs host_;
};

// Throws InvalidName.
void check_name(const std::string& machine);

sdbus::ObjectPath machine_path(const std::string& machine);
sdbus::ObjectPath gpu_path(const std::string& uuid);
sdbus::ObjectPath job_path(unsigned id);

}  // namespace cuda_nspawn::bus
