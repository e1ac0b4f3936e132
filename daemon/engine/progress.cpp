// How far a job is: what is being done, the how many-th thing, of how many.
#include "engine/progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/engine.hpp"

namespace cuda_nspawn {

std::string doing(Step step, const std::string& machine) {
    switch (step) {
        case Step::none:
            break;
        case Step::look:
            return "look at the image";
        case Step::expose:
            return "make the exposure";
        case Step::grant:
            return "set the device rules";
        case Step::mount:
            return "mount the driver into the machine";
        case Step::reload:
            return "have systemd read its units again";
        case Step::release:
            return "clean up after the last run";
        case Step::start:
            return fmt::format("start {}", nspawn_unit(machine));
    }
    return "";
}

std::string explaining(const std::string& failure) { return fmt::format("find the cause of: {}", failure); }

Change mount_of(const std::string& unit) { return {"mount", unit, "the driver, into the running machine"}; }
Change start_of(const std::string& machine) { return {"start", nspawn_unit(machine), "the machine"}; }

// By the rule that picks the steps, on a copy of the machine on which each succeeds. What the answers are is not known,
// so another step may be needed.
unsigned Engine::steps_ahead(const Machine& machine, const Job& job, bool copying) const {
    constexpr unsigned most = 16;
    Machine ahead = machine;
    ahead.failure.clear();
    assume_done(ahead, std::exchange(ahead.under_way, Step::none));
    if (job.options.start && !ahead.instance && !job.start_tried) ahead.start_wanted = true;
    bool copy_is_due = generation_pending() && job.kind != JobKind::detach;
    unsigned count = 0;
    while (count < most) {
        const Step step = next_step(ahead);
        if (step == Step::none && !copy_is_due) break;
        if (step == Step::none) {
            if (!copying) ++count;
            copy_is_due = ahead.on_hold = false;
            ahead.exposed.reset();  // there will be another plan
        } else {
            ++count;
            assume_done(ahead, step);
        }
    }
    const bool is_off = !ahead.policy || (ahead.policy->self_test == SelfTestLevel::off && job.kind == JobKind::attach);
    const bool has_verdict = ahead.verdict.result != VerdictResult::none && !job.options.fresh && machine.instance;
    const bool test_comes = job.options.test && ahead.instance && !is_off && !has_verdict && ahead.obstacle().empty();
    return count + (test_comes ? 1 : 0);
}

// Whatever is begun is a step of those who wait for it.
void Engine::tell(Job& job, const std::string& doing, unsigned ahead) {
    ++job.step;
    job.steps = std::max(job.steps, job.step + ahead);
    job.text = doing;
    observer_.job_changed(job.id);
}

void Engine::tell_of_step(const Machine& machine, Job& job) {
    if (machine.under_way != Step::none)
        tell(job, doing(machine.under_way, machine.name), steps_ahead(machine, job, false));
}

// A job that waits while nothing is done for the machine itself.
void Engine::tell_while_open(const Machine& machine, Job& job) {
    if (generation_pending() && job.text != copying_text)
        tell(job, copying_text, steps_ahead(machine, job, true));
    else if (machine.testing && job.options.test && job.text != testing_text)
        tell(job, testing_text, is_tested_for(machine, job) ? 0 : 1);
}

}  // namespace cuda_nspawn
