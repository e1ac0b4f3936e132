// cuda-nspawnctl plan
#include <stdexcept>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/policy_text.hpp"

namespace cuda_nspawn::ctl {

namespace {

std::string policy_text(const std::string& path) {
    const auto text = read_policy_text(path);
    if (const auto* unreadable = std::get_if<Diagnostic>(&text)) throw std::runtime_error(to_string(*unreadable));
    return std::get<std::string>(text);
}

Options options_of(const Arguments& arguments) {
    Options options{{"diff", true}};
    if (arguments.has("detach")) options["verb"] = "detach";
    if (arguments.has("start")) options["start"] = true;
    if (arguments.has("without-policy")) options["without_policy"] = true;
    if (arguments.has("policy")) options["policy"] = policy_text(arguments.value("policy"));
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
