// The engine's verbs and jobs. A job only states wishes; it ends when the machine's facts answer them.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/engine.hpp"
#include "engine/progress.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn {

namespace {
constexpr std::uint64_t kept_usec = 60'000'000;  // how long an ended job stays readable
// A caller in a loop must neither eat the daemon nor keep the others' machines from having jobs.
constexpr std::size_t running_limit = 4096;
constexpr std::size_t running_limit_of_one = 256;  // machine
constexpr std::size_t ended_limit = 1024;
}  // namespace

std::string_view to_string(JobKind kind) {
    switch (kind) {
        case JobKind::attach:
            return "attach";
        case JobKind::detach:
            return "detach";
        case JobKind::self_test:
            return "self-test";
    }
    return "unknown";
}

std::string_view to_string(JobState state) { return state == JobState::running ? "running" : "ended"; }

std::string_view to_string(JobResult result) {
    switch (result) {
        case JobResult::none:
            return "";
        case JobResult::done:
            return "done";
        case JobResult::failed:
            return "failed";
        case JobResult::cancelled:
            return "cancelled";
        case JobResult::superseded:
            return "superseded";
    }
    return "unknown";
}

const Machine& Engine::machine(const std::string& name) const {
    if (const auto error = machine_name_error(name)) throw JobRefused("InvalidName", *error);
    const auto place = machines_.find(name);
    if (place == machines_.end())
        throw JobRefused(
            "NoSuchMachine",
            fmt::format("There is no policy for machine \"{0}\": write /etc/cuda-nspawn/machines/{0}.yaml, "
                        "for example with the line \"gpus: all\".",
                        name));
    return place->second;
}

Machine& Engine::find(const std::string& name) {
    return const_cast<Machine&>(std::as_const(*this).machine(name));  // NOLINT: the object itself is not const
}

Job& Engine::new_job(JobKind kind, const std::string& machine, const JobOptions& options) {
    std::size_t running = 0, of_this_one = 0;
    for (const auto& [id, job] : jobs_) {
        if (job.state != JobState::running) continue;
        ++running;
        // To close the door nobody waits behind who wants it opened.
        if (job.machine == machine && (kind != JobKind::detach || job.kind == kind)) ++of_this_one;
    }
    if ((running >= running_limit && kind != JobKind::detach) || of_this_one >= running_limit_of_one)
        throw JobRefused("TooManyJobs",
                         fmt::format("{} jobs are running already, {} of them for machine \"{}\"; try again when some "
                                     "have ended.",
                                     running, of_this_one, machine));
    if (jobs_.size() - running >= ended_limit) forget_oldest_job();
    Job job;
    job.id = next_job_++;
    job.kind = kind;
    job.machine = machine;
    job.options = options;
    const auto place = jobs_.emplace(job.id, std::move(job)).first;
    observer_.job_added(place->first);
    tell_job(place->second);
    return place->second;
}

void Engine::supersede(const std::string& name, JobKind kept) {
    for (auto& [id, job] : jobs_) {
        const bool opposite = (job.kind == JobKind::detach) != (kept == JobKind::detach);
        if (job.waits_for(name) && opposite)
            end_job(job, JobResult::superseded, fmt::format("overtaken by a later {}", to_string(kept)));
    }
}

// What jobs wanted started has been: if it ends before they do, that was somebody's wish, or its own.
void Engine::note_that_it_runs(const std::string& name) {
    for (auto& [id, job] : jobs_)
        if (job.waits_for(name)) job.start_tried = true;
}

// What attach() and detach() make of a machine's wishes and facts; of a copy, where it is only planned.
void Engine::wish_attached(Machine& machine, bool fresh) {
    machine.revoked = false;
    machine.failure.clear();
    // What somebody changed in files is mended, but not while a self-test runs, which would have to begin anew.
    machine.exposed_in_doubt = machine.exposed_in_doubt || !machine.testing;
    if (!fresh && machine.instance) return;
    // Look again at everything: what somebody else changed meanwhile is mended.
    machine.forget_image();
    machine.exposed.reset();
    machine.granted.reset();
    machine.mounted = !machine.instance || ports_.has_mounts(*machine.instance);
}

// Whether there is anything to revoke: what is just being started is so as soon as it runs.
bool Engine::wish_detached(Machine& machine) {
    machine.start_wanted = false;
    machine.failure.clear();
    const bool runs = machine.instance || machine.under_way == Step::start;
    machine.revoked = machine.revoked || runs;
    return runs;
}

unsigned Engine::attach(const std::string& name, const JobOptions& options) {
    Machine& machine = find(name);
    const unsigned id = new_job(JobKind::attach, name, options).id;
    if (machine.instance) note_that_it_runs(name);
    supersede(name, JobKind::attach);
    const bool was_revoked = machine.revoked;
    wish_attached(machine, options.fresh);
    if (was_revoked && machine.instance && machine.policy && machine.policy->wants_gpus()) follow(machine, true);
    // The detach took its test away, and maybe nothing else yet.
    if (was_revoked && machine.instance) machine.test_wanted = machine.is_to_be_tested();
    machine.findings.clear();
    replan(machine);
    remember(machine);
    tell_of_step(machine, jobs_.at(id));
    advance(machine);
    return id;
}

unsigned Engine::detach(const std::string& name, bool by_unit) {
    Machine& machine = find(name);
    const unsigned id = new_job(JobKind::detach, name, {}).id;
    if (by_unit && ports_.is_stopping_unit(name)) {
        end_job(jobs_.at(id), JobResult::done, "nothing was taken: the daemon itself stops the unit");
        return id;
    }
    supersede(name, JobKind::detach);
    machine.test_wanted = false;
    machine.test_asked = false;
    machine.follow_due.reset();
    if (wish_detached(machine)) forget_verdict(machine);
    replan(machine);
    // Before the unit is stopped: a daemon that comes after this one takes the stop for ours, and not for a wish.
    remember(machine);
    if (machine.instance && !by_unit) machine.follow_due = false;
    tell_of_step(machine, jobs_.at(id));
    advance(machine);
    return id;
}

unsigned Engine::detach_offline(const std::string& name) {
    const Machine& machine = find(name);
    if (machine.instance || machine.under_way == Step::start)
        throw JobRefused(
            "Running",
            fmt::format("Machine \"{0}\" runs: cuda-nspawnctl detach {0}, without the option offline.", name));
    Job& job = new_job(JobKind::detach, name, {});
    job.offline = true;
    const unsigned id = job.id;
    tell(job, cleaning_text, 0);
    ports_.clean(name, [this, id](const Cleaned& cleaned) {
        const auto place = jobs_.find(id);
        if (place == jobs_.end() || place->second.state == JobState::ended) return;  // it was cancelled
        Job& done = place->second;
        done.changes = cleaned.changes;
        if (!cleaned.failure.empty()) return end_job(done, JobResult::failed, cleaned.failure);
        end_job(done, JobResult::done,
                done.changes.empty() ? "there was nothing of ours in it" : "what was left of ours is gone");
    });
    return id;
}

unsigned Engine::self_test(const std::string& name, std::optional<SelfTestLevel> level) {
    Machine& machine = find(name);
    if (!machine.instance)
        throw JobRefused("NotRunning", fmt::format("Machine \"{0}\" is not running, so nothing can be tested in it: "
                                                   "systemctl start {1}",
                                                   name, our_unit(name)));
    if (machine.revoked)
        throw JobRefused("Detached", fmt::format("Machine \"{0}\" is detached, so there is nothing to test in it: "
                                                 "systemctl start {1}",
                                                 name, our_unit(name)));
    machine.failure.clear();
    Job& job = new_job(JobKind::self_test, name, {false, true, true});
    job.level = level;
    const unsigned id = job.id;
    tell_of_step(machine, job);
    advance(machine);
    return id;
}

void Engine::holders(const std::string& name, Reply<Holders> reply) {
    if (!name.empty()) find(name);  // refuses what is no machine
    HoldersRequest request{all_nodes(driver_), {}, name};
    for (const auto& [machine, instance] : instances_) request.units[machine] = instance.unit;
    ports_.holders(request, [this, name, reply](const Holders& found) {
        for (const std::string& note : found.notes) observer_.message({Event::holders_incomplete, name, note});
        reply(found);
    });
}

void Engine::add_changes(const std::string& name, const std::vector<Change>& changes) {
    for (auto& [id, job] : jobs_)
        if (job.is_open_for(name)) job.changes.insert(job.changes.end(), changes.begin(), changes.end());
}

// Whether a running job still waits for something that is under way or about to be. May state its next wish.
bool Engine::outcome_is_open(const Machine& machine, const Job& job) const {
    if (job.kind == JobKind::detach || machine.revoked || !machine.obstacle().empty()) return false;
    if (generation_pending()) return true;
    if (job.options.start && !machine.instance) return !job.start_tried;
    const bool off = machine.policy->self_test == SelfTestLevel::off && job.kind != JobKind::self_test;
    if (!job.options.test || !machine.instance || off) return false;
    if (machine.testing || machine.test_wanted || machine.test_asked) return true;
    // What was wrong may have been mended in a way that nobody told us.
    const bool is_good =
        machine.verdict.result == VerdictResult::passed || machine.verdict.result == VerdictResult::degraded;
    return !job.test_tried && (job.options.fresh || !is_good);
}

std::pair<JobResult, std::string> Engine::outcome(const Machine& machine, const Job& job) const {
    if (job.kind == JobKind::detach) {
        if (!machine.failure.empty()) return {JobResult::failed, machine.failure};
        if (machine.revoked) return {JobResult::done, "detached until the machine starts again"};
        return {JobResult::done,
                machine.instance ? "the machine ended meanwhile and has started again" : "the machine is not running"};
    }
    if (const std::string obstacle = machine.obstacle(); !obstacle.empty()) return {JobResult::failed, obstacle};
    // A job that came after the test had begun, which then said on_failure: detach.
    if (machine.revoked)
        return {JobResult::failed, machine.verdict.result == VerdictResult::failed
                                       ? machine.verdict.summary
                                       : "detached until the machine starts again"};
    if (!machine.instance) {
        const bool needs_it = job.options.start || job.kind == JobKind::self_test;
        if (needs_it)
            return {JobResult::failed,
                    fmt::format("machine \"{}\" ended: see journalctl -u {}", machine.name, nspawn_unit(machine.name))};
        return {JobResult::done, "prepared: the machine gets the GPU when it starts"};
    }
    if (!job.options.test) return {JobResult::done, "attached"};
    switch (machine.verdict.result) {
        case VerdictResult::none:
            return {JobResult::done, "attached; not tested (self_test: off)"};
        case VerdictResult::passed:
        case VerdictResult::degraded:
            return {JobResult::done, machine.verdict.summary};
        case VerdictResult::failed:
        case VerdictResult::no_verdict:
            break;
    }
    return {JobResult::failed, machine.verdict.summary};
}

void Engine::settle_jobs(Machine& machine) {
    std::vector<unsigned> ids;
    for (const auto& [id, job] : jobs_)
        if (job.is_open_for(machine.name)) ids.push_back(id);
    for (const unsigned id : ids) {
        Job& job = jobs_.at(id);
        if (!generation_pending() && !job.applied) {
            job.applied = true;
            for (const auto& callback : std::exchange(job.on_applied, {})) callback(job);
        }
        if (!outcome_is_open(machine, job)) {
            const auto [result, text] = outcome(machine, job);
            if (result == JobResult::failed && job.kind == JobKind::attach)
                explain_failure(job, text);
            else
                end_job(job, result, text);
        } else if (job.options.start && !machine.instance && !job.start_tried &&
                   !(generation_.empty() && generation_pending())) {  // else its first service would find no driver
            job.start_tried = true;
            machine.start_wanted = true;
        } else if (job.options.test && machine.instance && !machine.testing && !machine.test_wanted &&
                   !machine.test_asked && !job.test_tried) {
            job.test_tried = true;
            machine.test_asked = true;
        } else {
            tell_while_open(machine, job);
        }
    }
    withdraw(machine);
    if (next_step(machine) != Step::none || test_is_due(machine)) advance(machine);
}

void Engine::end_job(Job& job, JobResult result, const std::string& text) {
    job.state = JobState::ended;
    job.result = result;
    job.text = text;
    job.step = std::max(1U, result == JobResult::done ? job.steps : job.step);
    job.steps = std::max(job.step, job.steps);
    job.ended_usec = ports_.now_usec();
    for (const auto& callback : std::exchange(job.on_applied, {})) callback(job);
    tell_job(job);
    observer_.job_ended(job.id);
    for (const auto& callback : std::exchange(job.on_ended, {})) callback(job);
}

void Engine::when_applied(unsigned job, std::function<void(const Job&)> callback) {
    Job& found = jobs_.at(job);
    if (found.applied || found.state == JobState::ended) return callback(found);
    found.on_applied.push_back(std::move(callback));
}

void Engine::when_ended(unsigned job, std::function<void(const Job&)> callback) {
    Job& found = jobs_.at(job);
    if (found.state == JobState::ended) return callback(found);
    found.on_ended.push_back(std::move(callback));
}

void Engine::forget_oldest_job() {
    const auto oldest = std::find_if(jobs_.begin(), jobs_.end(),
                                     [](const auto& entry) { return entry.second.state == JobState::ended; });
    const unsigned id = oldest->first;
    jobs_.erase(oldest);
    observer_.job_forgotten(id);
}

void Engine::forget_old_jobs() {
    const std::uint64_t now = ports_.now_usec();
    for (auto entry = jobs_.begin(); entry != jobs_.end();) {
        const Job& job = entry->second;
        if (job.state == JobState::ended && job.ended_usec + kept_usec <= now) {
            const unsigned id = entry->first;
            entry = jobs_.erase(entry);
            observer_.job_forgotten(id);
        } else {
            ++entry;
        }
    }
}

}  // namespace cuda_nspawn
