// How a job is cancelled: it ends, and its wishes go as far as nothing of them was begun and nobody else has them.
#include <fmt/format.h>

#include <algorithm>

#include "engine/engine.hpp"

namespace cuda_nspawn {

void Engine::cancel(unsigned id) {
    const auto place = jobs_.find(id);
    if (place == jobs_.end())
        throw JobRefused("NoSuchJob",
                         fmt::format("There is no job {}: it never was, or has ended and is forgotten.", id));
    Job& job = place->second;
    if (job.state == JobState::ended)
        throw JobRefused("NotCancellable", fmt::format("Job {} has ended already: {}", id, job.text));
    const std::string name = job.machine;
    const bool wanted_test = job.options.test;
    end_job(job, JobResult::cancelled, "cancelled");
    const auto known = machines_.find(name);
    if (known == machines_.end()) return;
    Machine& machine = known->second;
    withdraw(machine);
    const bool is_waited_for = std::any_of(jobs_.begin(), jobs_.end(),
                                           [&](const auto& entry) { return is_tested_for(machine, entry.second); });
    if (wanted_test && machine.testing && machine.tested_for_jobs && !is_waited_for && !machine.test_ended) {
        machine.test_ended = true;
        ports_.end_test(name);
    }
    advance(machine);
}

// Whether what the running test says is an answer to that job: one that came later and takes no earlier verdict wants
// another.
bool Engine::is_tested_for(const Machine& machine, const Job& job) const {
    return job.is_open_for(machine.name) && job.options.test && (job.test_tried || !job.options.fresh);
}

// What jobs wished that are no more, as far as it was not begun.
void Engine::withdraw(Machine& machine) const {
    if (!machine.start_wanted && !machine.test_asked) return;
    bool start = false, test = false;
    for (const auto& [id, job] : jobs_)
        if (job.is_open_for(machine.name)) {
            start = start || job.options.start;
            test = test || job.options.test;
        }
    machine.start_wanted = machine.start_wanted && start;
    machine.test_asked = machine.test_asked && test;
}

}  // namespace cuda_nspawn
