#include "ctl/holding.hpp"

#include "ctl/terminal.hpp"

namespace cuda_nspawn::ctl {

Json holders_of(Bus& bus, const std::string& machine, std::chrono::microseconds limit) {
    const Value answer = bus.call(manager(), "ListHolders", {machine}, limit);
    auto list = Json::array();
    for (const Value& holder : answer.at(0))
        list.push_back({{"machine", holder.at(0)},
                        {"pid", holder.at(1)},
                        {"pid_in_machine", holder.at(2)},
                        {"name", harmless(holder.at(3).get<std::string>())},
                        {"devices", holder.at(4)}});
    return list;
}

}  // namespace cuda_nspawn::ctl
