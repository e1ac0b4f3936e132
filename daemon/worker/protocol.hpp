// What daemon and workers write to each other: JSON each way, by files or sockets in /run/cuda-nspawn/work. A report
// ends with a newline, so that one which was cut off is known for it. Pure: text in, data out. The parsers throw
// std::runtime_error with a sentence; a worker refuses the whole request then. The self-test's request and report are
// in enter_protocol.hpp.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ports.hpp"

namespace cuda_nspawn {

// The list of device rules that systemd keeps in a file for a unit, as it was before we asked for the first change and
// since then: /run/systemd/system.control/UNIT.d/50-DeviceAllow.conf.
struct ControlFile {
    bool existed = false;           // an admin's set-property had made one before
    std::vector<std::string> own;   // the unit's own rules then, "PATH ACCESS"
    std::vector<std::string> ours;  // the paths that we have ever added
    bool operator==(const ControlFile&) const = default;
};
std::string to_json(const ControlFile& file);
ControlFile parse_control_file(std::string_view text);

struct ExposeRequest {
    std::vector<Plan> plans;
    bool dry_run = false;
    std::map<std::string, ControlFile> releases;  // by unit: what we caused goes, what an admin set stays
    bool diff = false;                            // details of changes to text files are their unified diffs
};
std::string to_json(const ExposeRequest& request);
ExposeRequest parse_expose_request(std::string_view text);

using ExposeReport = std::map<std::string, Exposed>;  // by machine
std::string to_json(const ExposeReport& report);
ExposeReport parse_expose_report(std::string_view text);

// Of look, mount and clean.
std::string look_request(const std::vector<std::string>& machines);
std::vector<std::string> parse_look_request(std::string_view text);
using LookReport = std::map<std::string, Image>;  // by machine; unit_problems are not the worker's to know
std::string to_json(const LookReport& report);
LookReport parse_look_report(std::string_view text);

struct StoreRequest {
    std::string build;              // generation to build; empty: none
    std::vector<std::string> keep;  // all others are collected
    bool verify = false;            // those that are kept
};
std::string to_json(const StoreRequest& request);
StoreRequest parse_store_request(std::string_view text);
std::string to_json(const StoreReport& report);  // of what was verified
StoreReport parse_store_report(std::string_view text);

std::string to_json(const HoldersRequest& request);
HoldersRequest parse_holders_request(std::string_view text);
std::string to_json(const Mounted& report);
Mounted parse_mounted_report(std::string_view text);

std::string to_json(const Cleaned& report);
Cleaned parse_cleaned_report(std::string_view text);
std::string to_json(const Holders& report);
Holders parse_holders_report(std::string_view text);

// Any verb's failure as a whole: {"failure": SENTENCE}.
std::string failure_report(const std::string& sentence);
// The sentence, or empty if the report is none of a failure.
std::string parse_failure(std::string_view text);

}  // namespace cuda_nspawn
