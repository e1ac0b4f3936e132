#include "engine/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace cuda_nspawn {

// --- inputs ----------------------------------------------------------------------------------------------------------

Machine& Engine::add(const std::string& name) {
    const auto [place, is_new] = machines_.try_emplace(name);
    if (is_new) {
        Machine& machine = place->second;
        machine.name = name;
        if (const auto ended = ended_unseen_.find(name); ended != ended_unseen_.end()) machine.ended = ended->second;
        ended_unseen_.erase(name);
        observer_.machine_added(name);
    }
    return place->second;
}

void Engine::apply_policy(const PolicyFile& file) {
    Machine& machine = add(file.machine);
    if (const auto* diagnostics = std::get_if<std::vector<Diagnostic>>(&file.result)) {
        if (machine.policy_errors == *diagnostics) return;
        machine.policy_errors = *diagnostics;
        for (const Diagnostic& diagnostic : *diagnostics)
            observer_.message(Severity::error, file.machine, to_string(diagnostic));
        observer_.machine_changed(file.machine);
        return;
    }
    const Policy& policy = std::get<Policy>(file.result);
    const bool had_errors = !std::exchange(machine.policy_errors, {}).empty();
    if (machine.policy == policy && !had_errors) return;
    // What runs with another policy now has no verdict yet.
    if (machine.instance && machine.policy != policy) machine.test_wanted = policy.self_test != SelfTestLevel::off;
    machine.policy = policy;
    machine.failure.clear();
    take_known_instance(machine);
}

void Engine::drop_policy(Machine& machine) {
    machine.policy.reset();
    machine.policy_errors.clear();
    machine.failure.clear();
}

void Engine::set_policies(const std::vector<PolicyFile>& files) {
    std::set<std::string> named;
    for (const PolicyFile& file : files) {
        named.insert(file.machine);
        apply_policy(file);
    }
    for (auto& [name, machine] : machines_)
        if (!named.contains(name)) drop_policy(machine);
    build_if_needed();
    replan_all();
}

void Engine::set_policy(const std::string& name, const std::optional<PolicyFile>& file) {
    if (file)
        apply_policy(*file);
    else if (const auto known = machines_.find(name); known != machines_.end())
        drop_policy(known->second);
    build_if_needed();
    const auto place = machines_.find(name);
    if (place == machines_.end()) return;
    replan(place->second);
    advance(place->second);
}

void Engine::adopt_leftover(const std::string& name) {
    if (machines_.contains(name)) return;
    Machine& machine = add(name);
    take_known_instance(machine);
    replan(machine);
    advance(machine);
}

void Engine::set_driver(Driver driver) {
    // Between a package upgrade and the module's reload the files on the host do not fit the module: the generation
    // that fits stays in force, and the difference is a note.
    const bool mismatch = !driver.kernel_version.empty() && driver.userspace_version != driver.kernel_version;
    if (mismatch && !generation_.empty() && driver_.userspace_version == driver.kernel_version) {
        driver.notes.push_back(
            fmt::format("the NVIDIA kernel module is {}, the driver files on the host are {}: the copies of {} stay in use "
                        "until the module is reloaded or the host rebooted",
                        driver.kernel_version, driver.userspace_version, driver.kernel_version));
        driver.files = driver_.files;
        driver.userspace_version = driver_.userspace_version;
    }
    if (driver == driver_ && build_failure_.empty()) return;
    driver_ = std::move(driver);
    build_if_needed();
    observer_.driver_changed();
    replan_all();
}

void Engine::machine_started(const std::string& name, const Instance& instance) {
    const auto place = machines_.find(name);
    if (place != machines_.end() && place->second.instance && place->second.instance != instance) machine_ended(name);
    instances_[name] = instance;
    const auto known = machines_.find(name);
    if (known == machines_.end() || known->second.instance == instance) return;
    take_instance(known->second, instance);
    replan(known->second);
    advance(known->second);
}

void Engine::take_known_instance(Machine& machine) {
    const auto running = instances_.find(machine.name);
    if (running != instances_.end() && machine.instance != running->second) take_instance(machine, running->second);
}

// What a unit's drop-in says is in force in the kernel only if systemd knew it when the unit started: a reload changes
// what systemd shows, not the running cgroup. When in doubt, nothing is known and the rules are set.
std::optional<std::vector<DeviceNode>> Engine::inherited_rules(const Machine& machine) const {
    constexpr std::uint64_t margin_usec = 2'000'000;  // from the unit's start to machined's word of it
    const bool known = machine.exposed && machine.rules_since_usec != 0 && !machine.reload_due;
    if (!known || machine.rules_since_usec + margin_usec > machine.instance->since_usec) return std::nullopt;
    return machine.exposed->nodes;
}

// The facts of a new instance; what was remembered of it, if this daemon is not the first it sees.
void Engine::take_instance(Machine& machine, const Instance& instance) {
    machine.instance = instance;
    machine.granted = inherited_rules(machine);
    machine.failure.clear();
    machine.start_wanted = false;
    machine.verdict = {};
    machine.tested_usec = 0;
    machine.test_wanted = machine.policy && machine.policy->self_test != SelfTestLevel::off;
    if (const auto known = remembered_.find(machine.name); known != remembered_.end() && known->second.instance == instance) {
        machine.revoked = known->second.revoked;
        machine.verdict = known->second.verdict;
        machine.tested_usec = known->second.tested_usec;
        machine.test_wanted = machine.test_wanted && machine.verdict.result == VerdictResult::none;
        return;
    }
    observer_.message(Severity::info, machine.name, fmt::format("machine started as {}", instance.unit));
    // systemd starts our unit with the machine, but not when it was active still from the instance before.
    if (machine.policy && machine.policy->wants_gpus()) ports_.follow(machine.name, true);
}

void Engine::machine_ended(const std::string& name) {
    instances_.erase(name);
    const auto place = machines_.find(name);
    if (place == machines_.end() || !place->second.instance) return;
    Machine& machine = place->second;
    machine.ended = std::exchange(machine.instance, std::nullopt);
    machine.granted.reset();
    machine.revoked = false;
    machine.test_wanted = false;
    machine.testing = false;
    machine.failure.clear();
    remembered_.erase(name);
    ports_.forget(name);
    ports_.follow(name, false);
    observer_.message(Severity::info, name, "machine ended");
    replan(machine);
    advance(machine);
}

void Engine::set_instances(const std::map<std::string, Instance>& instances) {
    std::vector<std::string> gone;
    for (const auto& [name, instance] : instances_)
        if (!instances.contains(name)) gone.push_back(name);
    for (const std::string& name : gone) machine_ended(name);
    for (const auto& [name, instance] : instances) machine_started(name, instance);
}

void Engine::restore(const std::string& name, const Remembered& state) {
    const auto running = instances_.find(name);
    if (running != instances_.end() && running->second == state.instance) {
        remembered_[name] = state;
        return;
    }
    // It ended while no daemon ran. What a grant left behind is released when the machine is known.
    ended_unseen_[name] = state.instance;
    ports_.forget(name);
    if (running == instances_.end()) ports_.follow(name, false);
}

void Engine::image_changed(const std::string& name) {
    const auto place = machines_.find(name);
    if (place == machines_.end()) return;
    Machine& machine = place->second;
    machine.image.reset();
    machine.exposed.reset();
    machine.failure.clear();
    advance(machine);
}

// --- what is planned -------------------------------------------------------------------------------------------------

void Engine::replan(Machine& machine) {
    Planned planned;
    planned.plan.machine = machine.name;
    if (machine.policy)
        planned = make_plan(*machine.policy, driver_, generation_, machine.image.value_or(Image{}), machine.revoked);
    const bool nothing_to_give = machine.policy && machine.policy->wants_gpus() && generation_.empty() && !building_;
    if (nothing_to_give && !planned.obstacles.any()) planned.obstacles.host.push_back(build_failure_);
    planned.plan.keep_directory = machine.instance && !planned.plan.mounts;
    // A guest that runs keeps what it has until the first generation is there.
    machine.on_hold = machine.instance && building_ && generation_.empty() && machine.policy &&
                      machine.policy->wants_gpus() && !machine.revoked;
    machine.planned = std::move(planned);
}

void Engine::replan_all() {
    std::vector<std::string> names;
    for (auto& [name, machine] : machines_) names.push_back(name);
    for (const std::string& name : names) {
        Machine& machine = machines_.at(name);
        machine.failure.clear();  // what failed before may work now
        replan(machine);
        advance(machine);
    }
}

void Engine::build_if_needed() {
    const bool wanted = std::any_of(machines_.begin(), machines_.end(), [](const auto& entry) {
        return entry.second.policy && entry.second.policy->wants_gpus();
    });
    const std::string name = generation_name(driver_);
    if (!wanted || driver_problem(driver_) || name.empty() || name == generation_ || building_) return;
    build_failure_.clear();
    if (ports_.has_generation(name)) {
        generation_ = name;
        observer_.driver_changed();
        return;
    }
    building_ = name;
    ports_.build(driver_, name, [this, name](const std::string& failure) { on_built(name, failure); });
}

void Engine::on_built(const std::string& generation, const std::string& failure) {
    building_.reset();
    if (failure.empty()) {
        generation_ = generation;
        observer_.message(Severity::info, "", fmt::format("driver {} is in force as generation {}",
                                                          driver_.userspace_version, generation));
        // The driver may have changed once more meanwhile.
        build_if_needed();
    } else {
        build_failure_ = fmt::format("the driver's files could not be copied to the store: {}", failure);
        observer_.message(Severity::error, "", build_failure_);
        // Of a driver that changed meanwhile the failure says nothing.
        if (generation_name(driver_) != generation) build_if_needed();
    }
    observer_.driver_changed();
    replan_all();
}

std::vector<std::string> Engine::generations_in_use() const {
    std::set<std::string> names;
    if (!generation_.empty()) names.insert(generation_);
    if (building_) names.insert(*building_);
    for (const auto& [name, machine] : machines_)
        if (machine.exposed && !machine.exposed->generation.empty()) names.insert(machine.exposed->generation);
    return {names.begin(), names.end()};
}

bool Engine::settled() const {
    if (building_) return false;
    return std::all_of(machines_.begin(), machines_.end(), [](const auto& entry) {
        return entry.second.under_way == Step::none && next_step(entry.second) == Step::none;
    });
}

// --- steps -----------------------------------------------------------------------------------------------------------

void Engine::advance(Machine& machine) {
    const Step step = next_step(machine);
    if (step != Step::none) {
        begin(machine, step);
    } else if (test_is_due(machine)) {
        begin_test(machine);
    }
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
    if (step == Step::expose || step == Step::grant) machine.disturbed = true;
    switch (step) {
        case Step::none: break;
        case Step::look:
            ports_.look(name, [this, name](Looked looked) { on_looked(name, std::move(looked)); });
            break;
        case Step::expose: {
            const Plan plan = machine.planned.plan;
            ports_.expose(plan, false,
                          [this, name, plan](Exposed exposed) { on_exposed(name, plan, std::move(exposed)); });
            break;
        }
        case Step::reload:
            ports_.reload_units(name, [this, name](const std::string& failure) { step_done(name, Step::reload, failure); });
            break;
        case Step::grant: {
            const Instance instance = *machine.instance;
            const std::vector<DeviceNode> nodes = machine.wanted_nodes();
            ports_.grant(instance, all_nodes(driver_), nodes, [this, name, instance, nodes](Granted granted) {
                on_granted(name, instance, nodes, std::move(granted));
            });
            break;
        }
        case Step::release:
            ports_.release(*machine.ended, [this, name, ended = *machine.ended](const std::string& failure) {
                Machine& released = machines_.at(name);
                if (released.ended == ended) released.ended.reset();  // another may have ended since
                step_done(name, Step::release, failure);
            });
            break;
        case Step::start:
            ports_.start(name, [this, name](const std::string& failure) { on_started(name, failure); });
            break;
    }
}

void Engine::step_done(const std::string& name, Step step, const std::string& failure) {
    Machine& machine = machines_.at(name);
    machine.under_way = Step::none;
    if (step == Step::reload) {
        machine.reload_due = false;
        machine.rules_since_usec = failure.empty() ? ports_.now_usec() : 0;
    }
    if (!failure.empty()) {
        machine.failure = failure;
        machine.failed_step = step;
        observer_.message(Severity::error, name, fmt::format("{} failed: {}", to_string(step), failure));
    }
    advance(machine);
}

void Engine::on_looked(const std::string& name, Looked looked) {
    Machine& machine = machines_.at(name);
    if (looked.failure.empty()) {
        machine.image = std::move(looked.image);
        replan(machine);
        if (const std::string text = machine.planned.obstacles.text(); !text.empty())
            observer_.message(Severity::warning, name, text);
    }
    step_done(name, Step::look, looked.failure);
}

void Engine::on_exposed(const std::string& name, const Plan& plan, Exposed exposed) {
    Machine& machine = machines_.at(name);
    if (exposed.failure.empty()) {
        // Image or settings changed while the worker was at it: what it read may be old.
        if (machine.image || !machine.policy) machine.exposed = plan;
        machine.epoch = exposed.epoch;
        machine.expose_errors = exposed.errors;
        machine.notes = exposed.notes;
        machine.reload_due = machine.reload_due || exposed.units_changed;
        // Changed: once systemd has read them (step reload). Found as they were: since when is not known, but by now.
        machine.rules_since_usec = exposed.units_changed ? 0 : machine.rules_since_usec != 0 ? machine.rules_since_usec : ports_.now_usec();
        for (const std::string& error : exposed.errors) observer_.message(Severity::error, name, error);
        for (const std::string& note : exposed.notes) observer_.message(Severity::warning, name, note);
        add_changes(name, exposed.changes);
        if (!exposed.changes.empty())
            observer_.message(Severity::info, name,
                              fmt::format("exposure {}: {} changes, {} nodes, generation {}", plan.present ? "made" : "removed",
                                          exposed.changes.size(), plan.nodes.size(),
                                          plan.generation.empty() ? "none" : plan.generation));
    }
    step_done(name, Step::expose, exposed.failure);
}

void Engine::on_granted(const std::string& name, const Instance& instance, std::vector<DeviceNode> nodes,
                        Granted granted) {
    Machine& machine = machines_.at(name);
    const bool same_instance = machine.instance == instance;
    if (same_instance && granted.failure.empty()) machine.granted = std::move(nodes);
    if (same_instance) remember(machine);
    add_changes(name, granted.changes);
    step_done(name, Step::grant, same_instance ? granted.failure : "");
}

void Engine::on_started(const std::string& name, const std::string& failure) {
    Machine& machine = machines_.at(name);
    machine.start_wanted = false;
    if (failure.empty() || !machine.policy) return step_done(name, Step::start, "");  // nobody wants it without one
    if (!machine.image || !machine.image->path.empty()) return step_done(name, Step::start, failure);
    step_done(name, Step::start,
              fmt::format("there is no image of machine \"{0}\": make one as /var/lib/machines/{0}, or import one with "
                          "machinectl import-tar ({1})",
                          name, failure));
}

// --- the self-test ---------------------------------------------------------------------------------------------------

void Engine::begin_test(Machine& machine) {
    machine.test_wanted = false;
    machine.testing = true;
    machine.disturbed = false;
    const std::string name = machine.name;
    for (auto& [id, job] : jobs_)
        if (job.machine == name && job.state == JobState::running && job.options.test) job.test_tried = true;
    const Instance instance = *machine.instance;
    const Plan plan = *machine.exposed;
    TestRequest request{name, machine.policy->self_test, all_nodes(driver_), plan.nodes, machine.epoch};
    if (request.level == SelfTestLevel::off) request.level = SelfTestLevel::quick;
    ports_.test(request, [this, name, instance, plan](Tested tested) {
        on_tested(name, instance, plan, std::move(tested));
    });
}

void Engine::on_tested(const std::string& name, const Instance& instance, const Plan& plan, Tested tested) {
    const auto place = machines_.find(name);
    // Of a run that ended; what its jobs waited for is settled already.
    if (place == machines_.end() || place->second.instance != instance) return;
    Machine& machine = place->second;
    machine.testing = false;
    // What it saw is neither what was granted before nor what is now.
    if (machine.disturbed || machine.planned.plan != plan) {
        machine.test_wanted = !machine.planned.plan.nodes.empty();
        advance(machine);
        return;
    }
    std::vector<std::string> granted;
    for (const Gpu& gpu : machine.planned.gpus) granted.push_back(gpu.uuid);
    if (!tested.failure.empty()) tested.run = {TestEnd::not_started, 0, "", tested.failure, 0};
    machine.verdict = judge(tested.run, granted);
    if (!tested.violations.empty()) {
        machine.verdict.result = VerdictResult::failed;
        machine.verdict.summary = fmt::format("failed: isolation: {}", tested.violations.front());
    }
    machine.tested_usec = ports_.now_usec();
    const bool good = machine.verdict.result == VerdictResult::passed;
    observer_.message(good ? Severity::notice : Severity::error, name, fmt::format("self-test {}", machine.verdict.summary));
    act_on_verdict(machine);
    remember(machine);
    advance(machine);
}

void Engine::act_on_verdict(Machine& machine) {
    if (machine.verdict.result != VerdictResult::failed || !machine.policy) return;
    if (machine.policy->on_failure == OnFailure::detach) {
        observer_.message(Severity::notice, machine.name, "detached because the self-test failed (on_failure: detach)");
        machine.revoked = true;
        replan(machine);
    } else if (machine.policy->on_failure == OnFailure::stop) {
        observer_.message(Severity::notice, machine.name, "stopped because the self-test failed (on_failure: stop)");
        ports_.stop(*machine.instance, [this, name = machine.name](const std::string& failure) {
            if (!failure.empty()) observer_.message(Severity::error, name, failure);
        });
    }
}

void Engine::remember(const Machine& machine) {
    if (machine.instance)
        ports_.remember(machine.name, {*machine.instance, machine.revoked, machine.verdict, machine.tested_usec});
}

void Engine::remove_if_done(const std::string& name) {
    const auto place = machines_.find(name);
    if (place == machines_.end()) return;
    const Machine& machine = place->second;
    // Without a policy it stays as long as it runs: its end leaves something to clean up.
    const bool wanted = machine.policy || !machine.policy_errors.empty() || machine.instance;
    if (wanted || machine.under_way != Step::none || next_step(machine) != Step::none || machine.testing) return;
    if (!machine.failure.empty()) return;
    machines_.erase(place);
    observer_.machine_removed(name);
}

}  // namespace cuda_nspawn
