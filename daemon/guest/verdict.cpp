#include "guest/verdict.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

#include <fmt/format.h>

#include "guest/printable.hpp"
#include "guest/self_test_report.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_reason = 512;
constexpr std::size_t most_named_gpus = 4;

struct Judgement {
    VerdictResult result;
    std::string sentence;  // without the result's name in front
};

std::string seconds(double milliseconds) { return fmt::format("{:.1f} s", milliseconds / 1000); }

std::string name_gpus(const std::vector<std::string>& uuids) {
    std::string text;
    for (std::size_t i = 0; i < uuids.size() && i < most_named_gpus; ++i) text += (i ? ", " : "") + uuids[i];
    if (uuids.size() > most_named_gpus) text += fmt::format(" and {} more", uuids.size() - most_named_gpus);
    return text;
}

// Where the test program was when it ended.
std::string last_check(const SelfTestReport& report) {
    return report.checks.empty() ? "before its first check was done"
                                 : fmt::format("after the check '{}'", report.checks.back().name);
}

// Ends that leave nothing to judge: the host ended the test program, or it never ran.
std::optional<Judgement> judge_end(const TestRun& run, const SelfTestReport& report) {
    auto no_verdict = [](std::string sentence) { return Judgement{VerdictResult::no_verdict, std::move(sentence)}; };
    switch (run.end) {
        case TestEnd::exited:
            return std::nullopt;
        case TestEnd::timed_out:
            return no_verdict(
                fmt::format("the self-test hung {} and was killed after {}; a GPU that hangs is named in "
                            "the host's kernel log (Xid)",
                            last_check(report), seconds(run.milliseconds)));
        case TestEnd::flooded:
            return no_verdict(
                "the self-test wrote more than it may and was killed; something in the guest writes into "
                "its output");
        case TestEnd::killed:
            return no_verdict(fmt::format("the self-test was ended by signal {} {}{}", run.exit_status,
                                          last_check(report),
                                          run.exit_status == 9 ? "; look for an out-of-memory kill in the machine's "
                                                                 "cgroup"
                                                               : ""));
        case TestEnd::overtaken:
            return no_verdict("the driver or the GPUs of the machine changed while the self-test ran");
        case TestEnd::not_started: {
            std::string reason = printable(run.reason, longest_reason);
            return no_verdict(reason.empty() ? "the self-test could not be started in the guest"
                                             : fmt::format("the self-test could not be started: {}", reason));
        }
    }
    return no_verdict("the self-test ended in an unknown way");
}

const Check* first_check(const SelfTestReport& report, CheckResult result) {
    auto found = std::ranges::find(report.checks, result, &Check::result);
    return found == report.checks.end() ? nullptr : &*found;
}

std::string describe(const Check& check) {
    return check.detail.empty() ? fmt::format("{}: no detail was given", check.name)
                                : fmt::format("{}: {}", check.name, check.detail);
}

std::vector<std::string> normalized(const std::vector<std::string>& uuids) {
    std::vector<std::string> result;
    for (const std::string& uuid : uuids) {
        std::string normal = normalized_uuid(uuid);
        result.push_back(normal.empty() ? uuid : normal);
    }
    std::ranges::sort(result);
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
}

// The guest must see exactly what it was granted.
std::optional<Judgement> judge_gpus(const SelfTestReport& report, const std::vector<std::string>& granted) {
    std::vector<std::string> missing, extra;
    std::ranges::set_difference(granted, report.gpu_uuids, std::back_inserter(missing));
    std::ranges::set_difference(report.gpu_uuids, granted, std::back_inserter(extra));
    if (!extra.empty()) {
        return Judgement{
            VerdictResult::failed,
            fmt::format("devices: the guest sees {}, which the policy does not grant; something else gives "
                        "it that GPU (a Bind= or DeviceAllow= of the machine)",
                        name_gpus(extra))};
    }
    if (!missing.empty()) {
        return Judgement{VerdictResult::failed,
                         fmt::format("devices: the guest does not see {}, which the policy grants; see that nothing in "
                                     "it hides GPUs (CUDA_VISIBLE_DEVICES) and that the GPU is well (nvidia-smi on the "
                                     "host)",
                                     name_gpus(missing))};
    }
    return std::nullopt;
}

// "CUDA 13.0" from the version check's detail; a summary without it is complete too.
std::string cuda_version(const SelfTestReport& report) {
    for (const Check& check : report.checks) {
        std::size_t at = check.name == "version" ? check.detail.find("CUDA ") : std::string::npos;
        if (at == std::string::npos) continue;
        std::string_view text = std::string_view(check.detail).substr(at);
        std::size_t end = text.find_first_not_of("0123456789.", 5);
        text = text.substr(0, end);
        while (text.ends_with('.')) text.remove_suffix(1);
        if (text.size() > 5) return fmt::format(", {}", text.substr(0, 16));
    }
    return "";
}

Judgement judge_report(const TestRun& run, const SelfTestReport& report, const std::vector<std::string>& granted) {
    if (const Check* failed = first_check(report, CheckResult::failed)) {
        return {VerdictResult::failed, describe(*failed)};
    }
    if (!report.ended) {
        return {VerdictResult::no_verdict,
                fmt::format("the self-test ended early, with exit status {} after {} check(s)", run.exit_status,
                            report.checks.size())};
    }
    if (run.exit_status != 0) {
        return {VerdictResult::failed,
                fmt::format("the self-test ended with exit status {} and named no failed check", run.exit_status)};
    }
    if (auto wrong_gpus = judge_gpus(report, granted)) return *wrong_gpus;
    if (const Check* degraded = first_check(report, CheckResult::degraded)) {
        return {VerdictResult::degraded, describe(*degraded)};
    }
    if (first_check(report, CheckResult::passed) == nullptr) {
        return {VerdictResult::no_verdict, "the self-test ran no check"};
    }
    std::size_t count = granted.size();
    return {VerdictResult::passed,
            fmt::format("{} GPU{}{}, {:.0f} ms", count, count == 1 ? "" : "s", cuda_version(report), run.milliseconds)};
}

}  // namespace

std::string_view to_string(CheckResult value) {
    switch (value) {
        case CheckResult::passed:
            return "passed";
        case CheckResult::failed:
            return "failed";
        case CheckResult::skipped:
            return "skipped";
        case CheckResult::degraded:
            return "degraded";
    }
    return "";
}

std::string_view to_string(VerdictResult value) {
    switch (value) {
        case VerdictResult::none:
            return "none";
        case VerdictResult::passed:
            return "passed";
        case VerdictResult::degraded:
            return "degraded";
        case VerdictResult::failed:
            return "failed";
        case VerdictResult::no_verdict:
            return "no-verdict";
    }
    return "";
}

Verdict judge(const TestRun& run, const std::vector<std::string>& granted) {
    SelfTestReport report = parse_self_test(run.output);
    auto judgement = judge_end(run, report);
    if (!judgement) judgement = judge_report(run, report, normalized(granted));

    std::string_view word =
        judgement->result == VerdictResult::no_verdict ? "no verdict" : to_string(judgement->result);
    Verdict verdict;
    verdict.result = judgement->result;
    verdict.summary = fmt::format("{}: {}", word, judgement->sentence);
    if (verdict.result == VerdictResult::no_verdict && report.unknown_lines > 0) {
        verdict.summary += fmt::format(" ({} line(s) of its output were not understood)", report.unknown_lines);
    }
    verdict.checks = std::move(report.checks);
    verdict.gpu_uuids = std::move(report.gpu_uuids);
    verdict.capabilities = std::move(report.capabilities);
    verdict.milliseconds = run.milliseconds;
    return verdict;
}

}  // namespace cuda_nspawn
