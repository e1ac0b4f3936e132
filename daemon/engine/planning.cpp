// A plan of what an attach or a detach would change: the rule that picks the steps, on a copy of the machine, and ports
// that say what they would do. So what is planned is what is done.
#include <memory>
#include <utility>

#include "engine/engine.hpp"
#include "engine/progress.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn {

struct Engine::Planning {
    PlanRequest request;
    Machine machine;
    Reply<PlannedChanges> reply;
    std::vector<Change> changes;

    void add(const std::vector<Change>& more) { changes.insert(changes.end(), more.begin(), more.end()); }
    void end() const { reply({changes, ""}); }
    // Whether it was one.
    bool end_by(const std::string& failure) const {
        if (!failure.empty()) reply({{}, failure});
        return !failure.empty();
    }
};

// The one that will be in force when what is under way has ended: without a policy that wants a GPU nothing is copied.
std::string Engine::coming_generation() const {
    if (building_) return *building_;
    const bool can_be_copied = !driver_problem(driver_) && driver_.unreadable.empty() && build_failure_.empty();
    return generation_.empty() && can_be_copied ? generation_name(driver_) : generation_;
}

Machine Engine::machine_to_plan(const PlanRequest& request) {
    if (const auto error = machine_name_error(request.machine)) throw JobRefused("InvalidName", *error);
    Machine machine;
    machine.name = request.machine;
    const auto known = machines_.find(request.machine);
    if (known != machines_.end()) {
        machine = known->second;
    } else if (!request.policy && !request.without_policy) {
        find(request.machine);  // refuses it
    } else if (const auto running = instances_.find(request.machine); running != instances_.end()) {
        machine.instance = running->second;
        machine.mounted = ports_.has_mounts(running->second);
    }
    if (request.policy || request.without_policy) {
        machine.policy = request.policy;
        machine.policy_errors.clear();
    }
    return machine;
}

void Engine::plan(const PlanRequest& request, Reply<PlannedChanges> reply) {
    const auto planning = std::make_shared<Planning>(Planning{request, machine_to_plan(request), std::move(reply), {}});
    Machine& machine = planning->machine;
    if (!request.detach && !machine.policy && !machine.policy_errors.empty())
        throw JobRefused("Failed", machine.obstacle());
    if (request.detach) wish_detached(machine);
    machine.under_way = Step::none;  // it will have been done
    if (!request.detach) {
        wish_attached(machine, false);
        machine.start_wanted = request.start && !machine.instance;
    }
    replan(machine, coming_generation());
    machine.on_hold = false;
    plan_on(planning);
}

void Engine::plan_on(const std::shared_ptr<Planning>& planning) {
    Machine& machine = planning->machine;
    for (;;) {
        const Step step = next_step(machine);
        switch (step) {
            case Step::none:
                return planning->end();
            case Step::look:
                return ports_.look(machine.name, [this, planning](Looked looked) {
                    if (planning->end_by(looked.failure)) return;
                    planning->machine.image = std::move(looked.image);
                    replan(planning->machine, coming_generation());
                    planning->machine.on_hold = false;
                    plan_on(planning);
                });
            case Step::expose:
                return plan_exposure(planning);
            case Step::grant:
                return plan_rules(planning);
            case Step::start:
                // What comes after it changes nothing: the unit begins with all that it is to have.
                planning->add({start_of(machine.name)});
                return planning->end();
            case Step::mount:
                if (!machine.mounted) planning->add({mount_of(machine.instance->unit)});
                break;
            case Step::reload:
            case Step::release:
                break;
        }
        assume_done(machine, step);
    }
}

void Engine::plan_exposure(const std::shared_ptr<Planning>& planning) {
    const ExposeMode mode = planning->request.diff ? ExposeMode::diff : ExposeMode::plan;
    ports_.expose(planning->machine.planned.plan, mode, [this, planning](const Exposed& exposed) {
        if (planning->end_by(exposed.failure)) return;
        planning->add(exposed.changes);
        planning->machine.expose_errors = exposed.errors;
        assume_done(planning->machine, Step::expose);
        plan_on(planning);
    });
}

void Engine::plan_rules(const std::shared_ptr<Planning>& planning) {
    const Machine& machine = planning->machine;
    ports_.plan_grant(*machine.instance, rules_for(machine), [this, planning](const Granted& granted) {
        if (planning->end_by(granted.failure)) return;
        planning->add(granted.changes);
        assume_done(planning->machine, Step::grant);
        plan_on(planning);
    });
}

}  // namespace cuda_nspawn
