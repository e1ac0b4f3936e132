#include "engine/machine.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace cuda_nspawn {

namespace {

bool all_within(const std::vector<DeviceNode>& some, const std::vector<DeviceNode>& all) {
    return std::all_of(some.begin(), some.end(),
                       [&](const DeviceNode& node) { return std::find(all.begin(), all.end(), node) != all.end(); });
}

// Whether a rule may be there that must go. Where the rules are not known, what was ever lent may be open.
bool is_too_open(const Machine& machine, const std::vector<DeviceNode>& wanted) {
    return (wanted.empty() && !machine.granted) || !all_within(machine.granted.value_or(machine.lent), wanted);
}

}  // namespace

std::string_view to_string(Step step) {
    switch (step) {
        case Step::none:
            return "none";
        case Step::look:
            return "look";
        case Step::expose:
            return "expose";
        case Step::grant:
            return "grant";
        case Step::mount:
            return "mount";
        case Step::reload:
            return "reload";
        case Step::release:
            return "release";
        case Step::start:
            return "start";
    }
    return "unknown";
}

std::string_view to_string(State state) {
    switch (state) {
        case State::invalid:
            return "invalid";
        case State::blocked:
            return "blocked";
        case State::preparing:
            return "preparing";
        case State::ready:
            return "ready";
        case State::starting:
            return "starting";
        case State::attached:
            return "attached";
        case State::detached:
            return "detached";
        case State::failed:
            return "failed";
    }
    return "unknown";
}

Step next_step(const Machine& machine) {
    if (machine.under_way != Step::none || !machine.failure.empty()) return Step::none;
    if (!machine.ended.empty()) return Step::release;
    const Plan& plan = machine.planned.plan;
    const std::vector<DeviceNode> wanted = machine.wanted_nodes();
    const bool too_open = is_too_open(machine, wanted);
    // A file that cannot be read says nothing about what the admin wants: hands off until it can. A detach says it.
    const bool hands_off = !machine.policy && !machine.policy_errors.empty();
    if (hands_off) return machine.instance && machine.revoked && too_open ? Step::grant : Step::none;
    if (machine.instance && !machine.on_hold && too_open) return Step::grant;
    if (machine.policy && !machine.image) return Step::look;
    if (machine.on_hold) return Step::none;
    if (!machine.exposed && machine.reload_due) return Step::reload;
    if (!machine.exposed || *machine.exposed != plan || machine.exposed_in_doubt) return Step::expose;
    // Before the reload, which takes longer than everything else: a GPU that is given or taken is so at once.
    if (machine.instance && (machine.granted != wanted || machine.granted_in_doubt)) return Step::grant;
    if (machine.lacks_mounts()) return Step::mount;
    if (machine.reload_due) return Step::reload;
    if (machine.start_wanted && !machine.instance && machine.obstacle().empty()) return Step::start;
    return Step::none;
}

void assume_done(Machine& machine, Step step) {
    switch (step) {
        case Step::none:
            break;
        case Step::look:
            if (!machine.image) machine.image.emplace();
            break;
        case Step::expose:
            machine.reload_due = machine.reload_due || (machine.exposed && *machine.exposed != machine.planned.plan);
            machine.exposed = machine.planned.plan;
            machine.exposed_in_doubt = false;
            break;
        case Step::grant:
            machine.granted = machine.wanted_nodes();
            machine.granted_in_doubt = false;
            break;
        case Step::mount:
            machine.mounted = true;
            if (machine.set_up == SetUp::unknown) machine.set_up = SetUp::itself;
            machine.attended_epoch = machine.epoch;
            break;
        case Step::reload:
            machine.reload_due = false;
            break;
        case Step::release:
            machine.ended.erase(machine.ended.begin());
            break;
        case Step::start:
            machine.start_wanted = false;
            machine.instance = Instance{nspawn_unit(machine.name)};
            machine.granted.reset();
            break;
    }
}

bool test_is_due(const Machine& machine) {
    return (machine.test_wanted || machine.test_asked) && !machine.testing && machine.instance &&
           machine.under_way == Step::none && next_step(machine) == Step::none && machine.is_granted() &&
           machine.obstacle().empty();
}

void Machine::forget_image() {
    image.reset();
    look_overtaken = under_way == Step::look;
}

std::vector<DeviceNode> Machine::wanted_nodes() const {
    // With the settings refused the worker made no nodes, so there is nothing to open either.
    return expose_errors.empty() ? planned.plan.nodes : std::vector<DeviceNode>();
}

// A machine's own unit starts it as its image and settings say; who starts it by hand may run anything in it.
bool Machine::lacks_mounts() const {
    if (!instance) return false;
    if (set_up == SetUp::attended && attended_epoch != epoch) return true;
    const bool boots_as_known = image && image->boots_systemd && instance->unit == nspawn_unit(name);
    return !wanted_nodes().empty() && (!mounted || (set_up == SetUp::unknown && !boots_as_known));
}

bool Machine::only_opens() const { return granted && !granted_in_doubt && all_within(*granted, wanted_nodes()); }

std::vector<std::string> Machine::warnings() const {
    if (!policy || !policy->wants_gpus()) return {};
    std::vector<std::string> all = guest_warnings;
    all.insert(all.end(), notes.begin(), notes.end());
    return all;
}

std::string Machine::obstacle() const {
    if (!policy && !policy_errors.empty()) return fmt::format("{}", to_string(policy_errors.front()));
    if (!policy)
        return fmt::format("there is no policy for machine \"{0}\": write /etc/cuda-nspawn/machines/{0}.yaml", name);
    if (!policy->wants_gpus()) return fmt::format("{} grants no GPU (gpus: none)", policy->path);
    if (planned.obstacles.any()) return planned.obstacles.text();
    if (!expose_errors.empty()) return fmt::format("{}", fmt::join(expose_errors, "; "));
    return failure;
}

State Machine::state(bool generation_pending) const {
    if (!policy && !policy_errors.empty()) return State::invalid;
    if (!failure.empty()) return State::failed;
    if (!obstacle().empty()) return State::blocked;
    if (!instance && (start_wanted || under_way == Step::start)) return State::starting;
    if (generation_pending || !ended.empty() || !exposed || *exposed != planned.plan) return State::preparing;
    if (!instance) return reload_due ? State::preparing : State::ready;  // as systemd has read it
    if (granted != wanted_nodes() || lacks_mounts()) return State::preparing;
    if (revoked) return State::detached;
    return is_granted() ? State::attached : State::preparing;
}

std::string Machine::state_text(bool generation_pending) const {
    switch (state(generation_pending)) {
        case State::invalid:
            return to_string(policy_errors.front());
        case State::failed:
            return fmt::format("{} failed: {}", to_string(failed_step), failure);
        case State::blocked:
            return obstacle();
        case State::starting:
            return fmt::format("starting {}", nspawn_unit(name));
        case State::preparing:
            return generation_pending ? "the driver's files are being copied to the store" : "being prepared";
        case State::ready:
            if (image && image->path.empty())
                return fmt::format("no image of machine \"{}\" yet: waiting for it", name);
            return "prepared; the machine is not running";
        case State::attached:
            if (testing) return "attached; the self-test is running";
            return verdict.result == VerdictResult::none ? "attached; not tested" : verdict.summary;
        case State::detached:
            return "detached until the machine starts again";
    }
    return "";
}

}  // namespace cuda_nspawn
