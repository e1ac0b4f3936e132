// cuda-nspawnctl holders
#include <fmt/format.h>

#include "ctl/command/commands.hpp"
#include "ctl/holding.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"

namespace cuda_nspawn::ctl {

int holders(const Arguments& arguments) {
    Bus bus;
    const Json found = holders_of(bus, arguments.words.empty() ? "" : arguments.machine());
    if (print_json(arguments, found)) return 0;
    if (found.empty()) {
        fmt::print("nobody holds a GPU open\n");
        return 0;
    }
    Table table({"MACHINE", "PID", "PID-IN-MACHINE", "NAME", "DEVICES"}, {1, 2});
    for (const Json& holder : found) {
        const std::string machine = holder["machine"];
        table.add({{machine.empty() ? "-" : machine},
                   {fmt::format("{}", holder["pid"].get<unsigned>())},
                   {fmt::format("{}", holder["pid_in_machine"].get<unsigned>())},
                   {holder["name"].get<std::string>()},
                   {joined(holder["devices"], " ")}});
    }
    print_table(arguments, table);
    return 0;
}

}  // namespace cuda_nspawn::ctl
