// The machine's settings file, its unit, and what its last start left in the journal.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "doctor/remedies.hpp"
#include "doctor/rules.hpp"
#include "driver/catalogue.hpp"
#include "plan/settings_merge.hpp"

namespace cuda_nspawn {

namespace {

std::string at(const std::string& path, unsigned line) { return fmt::format("{}:{}", path, line); }

// What keeps the machine from starting or working is worth a start; anything else has time until its next one.
std::string at_once(const Evidence& evidence, FindingSeverity severity) {
    if (severity != FindingSeverity::error) return "";
    // Files of ours have to follow what was changed before the machine starts; an attach sees to that.
    if (!evidence.running) return fmt::format(" && systemctl start {}", our_unit(evidence.machine));
    return fmt::format(" && cuda-nspawnctl attach {} && systemctl restart {}", evidence.machine,
                       nspawn_unit(evidence.machine));
}

// Not deleted, so that the other lines keep their numbers, which other fixes name. (systemctl revert would take the
// admin's other drop-ins, too.)
std::string comment_out(const std::string& path, unsigned line) {
    return fmt::format("sed -i '{}s/^/#/' {}", line, shell_word(path));
}

// --- the settings file -----------------------------------------------------------------------------------------------

void find_broken(const Evidence& evidence, Findings& findings) {
    if (evidence.expose_errors.empty()) return;
    const bool collides = std::ranges::any_of(evidence.expose_errors, [](const std::string& error) {
        return error.find("where cuda-nspawn") != std::string::npos ||
               error.find("SYSTEMD_UNIT_PATH") != std::string::npos;
    });
    findings.push_back({.code = collides ? "settings-collide" : "settings-broken",
                        .text = fmt::format("{}", fmt::join(evidence.expose_errors, "; ")),
                        .evidence = evidence.expose_errors,
                        .fix = collides ? "Take that line out of the settings file; cuda-nspawn says the same in its "
                                          "own"
                                        : "Mend that line: systemd.nspawn(5)"});
}

bool is_node(std::string_view path) { return path.starts_with("/dev/nvidia"); }

// "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/nvidia/current" is none.
bool is_library_directory(std::string_view path) {
    constexpr std::array directories{"/lib",
                                     "/lib64",
                                     "/lib/x86_64-linux-gnu",
                                     "/usr/lib",
                                     "/usr/lib64",
                                     "/usr/lib32",
                                     "/usr/lib/x86_64-linux-gnu",
                                     "/usr/local/lib",
                                     "/usr/local/lib64"};
    return std::ranges::any_of(directories, [&](std::string_view one) { return path == one; });
}

bool is_library(std::string_view path) {
    const std::string_view name = path.substr(path.rfind('/') + 1);
    return name.starts_with("lib") && (name.ends_with(".so") || name.find(".so.") != std::string_view::npos);
}

bool is_of_driver(std::string_view path) { return parse_library_name(path.substr(path.rfind('/') + 1)).has_value(); }

std::optional<Finding> finding_of(const Evidence& evidence, const SettingsBind& bind) {
    const std::string place = at(evidence.on_host.settings.path, bind.line);
    Finding finding{.evidence = {fmt::format("{}: {} on {}", place, bind.source, bind.destination)},
                    .where = FixPlace::host};
    if (!bind.is_there) {
        finding.code = "bind-source-missing";
        const bool is_driver = is_node(bind.source) || is_of_driver(bind.source);
        finding.text =
            fmt::format("{} binds {}, which is not on the host{}: the machine does not start.", place, bind.source,
                        is_driver ? " (the driver was upgraded, or its nodes were not made yet); "
                                    "cuda-nspawn gives the machine what it needs without that"
                                  : "");
    } else if (is_node(bind.source)) {
        finding.code = "node-bound-by-hand";
        finding.severity = FindingSeverity::warning;
        finding.text = fmt::format(
            "{} binds the host's node {}: the machine gets nodes of its own, and a bind keeps "
            "it from starting when the node is not there.",
            place, bind.source);
    } else if (bind.is_directory && is_library_directory(bind.destination)) {
        finding.code = "library-directory-bound";
        finding.text = fmt::format(
            "{} binds a whole directory of libraries over the guest's {}: its own programs get "
            "the host's libraries (name resolution is the first to break).",
            place, bind.destination);
    } else if (is_library(bind.destination) && !bind.destination.starts_with("/run/")) {
        finding.code = "host-library-bound";
        finding.severity = FindingSeverity::warning;
        finding.text = fmt::format(
            "{} binds the host's library {} into the guest: it needs the host's C library "
            "(GLIBC_… not found), or is of another version after the next upgrade of the driver.",
            place, bind.source);
    } else {
        return std::nullopt;
    }
    finding.fix = comment_out(evidence.on_host.settings.path, bind.line) + at_once(evidence, finding.severity);
    return finding;
}

// What CUDA cannot do without; the first word of a list that denies one of these is named.
bool is_needed_call(std::string_view word) {
    constexpr std::array needed{"ioctl",
                                "mmap",
                                "munmap",
                                "openat",
                                "open",
                                "close",
                                "read",
                                "write",
                                "poll",
                                "ppoll",
                                "eventfd2",
                                "pipe2",
                                "clone",
                                "clone3",
                                "futex",
                                "mprotect",
                                "madvise",
                                "mlock",
                                "mremap",
                                "fstat",
                                "newfstatat",
                                "readlink",
                                "getdents64",
                                "sched_setaffinity",
                                "@basic-io",
                                "@file-system",
                                "@io-event",
                                "@process",
                                "@memlock",
                                "@default",
                                "@system-service",
                                "@ipc",
                                "@signal"};
    return std::ranges::any_of(needed, [&](std::string_view one) { return one == word; });
}

std::optional<std::string> denied_call(std::string_view value) {
    if (!value.starts_with('~')) return std::nullopt;
    for (const std::string& word : split_words(value.substr(1)))
        if (std::string call = word.substr(0, word.find(':')); is_needed_call(call)) return call;
    return std::nullopt;
}

void add_denied(const Evidence& evidence, const std::string& path, unsigned line, const std::string& call,
                Findings& findings) {
    findings.push_back({.code = "system-calls-denied",
                        .text = fmt::format("{} denies the machine the system call {}, without which CUDA does not "
                                            "work.",
                                            at(path, line), call),
                        .evidence = {fmt::format("{}: SystemCallFilter", at(path, line))},
                        .where = FixPlace::host,
                        .fix = fmt::format("{}{}{}", comment_out(path, line),
                                           path.ends_with(".nspawn") ? "" : " && systemctl daemon-reload",
                                           at_once(evidence, FindingSeverity::error))});
}

void find_settings(const Evidence& evidence, Findings& findings) {
    find_broken(evidence, findings);
    const MachineEvidence& machine = evidence.on_host;
    for (const SettingsBind& bind : machine.binds)
        if (auto finding = finding_of(evidence, bind)) findings.push_back(std::move(*finding));
    for (const Setting& setting : machine.settings_lines)
        if (setting.section == "Exec" && setting.key == "SystemCallFilter")
            if (const auto call = denied_call(setting.value))
                add_denied(evidence, machine.settings.path, setting.line, *call, findings);
    for (const std::string& note : machine.settings_notes)
        findings.push_back(
            {.code = "settings-ignored",
             .severity = FindingSeverity::warning,
             .text = note,
             .evidence = {machine.settings.path},
             .fix =
                 fmt::format("Write what you want of it into /etc/systemd/nspawn/{}.nspawn, line by line: all that is "
                             "there is trusted, and who can write beside the image is not",
                             evidence.machine)});
}

// --- the unit --------------------------------------------------------------------------------------------------------

// "/dev/char/195:0" → 195:0
std::optional<std::pair<unsigned, unsigned>> number_of(std::string_view rule) {
    constexpr std::string_view prefix = "/dev/char/";
    if (!rule.starts_with(prefix)) return std::nullopt;
    std::pair<unsigned, unsigned> number;
    const char* end = rule.data() + rule.size();
    const auto major = std::from_chars(rule.data() + prefix.size(), end, number.first);
    if (major.ec != std::errc{} || major.ptr == end || *major.ptr != ':') return std::nullopt;
    if (std::from_chars(major.ptr + 1, end, number.second).ec != std::errc{}) return std::nullopt;
    return number;
}

// What is read before our drop-in (50-cuda-nspawn.conf) takes nothing from it. A unit's own file is read before all.
bool is_read_before_ours(std::string_view path) {
    return path.find(".d/") == std::string_view::npos || path.substr(path.rfind('/') + 1) < "50-cuda-nspawn.conf";
}

bool is_control_file(std::string_view path) { return path.find("/system.control/") != std::string_view::npos; }

// Linux: Documentation/admin-guide/devices.txt. All others have one owner, whether its module is loaded or not.
bool is_dynamic(unsigned major) { return (major >= 234 && major <= 254) || major >= 384; }

bool has_owner(const HostEvidence& host, unsigned major) {
    return std::ranges::any_of(host.majors, [&](const auto& entry) { return entry.second == major; });
}

std::string revert(const Evidence& evidence, const UnitSetting& setting, FindingSeverity severity) {
    return fmt::format("{} && systemctl daemon-reload{}", comment_out(setting.path, setting.line),
                       at_once(evidence, severity));
}

void find_rules_elsewhere(const Evidence& evidence, const UnitSetting& setting, Findings& findings) {
    const bool is_reset = setting.key == "DeviceAllow" && setting.value.empty();
    const bool is_strict = setting.key == "DevicePolicy" && setting.value == "strict";
    const bool is_private = setting.key == "PrivateDevices" && parse_boolean(setting.value) == true;
    if ((!is_reset || is_read_before_ours(setting.path)) && !is_strict && !is_private) return;
    findings.push_back(
        {.code = "device-rules-elsewhere",
         .severity = is_strict ? FindingSeverity::warning : FindingSeverity::error,
         .text = fmt::format(
             "{} says {}={}, which {}.", at(setting.path, setting.line), setting.key, setting.value,
             is_reset    ? "takes back all device rules that were set before it, the GPUs' among them"
             : is_strict ? "denies even the standard devices (null, random, pts), without which no machine starts"
                         : "hides all devices"),
         .evidence = {fmt::format("{}: {}={}", at(setting.path, setting.line), setting.key, setting.value)},
         .where = FixPlace::host,
         .fix = revert(evidence, setting, FindingSeverity::error)});
}

void find_own_rule(const Evidence& evidence, const UnitSetting& setting, Findings& findings) {
    if (setting.key != "DeviceAllow" || setting.value.empty()) return;
    const std::string rule = setting.value.substr(0, setting.value.find_first_of(" \t"));
    const std::string shown = fmt::format("{}: DeviceAllow={}", at(setting.path, setting.line), setting.value);
    if (const auto number = number_of(rule)) {
        if (!is_dynamic(number->first) || has_owner(evidence.host, number->first)) return;
        findings.push_back(
            {.code = is_control_file(setting.path) ? "rules-left-over" : "rule-has-stale-number",
             .severity = FindingSeverity::warning,
             .text = fmt::format("{} allows the device number {}:{}, which no driver of this host has: numbers change "
                                 "from boot to boot.",
                                 at(setting.path, setting.line), number->first, number->second),
             .evidence = {shown},
             .where = FixPlace::host,
             .fix = revert(evidence, setting, FindingSeverity::warning)});
        return;
    }
    if (!is_node(rule)) return;
    const auto node = std::ranges::find(evidence.host.nodes, rule, &HostNode::path);
    const bool is_absent = node == evidence.host.nodes.end();
    const bool is_late = !is_absent && evidence.running && node->changed_usec > evidence.running->since_usec;
    if (!is_absent && !is_late) return;
    findings.push_back(
        {.code = "rule-came-too-early",
         .severity = FindingSeverity::warning,
         .text = fmt::format(
             "{} allows {} by its path, and {}: systemd looks paths up once, when the unit starts. "
             "cuda-nspawn allows it by its number; that line does nothing.",
             at(setting.path, setting.line), rule,
             is_absent ? "there is no such node on the host" : "the node was made after the machine had started"),
         .evidence = {shown, is_absent ? fmt::format("{}: not there", rule)
                                       : fmt::format("{} is younger than the machine's start", rule)},
         .where = FixPlace::host,
         .fix = revert(evidence, setting, FindingSeverity::warning)});
}

void find_unit(const Evidence& evidence, Findings& findings) {
    if (evidence.image)
        for (const std::string& problem : evidence.image->unit_problems)
            findings.push_back(
                {.code = "exec-start-defeats",
                 .text = problem,
                 .evidence = {fmt::format("systemctl cat {}", nspawn_unit(evidence.machine))},
                 .fix = fmt::format("Change that drop-in as the sentence says, then: systemctl daemon-reload{}",
                                    at_once(evidence, FindingSeverity::error))});
    for (const UnitSetting& setting : evidence.on_host.unit) {
        find_rules_elsewhere(evidence, setting, findings);
        find_own_rule(evidence, setting, findings);
        if (setting.key == "SystemCallFilter")
            if (const auto call = denied_call(setting.value))
                add_denied(evidence, setting.path, setting.line, *call, findings);
    }
}

// --- its last start --------------------------------------------------------------------------------------------------

// The line that tells why; nspawn's own words before what PID 1 says of its end.
const std::string* telling_line(const std::vector<std::string>& log) {
    for (const char* word : {"exists already, refusing", "Failed to ", "Main process exited"})
        for (const std::string& line : log)
            if (line.find(word) != std::string::npos && line.find("ignoring") == std::string::npos) return &line;
    return nullptr;
}

void find_start(const Evidence& evidence, Findings& findings) {
    if (evidence.running || !evidence.start_failed) return;
    const std::string* line = telling_line(evidence.on_host.unit_log);
    if (line == nullptr) return;
    const std::string unit = nspawn_unit(evidence.machine);
    const bool after_kill = line->find("exists already, refusing") != std::string::npos;
    findings.push_back(
        {.code = after_kill ? "start-refused-after-kill" : "machine-not-started",
         .text = after_kill
                     ? fmt::format("The machine was killed, and systemd-nspawn refuses the first start after that; "
                                   "the next one works ({}).",
                                   *line)
                     : fmt::format("{} did not start: {}", unit, *line),
         .evidence = {fmt::format("journalctl -u {}: {}", unit, *line)},
         .where = after_kill ? FixPlace::host : FixPlace::none,
         .fix = after_kill ? fmt::format("systemctl start {}", our_unit(evidence.machine))
                           : fmt::format("The rest of what it said: journalctl -u {}", unit)});
}

}  // namespace

void find_in_settings(const Evidence& evidence, Findings& findings) {
    find_settings(evidence, findings);
    find_unit(evidence, findings);
    find_start(evidence, findings);
}

}  // namespace cuda_nspawn
