// What daemon and the two workers of a diagnosis write to each other, as in protocol.hpp: `survey` looks at the host,
// `examine` into the root file systems of machines.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/evidence.hpp"

namespace cuda_nspawn {

struct SurveyRequest {
    std::vector<std::string> machines;
    bool logs = true;  // of the machines' units too
};
std::string to_json(const SurveyRequest& request);
SurveyRequest parse_survey_request(std::string_view text);

struct SurveyReport {
    HostEvidence host;
    std::map<std::string, MachineEvidence> machines;
};
std::string to_json(const SurveyReport& report);
SurveyReport parse_survey_report(std::string_view text);

struct ExamineRequest {
    std::vector<std::string> machines;  // empty: of all images, and what did not change since is taken from the cache
    bool images = false;                // raw ones too
    std::string program;                // in the only machine; empty: none is asked about
    std::optional<std::string> library_path;  // LD_LIBRARY_PATH of that program
};
std::string to_json(const ExamineRequest& request);
ExamineRequest parse_examine_request(std::string_view text);

struct Examined {
    std::string path;  // of the image; empty: there is none
    std::optional<Guest> guest;
    std::optional<GuestSoftware> software;
    std::optional<Program> program;
    std::string failure;  // why it was not looked into
    bool operator==(const Examined&) const = default;
};
std::string to_json(const Examined& examined);
Examined parse_examined(std::string_view text);

using ExamineReport = std::map<std::string, Examined>;  // by machine
std::string to_json(const ExamineReport& report);
ExamineReport parse_examine_report(std::string_view text);

}  // namespace cuda_nspawn
