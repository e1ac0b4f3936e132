// cuda-nspawnctl plan
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/policy_text.hpp"

namespace cuda_nspawn::ctl {

namespace {

// Mistakes are told of the file that was given; the daemon, which decides, would tell them of the machine's.
std::string policy_text(const std::string& path, const std::string& machine) {
    const auto text = read_policy_text(path);
    if (const auto* unreadable = std::get_if<Diagnostic>(&text)) throw std::runtime_error(to_string(*unreadable));
    const auto result = parse_policy_of(path, std::get<std::string>(text), machine, host_defaults());
    if (const auto* diagnostics = std::get_if<std::vector<Diagnostic>>(&result)) {
        std::vector<std::string> sentences;
        for (const Diagnostic& one : *diagnostics) sentences.push_back(to_string(one));
        throw std::runtime_error(fmt::format("{}", fmt::join(sentences, "\n")));
    }
    return std::get<std::string>(text);
}

Options options_of(const Arguments& arguments) {
    if (arguments.has("detach") && arguments.has("start"))
        throw WrongUsage{"--start is for attaching, not for --detach."};
    if (arguments.has("policy") && arguments.has("without-policy"))
        throw WrongUsage{"--policy and --without-policy contradict each other."};
    Options options{{"diff", true}};
    if (arguments.has("detach")) options["verb"] = "detach";
    if (arguments.has("start")) options["start"] = true;
    if (arguments.has("without-policy")) options["without_policy"] = true;
    if (arguments.has("policy")) {
        // Once: standard input is at its end when a daemon that went away is asked again.
        static const std::string text = policy_text(arguments.value("policy"), arguments.machine());
        options["policy"] = text;
    }
    return options;
}

}  // namespace

int plan(const Arguments& arguments) {
    constexpr int something_would_change = 3;
    Bus bus;
    const Value answer = bus.call(manager(), "Plan", {arguments.machine(), options_of(arguments)}, as_long_as_it_takes);
    const Json changes = changes_json(answer.at(0));
    if (!print_json(arguments, {{"machine", arguments.machine()},
                                {"verb", arguments.has("detach") ? "detach" : "attach"},
                                {"changes", changes}}))
        print_changes(changes);
    return changes.empty() ? 0 : something_would_change;
}

}  // namespace cuda_nspawn::ctl
