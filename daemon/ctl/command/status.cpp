// cuda-nspawnctl status
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"

namespace cuda_nspawn::ctl {

namespace {

// As systemctl's, which has them from the LSB.
constexpr int attached = 0;
constexpr int not_attached = 3;
constexpr int no_such_machine = 4;

std::size_t lines_wished(const Arguments& arguments) {
    std::size_t lines = 10;
    const std::string wish = arguments.value("lines");
    if (!arguments.has("lines")) return lines;
    const auto [end, error] = std::from_chars(wish.data(), wish.data() + wish.size(), lines);
    if (error != std::errc() || end != wish.data() + wish.size())
        throw WrongUsage{fmt::format("--lines is a number, and not \"{}\".", wish)};
    return lines;
}

int overview(const Arguments& arguments) {
    Bus bus;
    const Json driver = driver_json(driver_properties(bus));
    const Objects objects = get_objects(bus);
    if (wants_json(arguments)) {
        auto gpus = Json::array();
        for (const auto& [path, gpu] : objects.all("Gpu")) gpus.push_back(gpu_json(*gpu));
        print_json(arguments, {{"driver", driver}, {"gpus", gpus}, {"machines", machines_json(objects)}});
        return attached;
    }
    print_driver(driver);
    fmt::print("\n");
    print_machines(arguments, objects);
    return attached;
}

// A policy that is new counts at once, whether the daemon has seen it or not.
Value properties_of(Bus& bus, const Objects& objects, const std::string& machine) {
    const Value* known = objects.machine(machine);
    return known != nullptr ? *known : machine_properties(bus, machine);
}

bool is_unknown(const BusError& error) {
    return error.name().ends_with(".NoSuchMachine") || error.name().ends_with(".InvalidName");
}

class Statuses {
public:
    explicit Statuses(const Arguments& arguments)
        : arguments_(arguments), lines_(lines_wished(arguments)), objects_(get_objects(bus_)) {}

    int show() {
        const std::string kernel =
            wants_json(arguments_) ? "" : driver_json(driver_properties(bus_))["kernel_version"].get<std::string>();
        for (const std::string& name : arguments_.words) try {
                show(machine_json(properties_of(bus_, objects_, name), objects_), kernel);
            } catch (const BusError& error) {
                if (!is_unknown(error)) throw;
                fmt::print(stderr, "{}\n", error.what());
                worst_ = std::max(worst_, no_such_machine);
            }
        print_json(arguments_, all_);
        return worst_;
    }

private:
    void show(Json machine, const std::string& kernel) {
        if (machine["state"] != "attached") worst_ = std::max(worst_, not_attached);
        const std::vector<JournalLine> lines = last_journal_lines(machine["machine"], lines_);
        if (wants_json(arguments_)) {
            machine["journal"] = journal_json(lines);
            all_.push_back(std::move(machine));
            return;
        }
        if (shown_++ > 0) fmt::print("\n");
        print_machine(machine, kernel);
        print_journal(lines);
        if (lines.empty() && lines_ > 0 && ::geteuid() != 0)
            fmt::print("\nThe journal is readable for root and the groups adm and systemd-journal.\n");
    }

    const Arguments& arguments_;
    std::size_t lines_;
    Bus bus_;
    Objects objects_;
    Json all_ = Json::array();
    int shown_ = 0;
    int worst_ = attached;
};

}  // namespace

int status(const Arguments& arguments) {
    if (arguments.words.empty()) return overview(arguments);
    return Statuses(arguments).show();
}

}  // namespace cuda_nspawn::ctl
