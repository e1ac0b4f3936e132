// The machine while it runs: mounts, device rules, nodes; and what its verdict says that nothing else explains.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/rules.hpp"

namespace cuda_nspawn {

namespace {

std::vector<std::string> missing_rules(const RunningEvidence& running) {
    std::vector<std::string> missing;
    for (const DeviceNode& node : running.wanted) {
        const std::string rule = device_rule(node);
        const bool is_there = std::ranges::any_of(running.device_rules, [&](const std::string& one) {
            return one.starts_with(rule + " ") || one.starts_with(fmt::format("/dev/{} ", node.name));
        });
        if (!is_there) missing.push_back(fmt::format("{} (/dev/{})", rule, node.name));
    }
    return missing;
}

std::string fresh(const Evidence& evidence) {
    return fmt::format("cuda-nspawnctl attach --fresh --test {}", evidence.machine);
}

// What blocks the machine has a rule, but for the odd case.
void find_obstacles(const Evidence& evidence, Findings& findings) {
    if (std::ranges::any_of(findings, [](const Finding& one) { return one.severity == FindingSeverity::error; }))
        return;
    std::vector<std::string> obstacles = evidence.obstacles.host;
    obstacles.insert(obstacles.end(), evidence.obstacles.guest.begin(), evidence.obstacles.guest.end());
    for (const std::string& obstacle : obstacles)
        findings.push_back({.code = "blocked",
                            .text = obstacle,
                            .evidence = {fmt::format("State of {}: blocked", evidence.machine)},
                            .fix = "Do what the sentence says, or cuda-nspawnctl refresh where that was done already"});
}

bool is_bad(const Verdict& verdict) {
    return verdict.result == VerdictResult::failed || verdict.result == VerdictResult::no_verdict;
}

}  // namespace

void find_in_running(const Evidence& evidence, Findings& findings) {
    if (!evidence.running || !evidence.policy || !evidence.policy->wants_gpus()) return;
    const RunningEvidence& running = *evidence.running;
    if (evidence.detached) {
        findings.push_back({.code = "detached",
                            .text = "The machine's GPUs were taken from it (systemctl stop, Detach or on_failure: "
                                    "detach), until it starts again or is attached.",
                            .evidence = {fmt::format("State of {}: detached", evidence.machine)},
                            .where = FixPlace::host,
                            .fix = fmt::format("systemctl start {}", our_unit(evidence.machine))});
        return;
    }
    if (!running.mounted)
        findings.push_back({.code = "mounts-missing",
                            .text = "The machine runs without cuda-nspawn's two mounts: it was started without our "
                                    "settings, or they were taken away in it.",
                            .evidence = {fmt::format("{} has no /run/cuda-nspawn", running.unit)},
                            .where = FixPlace::host,
                            .fix = fresh(evidence)});
    if (const auto missing = missing_rules(running); !missing.empty()) {
        findings.push_back({.code = "rule-missing",
                            .text = fmt::format("The device rules of {} lack {}: somebody took them back, and opening "
                                                "the device fails with EPERM.",
                                                running.unit, fmt::join(missing, ", ")),
                            .evidence = {fmt::format("DeviceAllow={}", fmt::join(running.device_rules, " "))},
                            .where = FixPlace::host,
                            .fix = fresh(evidence)});
        for (const Check& check : evidence.verdict.checks)
            if (check.name == "init" && check.result == CheckResult::failed)
                findings.back().evidence.push_back(fmt::format("self-test: init: {}", check.detail));
    }
}

void find_in_verdict(const Evidence& evidence, Findings& findings) {
    const Verdict& verdict = evidence.verdict;
    std::vector<std::string> checks;
    for (const Check& check : verdict.checks)
        if (check.result == CheckResult::failed || check.result == CheckResult::degraded)
            checks.push_back(fmt::format("{}: {}: {}", check.name, to_string(check.result), check.detail));
    if (verdict.result == VerdictResult::degraded)
        findings.push_back({.code = "gpu-busy",
                            .severity = FindingSeverity::warning,
                            .text = verdict.summary,
                            .evidence = checks,
                            .fix = "See who uses the GPU and in which mode it is: nvidia-smi and cuda-nspawnctl "
                                   "holders on the host"});
    if (is_bad(verdict))
        findings.push_back({.code = verdict.result == VerdictResult::failed ? "self-test-failed" : "no-verdict",
                            .text = verdict.summary,
                            .evidence = checks.empty() ? std::vector<std::string>{verdict.summary} : checks,
                            .where = FixPlace::host,
                            .fix = fresh(evidence)});
    find_obstacles(evidence, findings);
    if (!evidence.failure.empty())
        findings.push_back({.code = "step-failed",
                            .text = evidence.failure,
                            .evidence = {fmt::format("journalctl -u {}", our_unit(evidence.machine))},
                            .where = FixPlace::host,
                            .fix = fresh(evidence)});
}

}  // namespace cuda_nspawn
