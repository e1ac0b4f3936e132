// How the engine takes a machine's next step and what it makes of the answer.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/engine.hpp"
#include "engine/progress.hpp"

namespace cuda_nspawn {

// --- steps -----------------------------------------------------------------------------------------------------------

void Engine::advance(Machine& machine) {
    const Step step = next_step(machine);
    follow_if_due(machine, step);
    if (step != Step::none) {
        begin(machine, step);
    } else if (test_is_due(machine)) {
        begin_test(machine);
    }
    tell_state(machine);
    observer_.machine_changed(machine.name);
    if (machine.under_way == Step::none) {
        const std::string name = machine.name;
        settle_jobs(machine);
        remove_if_done(name);
    }
}

void Engine::begin(Machine& machine, Step step) {
    const std::string name = machine.name;
    machine.under_way = step;
    for (auto& [id, job] : jobs_)
        if (job.is_open_for(name)) tell_of_step(machine, job);
    if (step == Step::expose || step == Step::grant || step == Step::mount) machine.disturbed = true;
    switch (step) {
        case Step::none:
            break;
        case Step::look:
            ports_.look(name, [this, name](Looked looked) { on_looked(name, std::move(looked)); });
            break;
        case Step::expose: {
            machine.exposed_in_doubt = false;
            const Plan plan = machine.planned.plan;
            machine.on_disk.push_back(plan);
            ports_.expose(plan, ExposeMode::make,
                          [this, name, plan](Exposed exposed) { on_exposed(name, plan, std::move(exposed)); });
            break;
        }
        case Step::reload:
            ports_.reload_units(name,
                                [this, name](const std::string& failure) { step_done(name, Step::reload, failure); });
            break;
        case Step::grant:
            begin_grant(machine);
            break;
        case Step::mount:
            ports_.mount(name, [this, name, instance = *machine.instance, epoch = machine.epoch](
                                   const Mounted& mounted) { on_mounted(name, instance, epoch, mounted); });
            break;
        case Step::release:
            ports_.release(machine.ended.front(),
                           [this, name, ended = machine.ended.front()](const std::string& failure) {
                               Machine& released = machines_.at(name);
                               if (failure.empty() || released.instance) std::erase(released.ended, ended);
                               if (!failure.empty() && released.instance) released.unreleased.push_back(ended);
                               step_done(name, Step::release, failure);
                           });
            break;
        case Step::start:
            ports_.start(name, [this, name](const std::string& failure) { on_started(name, failure); });
            break;
    }
}

// Whatever may be open now: devices of the driver as it is, and as it was when the machine got them.
std::vector<DeviceNode> Engine::closable_nodes(const Machine& machine) const {
    std::vector<DeviceNode> nodes = all_nodes(driver_);
    nodes.insert(nodes.end(), machine.lent.begin(), machine.lent.end());
    if (machine.exposed) nodes.insert(nodes.end(), machine.exposed->nodes.begin(), machine.exposed->nodes.end());
    return nodes;
}

Rules Engine::rules_for(const Machine& machine) const {
    Rules rules{closable_nodes(machine), machine.wanted_nodes(), machine.rules_inherited};
    if (machine.only_opens()) rules.in_force = machine.granted;
    return rules;
}

void Engine::begin_grant(Machine& machine) {
    const std::string name = machine.name;
    const Instance instance = *machine.instance;
    const Rules rules = rules_for(machine);
    machine.rules_inherited = false;
    machine.granted_in_doubt = false;
    // Remembered before it is given: a daemon that is killed in between must know what it may have to take back.
    const std::size_t before = machine.lent.size();
    for (const DeviceNode& node : rules.granted)
        if (std::find(machine.lent.begin(), machine.lent.end(), node) == machine.lent.end())
            machine.lent.push_back(node);
    if (machine.lent.size() != before) remember(machine);
    ports_.grant(instance, rules, [this, name, instance, nodes = rules.granted](const Granted& granted) {
        on_granted(name, instance, nodes, granted);
    });
}

// PID 1 does one thing at a time, and forks slower than it sets rules: so the unit is started when all is given, and at
// a detach it is stopped when the door is closed. Where a step failed no more is done, and the unit says why.
void Engine::follow(Machine& machine, bool active) {
    machine.follow_due.reset();
    if (active)
        machine.follow_due = true;
    else
        ports_.follow(machine.name, false);
}

void Engine::follow_if_due(Machine& machine, Step next) {
    if (!machine.follow_due || machine.under_way != Step::none) return;
    const bool is_time =
        *machine.follow_due ? next == Step::none || next == Step::reload : next != Step::grant && next != Step::look;
    if (is_time) ports_.follow(machine.name, *std::exchange(machine.follow_due, std::nullopt));
}

// A running machine whose GPUs or driver changed has no verdict of what it has now, and its unit is to say whether it
// has any. Who detaches stops the unit by himself, and the verdict that did it stays.
void Engine::follow_exposure(Machine& machine, const Plan& plan) {
    if (!machine.instance || machine.revoked) return;
    const bool has_gpus = !plan.nodes.empty();
    if (!machine.exposed || machine.exposed->nodes.empty() == has_gpus) follow(machine, has_gpus);
    machine.test_wanted = has_gpus && machine.is_to_be_tested();
    machine.test_asked = false;  // by jobs once more, if they still want it
    forget_verdict(machine);
    remember(machine);
}

void Engine::step_done(const std::string& name, Step step, const std::string& failure, bool is_wished) {
    Machine& machine = machines_.at(name);
    machine.under_way = Step::none;
    if (step == Step::reload) {
        machine.reload_due = !failure.empty();
        machine.rules_since_usec = failure.empty() ? ports_.now_usec() : 0;
    }
    if (!failure.empty()) {
        observer_.message({Event::step_failed,
                           name,
                           fmt::format("{} failed: {}", to_string(step), failure),
                           {.step = std::string(to_string(step))}});
        // It stands in the way only if the same would be done again: what was wished meanwhile comes first.
        if (step == Step::start || (is_wished && next_step(machine) == step)) {
            machine.failure = failure;
            machine.failed_step = step;
        }
    }
    advance(machine);
}

void Engine::on_looked(const std::string& name, Looked looked) {
    Machine& machine = machines_.at(name);
    if (std::exchange(machine.look_overtaken, false)) return step_done(name, Step::look, "");  // and looks again
    if (looked.failure.empty()) {
        machine.image = std::move(looked.image);
        replan(machine);
        tell_image(machine);
        const bool known = machine.image->guest.has_value();
        auto warnings = known ? guest_warnings(*machine.image->guest) : std::vector<std::string>();
        // What was said is not said again.
        if (machine.guest_warnings != warnings)
            for (const std::string& warning : warnings) observer_.message({Event::guest_warning, name, warning});
        machine.guest_warnings = std::move(warnings);
        const std::string obstacles = machine.planned.obstacles.text();
        if (machine.obstacles_told != obstacles && !obstacles.empty())
            observer_.message({Event::machine_blocked, name, obstacles});
        machine.obstacles_told = obstacles;
    }
    step_done(name, Step::look, looked.failure);
}

void Engine::on_exposed(const std::string& name, const Plan& plan, Exposed exposed) {
    Machine& machine = machines_.at(name);
    // How far it came is not known: a plan that was there before may be there no more.
    if (!exposed.failure.empty()) {
        machine.exposed.reset();
        machine.half_exposed = true;
    } else {
        const bool half_exposed = std::exchange(machine.half_exposed, false);
        exposed.units_changed = exposed.units_changed || half_exposed;
        machine.on_disk = {plan};
        if (!exposed.changes.empty() || half_exposed) follow_exposure(machine, plan);
        // Image or settings changed while the worker was at it: what it read may be old.
        if ((machine.image || !machine.policy) && !exposed.incomplete) machine.exposed = plan;
        if (exposed.incomplete) machine.exposed.reset();
        machine.epoch = exposed.epoch;
        // What was said is not said again.
        if (machine.expose_errors != exposed.errors)
            for (const std::string& error : exposed.errors) observer_.message({Event::settings_refused, name, error});
        if (machine.notes != exposed.notes)
            for (const std::string& note : exposed.notes) observer_.message({Event::settings_note, name, note});
        machine.expose_errors = exposed.errors;
        machine.notes = exposed.notes;
        machine.reload_due = machine.reload_due || exposed.units_changed;
        if (exposed.units_changed) machine.rules_inherited = false;  // systemd shows the new files to who reads next
        // Changed: once systemd has read them (step reload). Found as they were: since when is not known, but by now.
        machine.rules_since_usec = exposed.units_changed           ? 0
                                   : machine.rules_since_usec != 0 ? machine.rules_since_usec
                                                                   : ports_.now_usec();
        add_changes(name, exposed.changes);
    }
    // Nobody waits for the journal, but a guest that is given something for the next step.
    const bool gives = !plan.nodes.empty();
    const bool takes = !plan.present || machine.revoked;
    if (!gives) tell_changes(name, plan, takes, exposed.changes);
    step_done(name, Step::expose, exposed.failure, machine.planned.plan == plan);
    if (gives) tell_changes(name, plan, takes, exposed.changes);
}

void Engine::on_granted(const std::string& name, const Instance& instance, const std::vector<DeviceNode>& nodes,
                        const Granted& granted) {
    Machine& machine = machines_.at(name);
    const bool same_instance = machine.instance == instance;
    if (same_instance && granted.failure.empty())
        machine.granted = nodes;
    else if (same_instance)
        machine.granted.reset();  // a failure does not say that nothing was set
    if (same_instance) remember(machine);
    // With a failure they are what was wished, and not what is.
    if (granted.failure.empty()) {
        add_changes(name, granted.changes);
        tell_rules(machine, granted.changes);
    }
    step_done(name, Step::grant, same_instance ? granted.failure : "", machine.wanted_nodes() == nodes);
}

void Engine::on_mounted(const std::string& name, const Instance& instance, std::uint64_t epoch,
                        const Mounted& mounted) {
    Machine& machine = machines_.at(name);
    const bool same_instance = machine.instance == instance;
    if (same_instance && mounted.failure.empty()) {
        if (!std::exchange(machine.mounted, true)) {
            add_changes(name, {mount_of(instance.unit)});
            observer_.message(
                {Event::driver_mounted, name, "it was started without our settings: the driver was mounted into it"});
        }
        if (mounted.attended && machine.set_up != SetUp::attended)
            observer_.message(
                {Event::set_up_attended, name, "it runs no systemd: the set-up is done in it from the host"});
        machine.set_up = mounted.attended ? SetUp::attended : SetUp::itself;
        machine.attended_epoch = epoch;
    }
    step_done(name, Step::mount, same_instance ? mounted.failure : "");
}

void Engine::on_started(const std::string& name, const std::string& failure) {
    Machine& machine = machines_.at(name);
    machine.start_wanted = false;
    // A detach during the start was meant for what would run.
    const bool withdrawn = !machine.instance && std::exchange(machine.revoked, false);
    if (withdrawn) replan(machine);
    if (failure.empty()) add_changes(name, {start_of(name)});
    if (failure.empty() || withdrawn || !machine.policy) return step_done(name, Step::start, "");  // nobody wants it
    if (!machine.image || !machine.image->path.empty()) return step_done(name, Step::start, failure);
    step_done(name, Step::start,
              fmt::format("there is no image of machine \"{0}\": make one as /var/lib/machines/{0}, or import one with "
                          "machinectl import-tar ({1})",
                          name, failure));
}

// --- the self-test ---------------------------------------------------------------------------------------------------

// What the jobs that wait for a test want of it, or the policy.
SelfTestLevel Engine::asked_level(const Machine& machine) const {
    std::optional<SelfTestLevel> asked;
    for (const auto& [id, job] : jobs_)
        if (job.is_open_for(machine.name) && job.options.test)
            asked = std::max(asked, std::optional(job.level.value_or(machine.policy->self_test)));
    const SelfTestLevel level = asked.value_or(machine.policy->self_test);
    return level == SelfTestLevel::off ? SelfTestLevel::quick : level;
}

// Jobs that wait for a test state their wish once more.
void Engine::test_again(const std::string& name) {
    for (auto& [id, job] : jobs_)
        if (job.is_open_for(name)) job.test_tried = false;
}

// It says nothing of what the machine is now.
void Engine::forget_verdict(Machine& machine) {
    machine.verdict = {};
    machine.tested_usec = 0;
    test_again(machine.name);
}

void Engine::begin_test(Machine& machine) {
    machine.tested_for_jobs = !std::exchange(machine.test_wanted, false);
    machine.test_asked = false;
    machine.testing = true;
    machine.disturbed = false;
    const std::string name = machine.name;
    const SelfTestLevel level = asked_level(machine);
    for (auto& [id, job] : jobs_)
        if (job.is_open_for(name) && job.options.test) {
            job.test_tried = true;
            tell(job, testing_text, 0);
        }
    const Instance instance = *machine.instance;
    const Plan plan = *machine.exposed;
    const TestRequest request{name, level, all_nodes(driver_), plan.nodes, machine.epoch};
    ports_.test(request,
                [this, name, instance, plan](Tested tested) { on_tested(name, instance, plan, std::move(tested)); });
}

void Engine::on_tested(const std::string& name, const Instance& instance, const Plan& plan, Tested tested) {
    const auto place = machines_.find(name);
    // Of a run that ended; what its jobs waited for is settled already.
    if (place == machines_.end() || place->second.instance != instance) return;
    Machine& machine = place->second;
    machine.testing = false;
    if (std::exchange(machine.test_ended, false)) return advance(machine);
    // What it saw is neither what was granted before nor what is now.
    if (machine.disturbed || machine.planned.plan != plan) {
        machine.test_wanted = machine.is_to_be_tested();
        test_again(name);
        advance(machine);
        return;
    }
    std::vector<std::string> granted;
    bool all_known = true;
    for (const Gpu& gpu : machine.planned.gpus) {
        granted.push_back(gpu.uuid);
        all_known = all_known && !gpu.uuid.empty();
    }
    if (!tested.failure.empty()) tested.run = {TestEnd::not_started, 0, "", tested.failure, 0};
    machine.verdict = judge(tested.run, granted);
    // A GPU that nobody opened before has no UUID yet in /proc; then their number must be right, and the isolation
    // probe has told which nodes open.
    if (!all_known && machine.verdict.gpu_uuids.size() == granted.size())
        machine.verdict = judge(tested.run, machine.verdict.gpu_uuids);
    if (!tested.violations.empty()) {
        machine.verdict.result = VerdictResult::failed;
        machine.verdict.summary = fmt::format("failed: isolation: {}", tested.violations.front());
    }
    machine.tested_usec = ports_.now_usec();
    for (auto& [id, job] : jobs_) job.test_tried = job.test_tried || is_tested_for(machine, job);
    const bool good = machine.verdict.result == VerdictResult::passed;
    if (good) machine.findings.clear();
    tell_verdict(machine);
    act_on_verdict(machine);
    remember(machine);
    advance(machine);
}

void Engine::act_on_verdict(Machine& machine) {
    if (machine.verdict.result != VerdictResult::failed || !machine.policy) return;
    if (machine.policy->on_failure == OnFailure::detach) {
        observer_.message({Event::detached_on_failure,
                           machine.name,
                           "detached because the self-test failed (on_failure: detach)",
                           {.verdict = std::string(to_string(machine.verdict.result))}});
        machine.revoked = true;
        replan(machine);
        // Its unit would say that the machine has what it has no more, and a start of it would do nothing. One whose
        // start waits for this verdict fails by that.
        const bool is_waited_for = std::ranges::any_of(jobs_, [&](const auto& entry) {
            return entry.second.kind == JobKind::attach && entry.second.waits_for(machine.name);
        });
        if (!is_waited_for) machine.follow_due = false;
    } else if (machine.policy->on_failure == OnFailure::stop) {
        observer_.message({Event::stopped_on_failure,
                           machine.name,
                           "stopped because the self-test failed (on_failure: stop)",
                           {.verdict = std::string(to_string(machine.verdict.result))}});
        ports_.stop(*machine.instance, [this, name = machine.name](const std::string& failure) {
            if (!failure.empty()) observer_.message({Event::stop_failed, name, failure});
        });
    }
}

}  // namespace cuda_nspawn
