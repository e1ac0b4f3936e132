// cuda-nspawnctl audit
#include <fmt/format.h>

#include <algorithm>

#include "ctl/command/commands.hpp"
#include "ctl/command/findings.hpp"
#include "ctl/output.hpp"

namespace cuda_nspawn::ctl {

namespace {

std::string codes_of(const Json& findings) {
    std::string codes;
    for (const Json& finding : findings) {
        if (!codes.empty()) codes += ' ';
        codes += coloured(colour_of_severity(finding["severity"]), finding["code"].get<std::string>());
    }
    return codes.empty() ? "-" : codes;
}

}  // namespace

int audit(const Arguments& arguments) {
    Bus bus;
    const Value answer =
        bus.call(manager(), "Audit", {Options{{"images", arguments.has("images")}}}, as_long_as_it_takes);
    auto machines = Json::array();
    for (const Value& machine : answer.at(0))
        machines.push_back({{"machine", machine.at(0)},
                            {"image", machine.at(1)},
                            {"guest", machine.at(2)},
                            {"policy", machine.at(3)},
                            {"findings", findings_json(machine.at(4))}});
    const bool failed = std::ranges::any_of(machines, [](const Json& one) { return has_error(one["findings"]); });
    if (print_json(arguments, machines)) return failed ? 1 : 0;
    Table table({"MACHINE", "POLICY", "GUEST", "FINDINGS"});
    for (const Json& machine : machines) {
        const std::string guest = harmless(machine["guest"].get<std::string>());
        table.add({{harmless(machine["machine"].get<std::string>())},
                   {machine["policy"].get<bool>() ? "yes" : "no"},
                   {guest.empty() ? "-" : guest},
                   {codes_of(machine["findings"])}});
    }
    fmt::print("{}", table.text(!arguments.has("no-legend")));
    if (!arguments.has("no-legend"))
        fmt::print("\n{} images. Of one machine: cuda-nspawnctl diagnose MACHINE\n", machines.size());
    return failed ? 1 : 0;
}

}  // namespace cuda_nspawn::ctl
