// cuda-nspawnctl detach
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ctl/command/commands.hpp"
#include "ctl/holding.hpp"
#include "ctl/job_call.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"
#include "plan/plan.hpp"

namespace cuda_nspawn::ctl {

namespace {

constexpr const char* systemd = "org.freedesktop.systemd1";

// Whether systemd has a job for the unit, which for a machine that runs is its stop.
bool has_job(Bus& bus, const std::string& unit) {
    std::string path;
    try {
        path = bus.call({systemd, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"}, "GetUnit", {unit})
                   .at(0);
    } catch (const BusError&) {
        return false;  // not loaded
    }
    const Value job = bus.call({systemd, path, "org.freedesktop.DBus.Properties"}, "Get",
                               {std::string("org.freedesktop.systemd1.Unit"), std::string("Job")});
    return job.at(0).at(0) != 0;
}

// When the machine itself is being stopped there is nothing to take from it: taking would only slow the stop down, and
// a daemon that is being started waits for that stop, so it is not even asked. One that has nothing because something
// is in the way gets it when that is mended: the daemon stopped our unit, no admin.
bool has_nothing_to_take(Bus& bus, const std::string& machine) {
    if (has_job(bus, nspawn_unit(machine)) || has_job(bus, scope_unit(machine))) return true;
    const Value properties = machine_properties(bus, machine);
    return text(properties, "Unit").empty() || text(properties, "State") == "blocked";
}

struct Kept {
    std::vector<std::string> sentences;  // one for each process that keeps what was just taken
    Json holders = Json::array();
};

// Detaching worked, whatever becomes of the question.
Kept who_keeps_it(Bus& bus, const std::string& machine, std::chrono::microseconds limit) {
    Kept kept;
    try {
        kept.holders = holders_of(bus, machine, limit);
        for (const Json& holder : kept.holders)
            kept.sentences.push_back(fmt::format(
                "still open in pid {} ({}): {}: it keeps the GPU until it closes it "
                "or ends",
                holder["pid"].get<unsigned>(), holder["name"].get<std::string>(), joined(holder["devices"], " ")));
    } catch (const BusError& error) {
        fmt::print(stderr, "Who keeps the GPU open is not known: {}\n", error.what());
    }
    return kept;
}

void tell_systemd_who(const std::string& machine, std::vector<std::string> sentences) {
    constexpr std::size_t most_in_status = 8;
    if (sentences.size() > most_in_status) {
        sentences.resize(most_in_status);
        sentences.push_back(fmt::format("and more: cuda-nspawnctl holders {}", machine));
    }
    sentences.insert(sentences.begin(), "detached");
    tell_systemd(fmt::format("{}", fmt::join(sentences, "; ")));
}

}  // namespace

int detach(const Arguments& arguments) {
    const std::string& machine = arguments.machine();
    const bool by_unit = arguments.has("unless-stopping");
    const bool offline = arguments.has("offline");
    if (by_unit && offline)
        throw WrongUsage{"--offline is for a machine that does not run, --unless-stopping for one that does."};
    Bus bus;
    if (by_unit && has_nothing_to_take(bus, machine)) return 0;
    const Options options = offline ? Options{{"offline", true}} : Options{{"wait", true}, {"by_unit", by_unit}};
    const Json changes = changes_json(call_job(bus, "Detach", machine, options).at(1));
    if (!wants_json(arguments)) print_changes(changes);
    // One that does not run need not have a policy.
    const Value properties = offline ? Value::object() : machine_properties(bus, machine);
    Kept kept;
    if (text(properties, "State") == "detached") {
        // A unit that stops is killed after ten seconds.
        kept = who_keeps_it(bus, machine, by_unit ? std::chrono::seconds(5) : time_to_ask);
        tell_systemd_who(machine, kept.sentences);
    }
    if (!print_json(arguments, {{"machine", machine},
                                {"state", text(properties, "State")},
                                {"text", text(properties, "StateText")},
                                {"changes", changes},
                                {"holders", kept.holders}}))
        for (const std::string& sentence : kept.sentences) fmt::print("{}\n", sentence);
    return 0;
}

}  // namespace cuda_nspawn::ctl
