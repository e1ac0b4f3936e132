#include "doctor/diagnose.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "doctor/catalogue.hpp"
#include "doctor/rules.hpp"

namespace cuda_nspawn {

namespace {

// Of one code the worst comes first; a stable sort keeps the order in which a rule found them.
void put_in_order(Findings& findings) {
    std::ranges::stable_sort(findings, [](const Finding& left, const Finding& right) {
        return std::pair(left.severity, rank_of(left.code)) < std::pair(right.severity, rank_of(right.code));
    });
}

// Each finding that another one explains goes, and is named by that, with what it explains itself. A cause is as severe
// as its worst consequence.
Findings fold(const Findings& findings) {
    std::vector<std::size_t> cause_of(findings.size(), findings.size());
    for (std::size_t i = 0; i < findings.size(); ++i)
        for (std::size_t j = 0; j < findings.size() && cause_of[i] == findings.size(); ++j)
            if (explains(findings[j].code, findings[i].code)) cause_of[i] = j;
    Findings folded;
    for (std::size_t i = 0; i < findings.size(); ++i) {
        if (cause_of[i] != findings.size()) continue;
        Finding& cause = folded.emplace_back(findings[i]);
        for (std::size_t j = 0; j < findings.size(); ++j) {
            std::size_t first = j;
            while (cause_of[first] != findings.size()) first = cause_of[first];
            if (j == i || first != i) continue;
            cause.consequences.push_back(fmt::format("{}: {}", findings[j].code, findings[j].text));
            cause.severity = std::min(cause.severity, findings[j].severity);
        }
    }
    return folded;
}

Findings in_order(Findings findings) {
    put_in_order(findings);
    Findings folded = fold(findings);
    put_in_order(folded);
    return folded;
}

std::string without_period(std::string text) {
    while (text.ends_with('.')) text.pop_back();
    return text;
}

std::string_view introduction(FixPlace where) {
    switch (where) {
        case FixPlace::none:
            return "";
        case FixPlace::host:
            return "On the host: ";
        case FixPlace::machine:
            return "In the machine: ";
        case FixPlace::policy:
            return "In the policy: ";
    }
    return "";
}

}  // namespace

Findings diagnose(const Evidence& evidence) {
    Findings findings;
    find_in_policy(evidence, findings);
    // What nobody wishes for needs no explanation.
    if (evidence.policy && evidence.policy->wants_gpus()) {
        find_in_host(evidence, findings);
        find_in_settings(evidence, findings);
        find_in_running(evidence, findings);
    }
    find_in_image(evidence, findings);
    find_in_guest(evidence, findings);
    find_in_program(evidence, findings);
    find_in_cuda(evidence, findings);
    if (evidence.policy && evidence.policy->wants_gpus()) find_in_verdict(evidence, findings);  // what is left
    return in_order(std::move(findings));
}

Findings diagnose_guest(const Evidence& evidence) {
    Findings findings;
    find_in_image(evidence, findings);
    find_in_guest(evidence, findings);
    find_in_cuda(evidence, findings);
    return in_order(std::move(findings));
}

std::string explain(const std::string& failure, const Findings& findings) {
    if (findings.empty() || findings.front().severity != FindingSeverity::error) return failure;
    const Finding& cause = findings.front();
    const std::string sentence = without_period(cause.text);
    std::string text = without_period(failure);
    if (text.find(sentence) == std::string::npos) text += fmt::format(". Cause: {}", sentence);
    return fmt::format("{}. {}{} [{}]", text, introduction(cause.where), cause.fix, cause.code);
}

}  // namespace cuda_nspawn
