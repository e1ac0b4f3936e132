// The verbs that Manager and Machine share: options in, a job, and the answer at the right moment.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <cstdint>
#include <string>
#include <vector>

#include "bus/options.hpp"
#include "engine/engine.hpp"

namespace cuda_nspawn::bus {

using BusChanges = std::vector<sdbus::Struct<std::string, std::string, std::string>>;
using PlanResult = sdbus::Result<BusChanges>;
using JobAnswer = sdbus::Result<sdbus::ObjectPath, BusChanges>;
using TestAnswer = sdbus::Result<sdbus::ObjectPath, std::string, std::string>;
// Machine, process on the host, process in the machine, name, nodes.
using BusHolder = sdbus::Struct<std::string, std::uint32_t, std::uint32_t, std::string, std::vector<std::string>>;
using HoldersAnswer = sdbus::Result<std::vector<BusHolder>>;

// Generation, result, what was found.
using StoreAnswer = sdbus::Result<std::vector<sdbus::Struct<std::string, std::string, std::string>>>;

void plan(Engine& engine, PlanResult&& result, const std::string& machine, Options options);
void attach(Engine& engine, JobAnswer&& result, const std::string& machine, Options options);
void detach(Engine& engine, JobAnswer&& result, const std::string& machine, Options options);
void self_test(Engine& engine, TestAnswer&& result, const std::string& machine, Options options);
void list_holders(Engine& engine, HoldersAnswer&& result, const std::string& machine);

sdbus::ObjectPath machine_path(const std::string& machine);
sdbus::ObjectPath gpu_path(const std::string& uuid);
sdbus::ObjectPath job_path(unsigned id);

}  // namespace cuda_nspawn::bus
