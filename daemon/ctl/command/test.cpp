// cuda-nspawnctl test
#include "ctl/command/commands.hpp"
#include "ctl/job_call.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"

namespace cuda_nspawn::ctl {

int test(const Arguments& arguments) {
    if (arguments.has("quick") && arguments.has("full"))
        throw WrongUsage{"test is either --quick or --full, and not both."};
    Options options{{"wait", true}};
    for (const std::string level : {"quick", "full"})
        if (arguments.has(level)) options["level"] = level;
    Bus bus;
    const Value answer = call_job(bus, "SelfTest", arguments.machine(), options);
    const Objects objects = get_objects(bus);
    const Value* known = objects.machine(arguments.machine());
    const Json machine =
        machine_json(known != nullptr ? *known : machine_properties(bus, arguments.machine()), objects);
    if (!print_json(arguments, machine))
        print_machine(machine, driver_json(driver_properties(bus))["kernel_version"].get<std::string>());
    return answer.at(1) == "passed" ? 0 : 1;
}

}  // namespace cuda_nspawn::ctl
