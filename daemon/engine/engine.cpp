#include "engine/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace cuda_nspawn {

// --- inputs ----------------------------------------------------------------------------------------------------------

Machine& Engine::add(const std::string& name) {
    const auto [place, is_new] = machines_.try_emplace(name);
    if (is_new) {
        Machine& machine = place->second;
        machine.name = name;
        if (const auto ended = ended_unseen_.find(name); ended != ended_unseen_.end())
            machine.ended.push_back(ended->second);
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
            observer_.message({Event::policy_invalid, file.machine, to_string(diagnostic)});
        take_known_instance(machine);
        observer_.machine_changed(file.machine);
        return;
    }
    const Policy& policy = std::get<Policy>(file.result);
    const bool had_errors = !std::exchange(machine.policy_errors, {}).empty();
    if (machine.policy == policy && !had_errors) return;
    // What runs with another policy now has no verdict yet.
    if (machine.instance && machine.policy != policy) machine.test_wanted = policy.self_test != SelfTestLevel::off;
    machine.policy = policy;
    tell_policy(policy);
    machine.failure.clear();
    machine.findings.clear();
    take_known_instance(machine);
}

void Engine::drop_policy(Machine& machine) {
    if (machine.policy || !machine.policy_errors.empty())
        observer_.message({Event::policy_removed, machine.name, "its policy is gone, and what it was given goes"});
    machine.findings.clear();
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

void Engine::set_policy(const std::string& name, const std::optional<PolicyFile>& file, bool written) {
    if (file)
        apply_policy(*file);
    else if (const auto known = machines_.find(name); known != machines_.end())
        drop_policy(known->second);
    const std::string before = generation_;
    build_if_needed();
    if (generation_ != before) return replan_all();
    const auto place = machines_.find(name);
    if (place == machines_.end()) return;
    if (written) place->second.failure.clear();
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

// Between a package upgrade and the module's reload the files on the host do not fit the module: the generation that
// fits stays in force, also for a daemon that starts just then, and the difference is a note.
void Engine::keep_fitting_generation(Driver& driver) {
    const bool is_mismatch = !driver.kernel_version.empty() && driver.userspace_version != driver.kernel_version;
    pending_version_ = is_mismatch ? driver.userspace_version : "";
    files_missing_ = driver.userspace_version.empty();
    if (!is_mismatch) return;
    const bool in_force = generation_.starts_with(driver.kernel_version + "-");
    if (!in_force) {
        const std::string stored = ports_.find_generation(driver.kernel_version);
        if (stored.empty()) return;
        generation_ = stored;
    }
    driver.notes.push_back(
        fmt::format("the NVIDIA kernel module is {0}, the driver files on the host are {1}: the copies of {0} stay in "
                    "use until the module is reloaded (stop what uses a GPU, modprobe -r nvidia-uvm nvidia-drm "
                    "nvidia-modeset nvidia, then modprobe nvidia-uvm) or the host rebooted",
                    driver.kernel_version, driver.userspace_version.empty() ? "missing" : driver.userspace_version));
    driver.files = driver_.userspace_version == driver.kernel_version ? driver_.files : std::vector<DriverFile>{};
    driver.userspace_version = driver.kernel_version;
}

void Engine::set_driver(Driver driver) {
    keep_fitting_generation(driver);
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
// what systemd shows, not the running cgroup. When in doubt, the rules are set.
bool Engine::inherits_rules(const Machine& machine) {
    constexpr std::uint64_t margin_usec = 2'000'000;  // from the unit's start to machined's word of it
    const bool known = machine.exposed && machine.rules_since_usec != 0 && !machine.reload_due;
    return known && machine.rules_since_usec + margin_usec <= machine.instance->since_usec;
}

// The facts of a new instance; what was remembered of it, if this daemon is not the first it sees.
void Engine::take_instance(Machine& machine, const Instance& instance) {
    machine.instance = instance;
    machine.told.reset();
    note_that_it_runs(machine.name);
    machine.root.reset();
    machine.follow_due.reset();
    machine.granted.reset();
    machine.rules_inherited = inherits_rules(machine);
    // What its unit may have given it when it started, whether we know so or not.
    machine.lent.clear();
    for (const Plan& plan : machine.on_disk)
        machine.lent.insert(machine.lent.end(), plan.nodes.begin(), plan.nodes.end());
    machine.mounted = ports_.has_mounts(instance);
    machine.set_up = SetUp::unknown;
    // What could not be released waits until this instance has ended; it does not stand in its way.
    if (machine.failed_step == Step::release && !machine.failure.empty())
        machine.unreleased = std::exchange(machine.ended, {});
    machine.failure.clear();
    machine.findings.clear();
    machine.start_wanted = false;
    forget_verdict(machine);
    machine.test_wanted = machine.is_to_be_tested();
    if (const auto known = remembered_.find(machine.name);
        known != remembered_.end() && known->second.instance == instance) {
        machine.revoked = known->second.revoked;
        machine.lent = known->second.lent;
        machine.verdict = known->second.verdict;
        machine.told = machine.revoked ? State::detached : State::attached;  // by the daemon before this one
        machine.tested_usec = known->second.tested_usec;
        machine.test_wanted = machine.test_wanted && machine.verdict.result == VerdictResult::none;
        if (!machine.policy || !machine.policy->wants_gpus()) return;
        if (machine.revoked)
            ports_.follow(machine.name, false);
        else
            ports_.follow_again(machine.name);
        return;
    }
    remember(machine);
    observer_.message({Event::machine_started, machine.name, fmt::format("machine started as {}", instance.unit)});
    // systemd starts our unit with the machine, but not when it was active still from the instance before.
    if (machine.policy && machine.policy->wants_gpus()) follow(machine, !machine.revoked);
}

void Engine::machine_ended(const std::string& name) {
    instances_.erase(name);
    const auto place = machines_.find(name);
    if (place == machines_.end() || !place->second.instance) return;
    Machine& machine = place->second;
    machine.ended.push_back(*std::exchange(machine.instance, std::nullopt));
    for (const Instance& earlier : std::exchange(machine.unreleased, {})) machine.ended.push_back(earlier);
    machine.granted.reset();
    machine.lent.clear();
    machine.mounted = true;
    machine.granted_in_doubt = false;
    machine.revoked = false;
    machine.test_wanted = false;
    machine.test_asked = false;
    machine.testing = false;
    machine.test_ended = false;
    // What was wrong with the guest may have been mended while it ran.
    if (!machine.planned.obstacles.guest.empty()) machine.forget_image();
    machine.failure.clear();
    remembered_.erase(name);
    ports_.forget(name);
    follow(machine, false);
    observer_.message({Event::machine_ended, name, "machine ended"});
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
    machine.forget_image();
    machine.exposed.reset();
    machine.failure.clear();
    advance(machine);
}

void Engine::verify_all() {
    if (!mend_generation()) verify_machines();
}

void Engine::verify_machines() {
    std::vector<std::string> names;
    for (const auto& [name, machine] : machines_) names.push_back(name);
    for (const std::string& name : names) {
        Machine& machine = machines_.at(name);
        machine.exposed_in_doubt = true;
        machine.granted_in_doubt = machine.instance.has_value();
        machine.mounted = !machine.instance || ports_.has_mounts(*machine.instance);
        machine.failure.clear();
        advance(machine);
    }
}

// --- what is planned -------------------------------------------------------------------------------------------------

void Engine::replan(Machine& machine, const std::string& generation) {
    Planned planned;
    planned.plan.machine = machine.name;
    if (machine.policy)
        planned = make_plan(*machine.policy, driver_, generation, machine.image.value_or(Image{}), machine.revoked);
    const bool nothing_to_give = machine.policy && machine.policy->wants_gpus() && generation.empty() && !building_;
    if (nothing_to_give && !planned.obstacles.any()) planned.obstacles.host.push_back(build_failure_);
    if (machine.instance && planned.plan.is_restricted()) {
        if (!machine.root) machine.root = ports_.find_root(*machine.instance);
        planned.plan.node_owner = *machine.root;
    }
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

// Driver, generations and warnings are the manager's to show; every machine shows whether a copy is under way.
void Engine::tell_of_driver(bool pending_before) {
    observer_.driver_changed();
    if (generation_pending() == pending_before) return;
    for (const auto& [name, machine] : machines_) observer_.machine_changed(name);
}

void Engine::build_if_needed() {
    const auto shown = [this] { return std::tuple(generation_, building_, build_failure_); };
    const auto before = shown();
    begin_build_if_needed();
    if (shown() != before) tell_of_driver(std::get<1>(before).has_value());
}

void Engine::begin_build_if_needed() {
    const bool wanted = std::any_of(machines_.begin(), machines_.end(), [](const auto& entry) {
        return entry.second.policy && entry.second.policy->wants_gpus();
    });
    const std::string name = generation_name(driver_);
    if (!wanted || driver_problem(driver_) || name.empty() || building_) return;
    // After a failure it may be the one in force that could not be mended, or a driver that is again what it was.
    const bool in_force = name == generation_ && (build_failure_.empty() || ports_.has_generation(name));
    build_failure_.clear();
    if (in_force) return;
    // Without that file it would be a generation that lacks something.
    if (!driver_.unreadable.empty()) return refuse_build(driver_.unreadable);
    if (ports_.has_generation(name)) {
        generation_ = name;
        collect_due_ = true;
        return;
    }
    building_ = name;
    ports_.build(driver_, name, [this, name](const std::string& failure) { on_built(name, failure); });
}

void Engine::refuse_build(const std::string& failure) {
    build_failure_ = fmt::format("the driver's files could not be copied to the store: {}", failure);
    observer_.message({Event::generation_failed, "", build_failure_, {.driver = driver_.userspace_version}});
}

void Engine::on_built(const std::string& generation, const std::string& failure) {
    building_.reset();
    const bool is_mended = failure.empty() && generation == generation_;
    // Not if the driver has changed meanwhile: then it is one of several in the store.
    const bool fits = generation.starts_with(driver_.userspace_version + "-");
    collect_due_ = collect_due_ || failure.empty();
    if (failure.empty() && !fits) {
        build_if_needed();
    } else if (failure.empty()) {
        generation_ = generation;
        build_failure_.clear();
        observer_.message({Event::generation_made,
                           "",
                           fmt::format("driver {} is in force as generation {}", driver_.userspace_version, generation),
                           {.driver = driver_.userspace_version, .generation = generation}});
        // The driver may have changed once more meanwhile.
        build_if_needed();
    } else {
        refuse_build(failure);
        // Of a driver that changed meanwhile the failure says nothing.
        if (generation_name(driver_) != generation) build_if_needed();
    }
    observer_.driver_changed();
    replan_all();
    if (is_mended) verify_machines();
}

// Whether the generation in force lacks something in the store and is being copied again. Machines that have it keep
// it meanwhile, and are verified then.
bool Engine::mend_generation() {
    if (building_) return *building_ == generation_;
    if (generation_.empty() || ports_.has_generation(generation_)) return false;
    const bool can_be_copied = generation_name(driver_) == generation_ && driver_.unreadable.empty();
    observer_.message({Event::generation_damaged,
                       "",
                       fmt::format("generation {} is damaged in the store: {}", generation_,
                                   can_be_copied ? "it is copied again"
                                                 : "the driver's files on the host are others now, or cannot be read"),
                       {.generation = generation_}});
    if (!can_be_copied) return false;
    build_failure_.clear();
    building_ = generation_;
    ports_.build(driver_, generation_,
                 [this, name = generation_](const std::string& failure) { on_built(name, failure); });
    tell_of_driver(false);
    return true;
}

std::vector<std::string> Engine::generations_in_use() const {
    std::set<std::string> names;
    if (!generation_.empty()) names.insert(generation_);
    if (building_) names.insert(*building_);
    for (const auto& [name, machine] : machines_)
        for (const Plan& plan : machine.on_disk) names.insert(plan.generation);
    names.erase("");
    return {names.begin(), names.end()};
}

// A generation goes when the last machine that has it has another; not while of some machine it is not known.
void Engine::collect_if_due() {
    if (!collect_due_ || building_ || generation_.empty()) return;
    const bool all_known = std::all_of(machines_.begin(), machines_.end(),
                                       [](const auto& entry) { return entry.second.exposed.has_value(); });
    if (!all_known || generations_in_use().size() > 1 || !settled()) return;
    collect_due_ = false;
    ports_.collect();
}

bool Engine::settled() const {
    if (building_) return false;
    return std::all_of(machines_.begin(), machines_.end(), [](const auto& entry) {
        return entry.second.under_way == Step::none && next_step(entry.second) == Step::none;
    });
}

// --- memory ----------------------------------------------------------------------------------------------------------

void Engine::remember(const Machine& machine) {
    if (machine.instance)
        ports_.remember(machine.name,
                        {*machine.instance, machine.revoked, machine.verdict, machine.tested_usec, machine.lent});
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
