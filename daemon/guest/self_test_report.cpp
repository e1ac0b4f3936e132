#include "guest/self_test_report.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include <nlohmann/json.hpp>

#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

using Json = nlohmann::json;

constexpr std::size_t longest_output = std::size_t{1024} * 1024;
constexpr std::size_t longest_line = 4096;
constexpr std::size_t longest_name = 32;
constexpr std::size_t longest_detail = 512;
constexpr std::size_t most_checks = 64;
constexpr std::size_t most_gpus = 256;
constexpr std::size_t most_lines = 4096;
constexpr double most_milliseconds = 24.0 * 3600 * 1000;

std::optional<CheckResult> parse_result(std::string_view text) {
    for (auto result : {CheckResult::passed, CheckResult::failed, CheckResult::skipped, CheckResult::degraded}) {
        if (to_string(result) == text) return result;
    }
    return std::nullopt;
}

int severity(CheckResult result) {
    switch (result) {
        case CheckResult::failed:
            return 3;
        case CheckResult::degraded:
            return 2;
        case CheckResult::skipped:
            return 1;
        case CheckResult::passed:
            return 0;
    }
    return 3;
}

bool is_check_name(std::string_view name) {
    return !name.empty() && name.size() <= longest_name && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    });
}

// The member as a string, nothing when it is absent or of another type.
const std::string* string_member(const Json& object, const char* key) {
    auto found = object.find(key);
    return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

double milliseconds_member(const Json& object) {
    auto found = object.find("ms");
    if (found == object.end() || !found->is_number()) return 0;
    double value = found->get<double>();
    return std::isfinite(value) && value >= 0 ? std::min(value, most_milliseconds) : 0;
}

std::optional<Check> parse_check(const Json& object) {
    const std::string* name = string_member(object, "check");
    const std::string* result_text = string_member(object, "result");
    if (name == nullptr || result_text == nullptr || !is_check_name(*name)) return std::nullopt;
    auto result = parse_result(*result_text);
    if (!result) return std::nullopt;
    const std::string* detail = string_member(object, "detail");
    return Check{*name, *result, milliseconds_member(object), detail ? printable(*detail, longest_detail) : ""};
}

bool add_check(SelfTestReport& report, Check check) {
    auto same = std::ranges::find(report.checks, check.name, &Check::name);
    if (same != report.checks.end()) {
        if (severity(check.result) > severity(same->result)) *same = std::move(check);
        return true;
    }
    if (report.checks.size() >= most_checks) return false;
    report.checks.push_back(std::move(check));
    return true;
}

bool add_gpu(SelfTestReport& report, std::string_view text) {
    std::string uuid = normalized_uuid(text);
    if (uuid.empty() || report.gpu_uuids.size() >= most_gpus) return false;
    auto place = std::ranges::lower_bound(report.gpu_uuids, uuid);
    if (place == report.gpu_uuids.end() || *place != uuid) report.gpu_uuids.insert(place, std::move(uuid));
    return true;
}

bool add_capability(SelfTestReport& report, std::string_view text) {
    constexpr std::size_t longest = 5;  // "12.10"
    constexpr std::size_t most = 16;
    const std::size_t dot = text.find('.');
    const auto is_number = [](std::string_view part) {
        return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    };
    if (text.size() > longest || dot == std::string_view::npos || !is_number(text.substr(0, dot)) ||
        !is_number(text.substr(dot + 1)) || report.capabilities.size() >= most)
        return false;
    auto place = std::ranges::lower_bound(report.capabilities, text);
    if (place == report.capabilities.end() || *place != text) report.capabilities.emplace(place, text);
    return true;
}

// Whether the line was one of those that are known.
bool take_line(SelfTestReport& report, std::string_view line) {
    if (line.size() > longest_line || report.ended) return false;
    // Bytes that are no UTF-8 would make the parser drop the line, and a failure with it.
    Json object = Json::parse(printable(line, 3 * longest_line), nullptr, false);
    if (!object.is_object()) return false;
    if (object.contains("check")) {
        auto check = parse_check(object);
        return check && add_check(report, std::move(*check));
    }
    if (const std::string* uuid = string_member(object, "gpu")) return add_gpu(report, *uuid);
    if (const std::string* capability = string_member(object, "capability")) return add_capability(report, *capability);
    // Said for who runs the self-test by hand; the checks have it too.
    if (object.contains("library") || object.contains("cuda")) return true;
    auto end = object.find("end");
    if (end == object.end() || *end != true) return false;
    report.ended = true;
    return true;
}

}  // namespace

std::string normalized_uuid(std::string_view text) {
    constexpr std::string_view shape = "GPU-00000000-0000-0000-0000-000000000000";
    if (text.size() != shape.size()) return "";
    std::string uuid(shape);
    for (std::size_t i = 0; i < shape.size(); ++i) {
        char c = text[i];
        char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        bool hex = (lower >= '0' && lower <= '9') || (lower >= 'a' && lower <= 'f');
        if (shape[i] == '0') {
            if (!hex) return "";
            uuid[i] = lower;
        } else if (c != shape[i] && !(i < 3 && c == shape[i] - 'A' + 'a')) {
            return "";
        }
    }
    return uuid;
}

SelfTestReport parse_self_test(std::string_view output) {
    SelfTestReport report;
    output = output.substr(0, longest_output);
    for (std::size_t lines = 0; !output.empty() && lines < most_lines; ++lines) {
        std::size_t end = std::min(output.find('\n'), output.size());
        std::string_view line = output.substr(0, end);
        output.remove_prefix(std::min(end + 1, output.size()));
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        if (!take_line(report, line)) ++report.unknown_lines;
    }
    return report;
}

}  // namespace cuda_nspawn
