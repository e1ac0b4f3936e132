// cuda-nspawnctl attach
#include <fmt/format.h>

#include "ctl/command/commands.hpp"
#include "ctl/command/or_detach.hpp"
#include "ctl/job_call.hpp"
#include "ctl/output.hpp"

namespace cuda_nspawn::ctl {

int attach(const Arguments& arguments) {
    if (arguments.has("or-detach")) detach_at_termination(arguments.machine());
    Options options{{"wait", true}};
    for (const std::string flag : {"start", "test", "fresh"})
        if (arguments.has(flag)) options[flag] = true;
    Bus bus;
    const Value answer = call_job(bus, "Attach", arguments.machine(), options);
    const Json changes = changes_json(answer.at(1));
    const Value machine = machine_properties(bus, arguments.machine());
    const std::string state_text = text(machine, "StateText");
    if (!print_json(arguments, {{"machine", arguments.machine()},
                                {"state", text(machine, "State")},
                                {"text", state_text},
                                {"changes", changes}})) {
        print_changes(changes);
        fmt::print("{}: {}\n", arguments.machine(), state_text);
    }
    tell_systemd(state_text);
    return 0;
}

}  // namespace cuda_nspawn::ctl
