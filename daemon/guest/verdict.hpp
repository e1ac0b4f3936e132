// What the self-test found in the guest. Its output is the guest's word: hostile input, parsed with bounds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

enum class CheckResult { passed, failed, skipped, degraded };
enum class VerdictResult { none, passed, degraded, failed, no_verdict };

struct Check {
    std::string name;  // [a-z0-9-], at most 32
    CheckResult result = CheckResult::skipped;
    double milliseconds = 0;
    std::string detail;  // printable UTF-8, at most 512 bytes
    bool operator==(const Check&) const = default;
};

struct Verdict {
    VerdictResult result = VerdictResult::none;
    std::string summary;                 // one line; on failure the cause and the way out
    std::vector<Check> checks;           // at most 64
    std::vector<std::string> gpu_uuids;  // what the guest saw, sorted
    double milliseconds = 0;
    // Compute capabilities of these GPUs as CUDA says, "9.0", each once; empty: the test did not say.
    std::vector<std::string> capabilities = {};
    bool operator==(const Verdict&) const = default;
};

std::string_view to_string(CheckResult value);
std::string_view to_string(VerdictResult value);

// How the test program ended, seen by the host.
// overtaken: what the host gives the machine changed meanwhile, so the rest would say nothing.
enum class TestEnd { exited, timed_out, flooded, killed, overtaken, not_started };
struct TestRun {
    TestEnd end = TestEnd::exited;
    int exit_status = 0;  // or the signal's number when killed
    std::string output;   // JSON lines, at most the worker's cap
    std::string reason;   // for not_started: a sentence
    double milliseconds = 0;
};

// granted: UUIDs the machine was given. Output format: docs/self-test.md (one JSON object a line:
// {"check":NAME,"result":"passed|failed|skipped|degraded","ms":N,"detail":TEXT} and {"gpu":UUID}; last {"end":true}).
Verdict judge(const TestRun& run, const std::vector<std::string>& granted);

}  // namespace cuda_nspawn
