// What the journal is told of a machine, beside the sentences that a step has at hand. Together they are its story:
// journalctl CUDA_NSPAWN_MACHINE=NAME.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/engine.hpp"

namespace cuda_nspawn {

namespace {

std::string count_gpus(std::size_t count) { return fmt::format("{} GPU{}", count, count == 1 ? "" : "s"); }

std::string describe(const Image& image) {
    if (image.path.empty()) return "there is no image of that name yet";
    if (!image.guest) return fmt::format("image {}, into which nobody looks before it runs", image.path);
    return fmt::format("image {}: {}", image.path, image.guest->os_name.empty() ? "unknown" : image.guest->os_name);
}

Event event_of(VerdictResult result) {
    switch (result) {
        case VerdictResult::passed:
            return Event::self_test_passed;
        case VerdictResult::degraded:
            return Event::self_test_degraded;
        case VerdictResult::failed:
            return Event::self_test_failed;
        case VerdictResult::none:
        case VerdictResult::no_verdict:
            break;
    }
    return Event::self_test_without_verdict;
}

Event event_of(const Job& job) {
    if (job.state == JobState::running) return Event::job_begun;
    if (job.result == JobResult::done) return Event::job_done;
    return job.result == JobResult::failed ? Event::job_failed : Event::job_withdrawn;
}

}  // namespace

void Engine::tell_policy(const Policy& policy) {
    std::vector<std::string> gpus;
    for (const GpuSelector& selector : policy.gpus) gpus.push_back(to_string(selector));
    observer_.message({Event::policy_read, policy.machine,
                       fmt::format("policy {}: gpus: {}", policy.path,
                                   policy.all_gpus ? "all"
                                   : gpus.empty()  ? "none"
                                                   : fmt::format("{}", fmt::join(gpus, ", ")))});
}

// What was said is not said again: each start looks at it.
void Engine::tell_image(Machine& machine) {
    const std::string text = describe(*machine.image);
    if (machine.image_told != text) observer_.message({Event::image_seen, machine.name, text});
    machine.image_told = text;
}

void Engine::tell_changes(const std::string& name, const Plan& plan, bool takes, const std::vector<Change>& changes) {
    if (changes.empty()) return;
    const bool only_removed = std::ranges::count(changes, "remove", &Change::type) == std::ssize(changes);
    if (takes || only_removed)
        return observer_.message(
            {Event::exposure_removed, name, fmt::format("exposure removed: {} changes", changes.size())});
    observer_.message({Event::exposure_made,
                       name,
                       fmt::format("exposure made: {} changes, {} nodes, generation {}", changes.size(),
                                   plan.nodes.size(), plan.generation.empty() ? "none" : plan.generation),
                       {.generation = plan.generation}});
}

void Engine::tell_rules(const Machine& machine, const std::vector<Change>& changes) {
    if (changes.empty()) return;
    const auto allowed = std::ranges::count(changes, "allow", &Change::type);
    observer_.message({Event::rules_set, machine.name,
                       fmt::format("device rules set: {} nodes opened, {} closed", allowed,
                                   static_cast<std::ptrdiff_t>(changes.size()) - allowed)});
}

// Which steps it took is told already; this is what they came to.
void Engine::tell_state(Machine& machine) {
    if (!machine.instance) return;
    const State state = machine.state(generation_pending());
    if ((state != State::attached && state != State::detached) || machine.told == state) return;
    machine.told = state;
    if (state == State::detached)
        return observer_.message({Event::detached, machine.name, "detached until the machine starts again"});
    const std::string& generation = machine.planned.plan.generation;
    observer_.message({Event::attached,
                       machine.name,
                       fmt::format("attached: {}, driver {}", count_gpus(machine.planned.gpus.size()), generation),
                       {.driver = driver_.userspace_version, .generation = generation}});
}

void Engine::tell_verdict(const Machine& machine) {
    const Verdict& verdict = machine.verdict;
    observer_.message({event_of(verdict.result),
                       machine.name,
                       fmt::format("self-test {}", verdict.summary),
                       {.driver = driver_.userspace_version,
                        .generation = machine.planned.plan.generation,
                        .verdict = std::string(to_string(verdict.result))}});
}

// What somebody asked for, and what he was answered.
void Engine::tell_job(const Job& job) {
    const bool is_running = job.state == JobState::running;
    Message message{event_of(job), job.machine, "", {.job = std::to_string(job.id)}};
    message.text =
        is_running ? fmt::format("{} asked for (job {})", to_string(job.kind), job.id)
                   : fmt::format("{} {} (job {}): {}", to_string(job.kind), to_string(job.result), job.id, job.text);
    if (!is_running) message.fields.result = to_string(job.result);
    const auto place = machines_.find(job.machine);
    if (job.is_explained && place != machines_.end() && !place->second.findings.empty() &&
        place->second.findings.front().severity == FindingSeverity::error)
        message.fields.finding = place->second.findings.front().code;
    observer_.message(message);
}

}  // namespace cuda_nspawn
