// The engine's part of a diagnosis: what it knows of a machine, together with what was collected for it.
#include <algorithm>
#include <memory>
#include <utility>

#include "engine/engine.hpp"
#include "engine/progress.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn {

Evidence Engine::evidence_of(const std::string& name, const Examination& examined) const {
    Evidence evidence;
    evidence.machine = name;
    evidence.driver = driver_;
    evidence.generation = generation_;
    evidence.pending_version = pending_version_;
    evidence.files_missing = files_missing_;
    evidence.build_failure = build_failure_;
    evidence.host = examined.host;
    evidence.on_host = examined.on_host;
    evidence.image = Image{.path = examined.image, .guest = examined.guest, .unit_problems = {}};
    evidence.image_failure = examined.image_failure;
    evidence.software = examined.software;
    evidence.program = examined.program;
    evidence.start_failed = examined.start_failed;
    const auto place = machines_.find(name);
    if (place == machines_.end()) return evidence;
    const Machine& machine = place->second;
    evidence.policy = machine.policy;
    evidence.policy_errors = machine.policy_errors;
    if (machine.image) evidence.image->unit_problems = machine.image->unit_problems;
    evidence.obstacles = machine.planned.obstacles;
    evidence.expose_errors = machine.expose_errors;
    evidence.notes = machine.notes;
    evidence.failure = machine.failure;
    evidence.detached = machine.revoked;
    evidence.verdict = machine.verdict;
    if (!machine.instance) return evidence;
    RunningEvidence& running = evidence.running.emplace();
    running.unit = machine.instance->unit;
    running.since_usec = machine.instance->since_usec;
    running.mounted = ports_.has_mounts(*machine.instance);
    // What is just being given is no evidence that it lacks.
    if (examined.device_rules && machine.granted == machine.wanted_nodes()) {
        running.device_rules = *examined.device_rules;
        running.wanted = machine.wanted_nodes();
    }
    return evidence;
}

void Engine::diagnose(const Question& question, Reply<Diagnosis> reply) {
    if (const auto error = machine_name_error(question.machine)) throw JobRefused("InvalidName", *error);
    Question asked = question;
    if (const auto running = instances_.find(asked.machine); running != instances_.end())
        asked.instance = running->second;
    ports_.examine(asked, [this, asked, reply = std::move(reply)](const Examination& examined) {
        if (!examined.failure.empty()) return reply({{}, examined.failure});
        Findings findings = cuda_nspawn::diagnose(evidence_of(asked.machine, examined));
        if (asked.program.empty()) set_findings(asked.machine, findings);
        reply({std::move(findings), ""});
    });
}

void Engine::audit(bool raw_images, Reply<AuditReport> reply) {
    ports_.audit(raw_images, [this, reply = std::move(reply)](const Audit& audit) {
        AuditReport report{{}, audit.failure};
        for (const auto& [name, examined] : audit.machines) {
            AuditedMachine& audited = report.machines.emplace_back();
            audited.machine = name;
            audited.image = examined.image;
            if (examined.guest) audited.os = examined.guest->os_name;
            audited.has_policy = machines_.contains(name);
            Examination whole = examined;
            whole.host = audit.host;
            const Evidence evidence = evidence_of(name, whole);
            audited.findings = audited.has_policy ? cuda_nspawn::diagnose(evidence) : diagnose_guest(evidence);
        }
        reply(std::move(report));
    });
}

void Engine::set_findings(const std::string& name, Findings findings) {
    const auto place = machines_.find(name);
    if (place == machines_.end() || place->second.findings == findings) return;
    place->second.findings = std::move(findings);
    observer_.machine_changed(name);
}

// The job ends when the cause is known, with that in its text: it is what `systemctl status` shows. Whatever becomes of
// the question, it ends.
void Engine::explain_failure(Job& job, const std::string& failure) {
    job.is_explained = true;
    tell(job, explaining(failure), 0);
    const auto end = [this, id = job.id](const std::string& text) {
        const auto place = jobs_.find(id);
        if (place != jobs_.end() && place->second.state == JobState::running)
            end_job(place->second, JobResult::failed, text);
    };
    diagnose({.machine = job.machine}, [end, failure](const Diagnosis& diagnosis) {
        end(diagnosis.failure.empty() ? explain(failure, diagnosis.findings) : failure);
    });
}

}  // namespace cuda_nspawn
