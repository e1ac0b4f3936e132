#include "system/live_ports.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "driver/generation.hpp"
#include "names.hpp"
#include "plan/settings.hpp"
#include "system/files.hpp"
#include "system/log.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn {

namespace fs = std::filesystem;

// --- look ------------------------------------------------------------------------------------------------------------

void LivePorts::look(const std::string& machine, Reply<Looked> reply) {
    gather(looks_, {machine, std::move(reply)}, &LivePorts::send_looks);
}

void LivePorts::send_looks() {
    const auto items = std::exchange(looks_.items, {});
    std::vector<std::string> machines;
    for (const auto& [machine, reply] : items) machines.push_back(machine);
    workers_.run("look", look_request(machines), [this, items](const std::string& report, std::string failure) {
        LookReport images;
        try {
            if (failure.empty()) images = parse_look_report(report);
        } catch (const std::exception& error) {
            failure = error.what();
        }
        for (const auto& [machine, reply] : items) {
            Looked looked{{}, failure};
            if (const auto place = images.find(machine); place != images.end())
                looked.image = place->second;
            else if (failure.empty())
                looked.failure = "the worker did not report on this machine";
            looked.image.boots_systemd =
                looked.image.settings_boot.value_or(true) && (!looked.image.guest || looked.image.guest->has_systemd);
            if (looked.failure.empty() && has_unit_overrides(machine))
                read_unit(machine, std::move(looked), reply);
            else
                reply(std::move(looked));
        }
        send_next(looks_, &LivePorts::send_looks);
    });
}

// Whether anything but systemd's own template and our drop-ins defines the machine's unit. Asking PID 1 to load a
// thousand units that nobody changed would be the most expensive part of a start.
bool LivePorts::has_unit_overrides(const std::string& machine) const {
    std::error_code ignored;
    const std::string unit = nspawn_unit(machine);
    for (const char* directory : {"etc/systemd/system.control", "run/systemd/system.control", "etc/systemd/system",
                                  "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system"}) {
        const fs::path base = places_.root / directory;
        const bool template_is_stock = std::string_view(directory) == "usr/lib/systemd/system";
        if (fs::exists(base / unit, ignored)) return true;
        if (!template_is_stock && fs::exists(base / "systemd-nspawn@.service", ignored)) return true;
        for (const fs::path& drop_ins : {base / (unit + ".d"), base / "systemd-nspawn@.service.d"})
            for (fs::directory_iterator entry(drop_ins, ignored), end; entry != end; entry.increment(ignored)) {
                const std::string name = entry->path().filename();
                if (name != "50-cuda-nspawn.conf" && name != "10-cuda-nspawn.conf" && name.ends_with(".conf"))
                    return true;
            }
    }
    return false;
}

void LivePorts::read_unit(const std::string& machine, Looked looked, Reply<Looked> reply) {
    systemd_.get_exec_start(nspawn_unit(machine), [machine, looked, reply](const Systemd::ExecStart& found) mutable {
        std::vector<std::string> admins;
        for (const std::string& path : found.drop_ins)
            if (!path.ends_with("-cuda-nspawn.conf")) admins.push_back(path);
        if (found.failure.empty()) {
            const ExecStart read = read_exec_start(machine, found.argv, admins, looked.image.settings_boot);
            looked.image.unit_problems = read.problems;
            looked.image.boots_systemd = read.boots && (!looked.image.guest || looked.image.guest->has_systemd);
        }
        reply(std::move(looked));
    });
}

// --- store and exposure ----------------------------------------------------------------------------------------------

bool LivePorts::has_generation(const std::string& generation) const {
    return generation_is_complete(generation, places_.root / names::store_directory.substr(1));
}

std::string LivePorts::find_generation(const std::string& version) const {
    const fs::path store = places_.root / names::store_directory.substr(1);
    std::error_code ignored;
    for (fs::directory_iterator entry(store, ignored), end; entry != end; entry.increment(ignored)) {
        const std::string name = entry->path().filename();
        if (name.starts_with(version + "-") && generation_is_complete(name, store)) return name;
    }
    return "";
}

void LivePorts::build(const Driver&, const std::string& generation, Reply<std::string> reply) {
    StoreRequest request{.build = generation, .keep = generations_in_use()};
    request.keep.push_back(generation);
    workers_.run("store", to_json(request),
                 [reply](const std::string&, const std::string& failure) { reply(failure); });
}

void LivePorts::verify_store(std::function<void(const StoreReport&, const std::string& failure)> reply) {
    const StoreRequest request{.build = "", .keep = generations_in_use(), .verify = true};
    workers_.run("store", to_json(request), [reply](const std::string& report, const std::string& failure) {
        if (!failure.empty()) return reply({}, failure);
        try {
            reply(parse_store_report(report), "");
        } catch (const std::runtime_error& error) {
            reply({}, error.what());
        }
    });
}

void LivePorts::collect() {
    const StoreRequest request{.build = "", .keep = generations_in_use()};
    std::error_code ignored;
    bool any = false;
    for (fs::directory_iterator entry(places_.root / names::store_directory.substr(1), ignored), end; entry != end;
         entry.increment(ignored))
        any =
            any || std::find(request.keep.begin(), request.keep.end(), entry->path().filename()) == request.keep.end();
    if (!any) return;
    workers_.run("store", to_json(request), [](const std::string&, const std::string& failure) {
        if (!failure.empty())
            log({Event::generations_kept, "", fmt::format("old generations stay in the store: {}", failure)});
    });
}

void LivePorts::expose(const Plan& plan, ExposeMode mode, Reply<Exposed> reply) {
    switch (mode) {
        case ExposeMode::make:
            return gather(exposures_, {plan, std::move(reply)}, &LivePorts::send_exposures);
        case ExposeMode::plan:
            return gather(dry_runs_, {plan, std::move(reply)}, &LivePorts::send_dry_runs);
        case ExposeMode::diff:
            return gather(diffs_, {plan, std::move(reply)}, &LivePorts::send_diffs);
    }
}

void LivePorts::send_exposures() { send_exposures_of(exposures_, ExposeMode::make, &LivePorts::send_exposures); }
void LivePorts::send_dry_runs() { send_exposures_of(dry_runs_, ExposeMode::plan, &LivePorts::send_dry_runs); }
void LivePorts::send_diffs() { send_exposures_of(diffs_, ExposeMode::diff, &LivePorts::send_diffs); }

// Of each machine the report has one entry: a second plan of the same waits for the next request.
void LivePorts::send_exposures_of(Exposures& batch, ExposeMode mode, void (LivePorts::*send)()) {
    Exposures later;
    std::vector<std::pair<Plan, Reply<Exposed>>> items;
    std::set<std::string> named;
    for (auto& item : std::exchange(batch.items, {}))
        (named.insert(item.first.machine).second ? items : later.items).push_back(std::move(item));
    batch.items = std::move(later.items);
    ExposeRequest request;
    request.dry_run = mode != ExposeMode::make;
    request.diff = mode == ExposeMode::diff;
    for (const auto& [plan, reply] : items) request.plans.push_back(plan);
    workers_.run("expose", to_json(request),
                 [this, items, &batch, send](const std::string& report, std::string failure) {
                     ExposeReport results;
                     try {
                         if (failure.empty()) results = parse_expose_report(report);
                     } catch (const std::exception& error) {
                         failure = error.what();
                     }
                     for (const auto& [plan, reply] : items) {
                         Exposed result;
                         if (const auto place = results.find(plan.machine); place != results.end())
                             result = place->second;
                         else
                             result.failure = failure.empty() ? "the worker did not report on this machine" : failure;
                         reply(std::move(result));
                     }
                     send_next(batch, send);
                 });
}

// --- systemd's units -------------------------------------------------------------------------------------------------

void LivePorts::reload_units(const std::string& machine, Reply<std::string> reply) {
    gather(reloads_, {machine, std::move(reply)}, &LivePorts::send_reloads);
}

void LivePorts::send_reloads() {
    const auto items = std::exchange(reloads_.items, {});
    reloads_.scheduled = false;  // what changes from now on needs another reload, which need not wait for this one
    std::vector<std::string> units;
    for (const auto& [machine, reply] : items) {
        units.push_back(nspawn_unit(machine));
        units.push_back(scope_unit(machine));
    }
    const auto answer = [items](const std::string& failure) {
        for (const auto& [machine, reply] : items) reply(failure);
    };
    // A unit that is not loaded reads its drop-ins when it is.
    systemd_.loaded_units(units, [this, answer](const std::vector<std::string>& loaded) {
        if (loaded.empty()) return answer("");
        systemd_.reload(answer);
    });
}

fs::path LivePorts::control_state(const std::string& unit) const {
    return places_.runtime / "state" / (unit + ".control");
}

// systemd writes what SetUnitProperties set into a file that would outlive the instance. How things were before is
// kept, and written before the first change, so that release() takes away what we caused and nothing of an admin's.
void LivePorts::note_control_file(const std::string& unit, const DeviceRules& own, const Rules& rules) const {
    ControlFile control;
    std::error_code ignored;
    try {
        if (const auto text = read_file(control_state(unit))) control = parse_control_file(*text);
    } catch (const std::runtime_error&) {
        control = {};  // of another version
    }
    const ControlFile before = control;
    if (control == ControlFile{})
        for (const char* base : {"run/systemd/system.control", "etc/systemd/system.control"})
            control.existed =
                control.existed || fs::exists(places_.root / base / (unit + ".d") / "50-DeviceAllow.conf", ignored);
    if (control.own.empty())
        for (const auto& [path, access] : own) control.own.push_back(fmt::format("{} {}", path, access));
    for (const DeviceNode& node : rules.ours)
        if (std::find(control.ours.begin(), control.ours.end(), device_rule(node)) == control.ours.end())
            control.ours.push_back(device_rule(node));
    if (control == before) return;
    write_or_warn(control_state(unit), [&](const fs::path& path) { write_file_atomically(path, to_json(control)); });
}

namespace {

struct RuleChange {
    DeviceRules own;     // the unit's, whoever set them, without ours
    DeviceRules wanted;  // own and granted
    std::vector<Change> changes;
};

RuleChange change_rules(const std::string& unit, const DeviceRules& present, const Rules& rules) {
    RuleChange result;
    std::set<std::string> ours;
    for (const DeviceNode& node : rules.ours) ours.insert(device_rule(node));
    std::set<std::string> before;
    for (const auto& rule : present) {
        if (ours.contains(rule.first))
            before.insert(rule.first);
        else
            result.own.push_back(rule);
    }
    result.wanted = result.own;
    for (const DeviceNode& node : rules.granted) {
        const std::string rule = device_rule(node);
        result.wanted.emplace_back(rule, "rw");
        if (before.erase(rule) == 0)
            result.changes.push_back({"allow", rule, fmt::format("{} for {}", node.name, unit)});
    }
    for (const std::string& rule : before) result.changes.push_back({"deny", rule, fmt::format("for {}", unit)});
    return result;
}

struct AddedRules {
    DeviceRules rules;
    std::vector<Change> changes;
};

AddedRules rules_to_add(const std::string& unit, const Rules& rules) {
    AddedRules added;
    for (const DeviceNode& node : rules.granted) {
        if (std::find(rules.in_force->begin(), rules.in_force->end(), node) != rules.in_force->end()) continue;
        added.rules.emplace_back(device_rule(node), "rw");
        added.changes.push_back({"allow", device_rule(node), fmt::format("{} for {}", node.name, unit)});
    }
    return added;
}

}  // namespace

void LivePorts::grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) {
    if (rules.in_force) return add_rules(instance.unit, rules, std::move(reply));
    replace_rules(instance.unit, rules, std::move(reply));
}

void LivePorts::plan_grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) {
    systemd_.get_device_rules(
        instance.unit, [unit = instance.unit, rules, reply](DeviceRules shown, const std::string& failure) {
            if (!failure.empty()) return reply({{}, failure});
            AddedRules added = rules.in_force ? rules_to_add(unit, rules) : AddedRules{};
            shown.insert(shown.end(), added.rules.begin(), added.rules.end());
            const RuleChange change = change_rules(unit, shown, rules);
            added.changes.insert(added.changes.end(), change.changes.begin(), change.changes.end());
            reply({std::move(added.changes), ""});
        });
}

void LivePorts::replace_rules(const std::string& unit, const Rules& rules, Reply<Granted> reply) {
    systemd_.get_device_rules(unit, [this, unit, rules, reply](const DeviceRules& present, const std::string& failure) {
        if (!failure.empty()) return reply({{}, failure});
        const RuleChange change = change_rules(unit, present, rules);
        if (rules.shown_is_in_force && change.changes.empty()) return reply({});
        note_control_file(unit, change.own, rules);
        systemd_.set_device_rules(unit, change.wanted,
                                  [changes = change.changes, reply](const std::string& error) mutable {
                                      reply({std::move(changes), error});
                                  });
        on_rules_sent();
    });
}

// A guest waits for its GPU meanwhile, so what the unit shows is read afterwards. It may be more of ours than was in
// force, and in force by now: what a file still said when somebody reloaded systemd.
void LivePorts::add_rules(const std::string& unit, const Rules& rules, Reply<Granted> reply) {
    const AddedRules added = rules_to_add(unit, rules);
    note_control_file(unit, {}, rules);
    systemd_.add_device_rules(
        unit, added.rules, [this, unit, rules, changes = added.changes, reply](const std::string& error) {
            if (!error.empty()) return reply({{}, error});
            systemd_.get_device_rules(unit, [this, unit, rules, changes, reply](const DeviceRules& present,
                                                                                const std::string& failure) mutable {
                if (!failure.empty()) return reply({changes, failure});
                const RuleChange change = change_rules(unit, present, rules);
                note_control_file(unit, change.own, rules);
                if (change.changes.empty()) return reply({changes, ""});
                changes.insert(changes.end(), change.changes.begin(), change.changes.end());
                systemd_.set_device_rules(unit, change.wanted,
                                          [changes, reply](const std::string& not_set) { reply({changes, not_set}); });
            });
        });
    on_rules_sent();
}

void LivePorts::release(const Instance& instance, Reply<std::string> reply) {
    const fs::path state = control_state(instance.unit);
    const auto text = read_file(state);
    if (!text) return loop_.defer([reply] { reply(""); });
    ExposeRequest request;
    try {
        request.releases[instance.unit] = parse_control_file(*text);
    } catch (const std::runtime_error& error) {
        return loop_.defer([reply, failure = std::string(error.what())] { reply(failure); });
    }
    workers_.run("expose", to_json(request),
                 [this, state, unit = instance.unit, reply](const std::string&, const std::string& failure) {
                     if (!failure.empty()) return reply(failure);
                     std::error_code ignored;
                     fs::remove(state, ignored);
                     systemd_.loaded_units({unit}, [this, reply](const std::vector<std::string>& loaded) {
                         if (loaded.empty()) return reply("");
                         systemd_.reload(reply);
                     });
                 });
}

bool LivePorts::has_mounts(const Instance& instance) const {
    // Of what cannot be read nothing is known: it may have ended. Then the self-test tells.
    const auto mountinfo = read_file(places_.proc / std::to_string(instance.leader) / "mountinfo");
    struct stat machines{};
    if (!mountinfo || ::stat((places_.runtime / "machines").c_str(), &machines) < 0) return true;
    return shows_our_mounts(*mountinfo, machines.st_dev);
}

unsigned LivePorts::find_root(const Instance& instance) const {
    return root_in_map(read_file(places_.proc / std::to_string(instance.leader) / "uid_map").value_or(""));
}

template <class Report>
Workers::Id LivePorts::ask(const std::string& verb, const std::string& request, Report (*parse)(std::string_view),
                           Reply<Report> reply) {
    return workers_.run(verb, request, [parse, reply](const std::string& text, const std::string& failure) {
        Report report;
        try {
            if (failure.empty())
                report = parse(text);
            else
                report.failure = failure;
        } catch (const std::exception& error) {
            report.failure = error.what();
        }
        reply(std::move(report));
    });
}

void LivePorts::mount(const std::string& machine, Reply<Mounted> reply) {
    ask("mount", look_request({machine}), parse_mounted_report, std::move(reply));
}

// --- machines --------------------------------------------------------------------------------------------------------

void LivePorts::start(const std::string& machine, Reply<std::string> reply) {
    systemd_.run_job("StartUnit", nspawn_unit(machine), [this, machine, reply](const std::string& failure) {
        if (!failure.empty()) return reply(failure);
        // machined's signal may come a moment later than systemd's; the engine must know the instance before it goes
        // on.
        machined_.get_instance(machine, [this, machine, reply](const std::optional<Instance>& instance) {
            if (!instance)
                return reply(fmt::format("{} started, but machine \"{}\" is gone again: see journalctl -u {}",
                                         nspawn_unit(machine), machine, nspawn_unit(machine)));
            on_instance(machine, *instance);
            reply("");
        });
    });
}

void LivePorts::stop(const Instance& instance, Reply<std::string> reply) {
    systemd_.run_job("StopUnit", instance.unit, std::move(reply));
}

void LivePorts::test(const TestRequest& request, Reply<Tested> reply) {
    tests_[request.machine] = ask("test", to_json(request), parse_enter_report, std::move(reply));
}

void LivePorts::end_test(const std::string& machine) {
    if (const auto last = tests_.find(machine); last != tests_.end()) workers_.end("test", last->second);
}

void LivePorts::holders(const HoldersRequest& request, Reply<Holders> reply) {
    ask("holders", to_json(request), parse_holders_report, std::move(reply));
}

void LivePorts::clean(const std::string& machine, Reply<Cleaned> reply) {
    ask("clean", look_request({machine}), parse_cleaned_report, std::move(reply));
}

// --- memory ----------------------------------------------------------------------------------------------------------

void LivePorts::remember(const std::string& machine, const Remembered& state) {
    write_or_warn(places_.runtime / "state" / (machine + ".json"),
                  [&](const fs::path& path) { write_state(path, state); });
}

void LivePorts::forget(const std::string& machine) {
    tests_.erase(machine);
    std::error_code ignored;
    fs::remove(places_.runtime / "state" / (machine + ".json"), ignored);
}

std::uint64_t LivePorts::now_usec() const {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

}  // namespace cuda_nspawn
