// cuda-nspawnctl verify
#include <fmt/format.h>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"

namespace cuda_nspawn::ctl {

int verify(const Arguments& arguments) {
    Bus bus;
    const Value generations = bus.call(manager(), "VerifyStore", {}, as_long_as_it_takes).at(0);
    auto list = Json::array();
    bool sound = true;
    for (const Value& generation : generations) {
        list.push_back({{"generation", generation.at(0)}, {"result", generation.at(1)}, {"text", generation.at(2)}});
        sound = sound && generation.at(1) != "damaged";
    }
    if (print_json(arguments, list)) return sound ? 0 : 1;
    for (const Json& generation : list) {
        const std::string result = generation["result"];
        const std::string found = harmless(generation["text"].get<std::string>());
        const Colour colour = result == "intact" ? Colour::green : result == "damaged" ? Colour::red : Colour::yellow;
        fmt::print("{}: {}{}{}\n", generation["generation"].get<std::string>(), coloured(colour, result),
                   found.empty() ? "" : ": ", found);
    }
    if (list.empty()) fmt::print("no generation is in use\n");
    return sound ? 0 : 1;
}

}  // namespace cuda_nspawn::ctl
