#include "worker/enter_protocol.hpp"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "guest/printable.hpp"
#include "names.hpp"

namespace cuda_nspawn {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceNode, name, major, minor)

namespace {

using Json = nlohmann::json;

constexpr std::size_t longest_sentence = 400;
constexpr std::size_t most_sentences = 16;
constexpr std::array levels{SelfTestLevel::off, SelfTestLevel::quick, SelfTestLevel::full};
constexpr std::array<std::pair<TestEnd, std::string_view>, 6> ends{{{TestEnd::exited, "exited"},
                                                                    {TestEnd::timed_out, "timed-out"},
                                                                    {TestEnd::flooded, "flooded"},
                                                                    {TestEnd::killed, "killed"},
                                                                    {TestEnd::overtaken, "overtaken"},
                                                                    {TestEnd::not_started, "not-started"}}};

SelfTestLevel parse_level(const std::string& text) {
    for (SelfTestLevel level : levels)
        if (to_string(level) == text) return level;
    throw std::runtime_error(fmt::format("unknown self-test level '{}'", text));
}

TestEnd parse_end(const std::string& text) {
    for (const auto& [end, word] : ends)
        if (word == text) return end;
    throw std::runtime_error(fmt::format("unknown end of a self-test '{}'", text));
}

std::string_view to_word(TestEnd value) {
    for (const auto& [end, word] : ends)
        if (end == value) return word;
    return "not-started";
}

// The test's output is whatever a guest wrote, UTF-8 or not.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"; }

template <class Read>
auto parse(std::string_view text, std::string_view what, Read read) {
    try {
        return read(Json::parse(text));
    } catch (const Json::exception& error) {
        throw std::runtime_error(fmt::format("{} cannot be read: {}", what, error.what()));
    }
}

}  // namespace

std::string to_json(const TestRequest& request) {
    return dump({{"machine", request.machine},
                 {"level", std::string(to_string(request.level))},
                 {"nodes", request.nodes},
                 {"granted", request.granted},
                 {"epoch", request.epoch}});
}

TestRequest parse_enter_request(std::string_view text) {
    return parse(text, "the request", [](const Json& json) {
        TestRequest request;
        json.at("machine").get_to(request.machine);
        request.level = parse_level(json.at("level").get<std::string>());
        json.at("nodes").get_to(request.nodes);
        json.at("granted").get_to(request.granted);
        json.at("epoch").get_to(request.epoch);
        return request;
    });
}

std::string to_json(const Tested& report) {
    const TestRun& run = report.run;
    return dump({{"run",
                  {{"end", std::string(to_word(run.end))},
                   {"exit_status", run.exit_status},
                   {"output", run.output},
                   {"reason", run.reason},
                   {"milliseconds", run.milliseconds}}},
                 {"violations", report.violations}});
}

Tested parse_enter_report(std::string_view text) {
    return parse(text, "the report", [](const Json& json) {
        Tested report;
        const Json& run = json.at("run");
        report.run.end = parse_end(run.at("end").get<std::string>());
        run.at("exit_status").get_to(report.run.exit_status);
        run.at("output").get_to(report.run.output);
        run.at("reason").get_to(report.run.reason);
        run.at("milliseconds").get_to(report.run.milliseconds);
        json.at("violations").get_to(report.violations);
        return report;
    });
}

std::optional<SetupState> parse_setup_state(std::string_view text) {
    constexpr std::string_view first = "epoch=";
    if (!text.starts_with(first)) return std::nullopt;
    SetupState state;
    const auto end = std::from_chars(text.data() + first.size(), text.data() + text.size(), state.epoch);
    if (end.ec != std::errc() || end.ptr == text.data() + text.size() || *end.ptr != '\n') return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end.ptr - text.data()) + 1);
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
        auto take = [&](std::string_view word, std::vector<std::string>& list) {
            if (line.starts_with(word) && list.size() < most_sentences)
                list.push_back(printable(line.substr(word.size()), longest_sentence));
        };
        take("note: ", state.notes);
        take("error: ", state.errors);
    }
    return state;
}

bool shows_our_mounts(std::string_view mountinfo, dev_t machines) {
    const std::string ours = fmt::format("{}:{}", major(machines), minor(machines));
    bool has_directory = false;
    bool has_store = false;
    std::istringstream lines{std::string(mountinfo)};
    for (std::string line; std::getline(lines, line);) {
        std::string id, parent, file_system, directory, place;
        std::istringstream(line) >> id >> parent >> file_system >> directory >> place;
        // The last one on a place is the one to be seen.
        if (place == names::guest_directory) has_directory = file_system == ours;
        if (place == names::guest_store) has_store = true;
    }
    return has_directory && has_store;
}

unsigned root_in_map(std::string_view uid_map) {
    std::istringstream lines{std::string(uid_map)};
    for (unsigned inside, outside, length; lines >> inside >> outside >> length;)
        if (inside == 0 && length > 0) return outside;
    return 0;
}

std::string setup_check_line(const SetupState& state, double milliseconds) {
    const bool failed = !state.errors.empty();
    const std::vector<std::string>& sentences = failed ? state.errors : state.notes;
    return dump({{"check", "set-up"},
                 {"result", failed ? "failed" : "passed"},
                 {"ms", milliseconds},
                 {"detail", sentences.empty() ? "" : sentences.front()}});
}

std::vector<std::string> isolation_violations(const std::vector<DeviceNode>& nodes, const std::vector<int>& errors,
                                              const std::vector<DeviceNode>& granted) {
    std::vector<std::string> violations;
    for (std::size_t i = 0; i < nodes.size() && i < errors.size(); ++i) {
        const DeviceNode& node = nodes[i];
        // The cgroup's rules deny with EPERM and before a driver is asked; any other answer came through an open door.
        const bool denied = errors[i] == EPERM;
        const bool wanted = std::ranges::any_of(
            granted, [&](const DeviceNode& other) { return other.major == node.major && other.minor == node.minor; });
        if (denied && wanted)
            violations.push_back(
                fmt::format("/dev/{} is granted, but the machine's device rules deny {}:{}; see "
                            "DeviceAllow= in systemctl show of its unit",
                            node.name, node.major, node.minor));
        if (!denied && !wanted)
            violations.push_back(
                fmt::format("/dev/{} ({}:{}) opens in the machine and is not granted; look for a "
                            "DeviceAllow= or DevicePolicy= of its unit",
                            node.name, node.major, node.minor));
    }
    return violations;
}

}  // namespace cuda_nspawn
