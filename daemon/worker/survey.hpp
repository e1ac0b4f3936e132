// The worker `survey`: what the host shows to who looks, for a diagnosis. Reads, needs no capability, and looks into no
// machine.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "doctor/evidence.hpp"

namespace cuda_nspawn {

struct SurveyHost {
    std::filesystem::path root = "/";
    std::filesystem::path proc = "/proc";
    std::filesystem::path sys = "/sys";
    std::filesystem::path dev = "/dev";
    // Lines of the journal: of the kernel, and of a unit.
    std::function<std::vector<std::string>()> kernel_log;
    std::function<std::vector<std::string>(const std::string& unit)> unit_log;
};
SurveyHost real_host();

HostEvidence survey_host(const SurveyHost& host);
MachineEvidence survey_machine(const SurveyHost& host, const std::string& machine);
void survey_settings(const SurveyHost& host, const std::string& machine, MachineEvidence& evidence);

// The lines of a unit file that have to do with devices and system calls: DeviceAllow, DevicePolicy, PrivateDevices,
// SystemCallFilter of [Service]. Pure.
std::vector<UnitSetting> parse_unit_file(std::string_view path, std::string_view text);

}  // namespace cuda_nspawn
