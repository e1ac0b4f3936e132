#include "bus/verbs.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <utility>

#include "bus/errors.hpp"
#include "guest/printable.hpp"
#include "names.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn::bus {

namespace {

constexpr std::size_t longest_word = 64;  // of the caller's own, in an error

BusChanges to_bus(const std::vector<Change>& changes) {
    BusChanges list;
    for (const Change& change : changes) list.emplace_back(change.type, change.path, change.detail);
    return list;
}

std::vector<BusFinding> to_bus(const Findings& findings) {
    std::vector<BusFinding> list;
    for (const Finding& finding : findings)
        list.emplace_back(finding.code, std::string(to_string(finding.severity)), finding.text, finding.evidence,
                          std::string(to_string(finding.where)), finding.fix, finding.consequences,
                          std::string(names::findings_page));
    return list;
}

// Whatever is wrong with a call goes to its caller as an error; nothing is thrown into the loop.
template <class Answer, class Body>
void answer_errors(Answer& answer, Body&& body) {
    try {
        body();
    } catch (const JobRefused& refused) {
        answer->returnError(error(refused));
    } catch (const sdbus::Error& refused) {
        answer->returnError(refused);
    }
}

// What who waits for a job hears of one that was not done; nothing of one that was, or still is under way.
std::optional<sdbus::Error> error_of(const Job& job) {
    switch (job.result) {
        case JobResult::none:
        case JobResult::done:
            break;
        case JobResult::failed:
            return error("Failed", job.text);
        case JobResult::cancelled:
            return error("Cancelled", fmt::format("Job {} was cancelled.", job.id));
        case JobResult::superseded:
            return error("Superseded", job.text);
    }
    return std::nullopt;
}

void answer_when_ready(Engine& engine, const std::shared_ptr<JobAnswer>& answer, unsigned id, bool wait) {
    const auto reply = [answer](const Job& job) {
        if (const auto failure = error_of(job)) return answer->returnError(*failure);
        answer->returnResults(job_path(job.id), to_bus(job.changes));
    };
    if (wait)
        engine.when_ended(id, reply);
    else
        engine.when_applied(id, reply);
}

Policy policy_of(const PolicyResult& parsed) {
    if (const auto* policy = std::get_if<Policy>(&parsed)) return *policy;
    std::vector<std::string> lines;
    for (const Diagnostic& diagnostic : std::get<std::vector<Diagnostic>>(parsed))
        lines.push_back(to_string(diagnostic));
    throw error("InvalidPolicy", fmt::format("{}", fmt::join(lines, "\n")));
}

}  // namespace

void Verbs::plan(PlanResult&& result, const std::string& machine, Options options) {
    host_.reread(machine);
    const auto answer = std::make_shared<PlanResult>(std::move(result));
    answer_errors(answer, [&] {
        OptionReader reader(std::move(options));
        const std::string verb = reader.take_string("verb", "attach");
        PlanRequest request{.machine = machine, .detach = verb == "detach"};
        request.start = reader.take_bool("start");
        request.diff = reader.take_bool("diff");
        const auto text = reader.take_string("policy");
        request.without_policy = reader.take_bool("without_policy");
        reader.finish();
        if (verb != "attach" && verb != "detach")
            throw error("InvalidArgs",
                        fmt::format("Option \"verb\" is attach or detach, not \"{}\".", printable(verb, longest_word)));
        if (request.detach && request.start) throw error("InvalidArgs", "Option \"start\" is of the verb attach.");
        if (text && request.without_policy)
            throw error("InvalidArgs", "Options \"policy\" and \"without_policy\" exclude each other.");
        if (text) {
            host_.rest();  // a text of 64 KiB may become a tree of 15 MiB
            request.policy = policy_of(host_.parse_policy(machine, *text));
        }
        engine_.plan(request, [answer](const PlannedChanges& planned) {
            if (!planned.failure.empty()) return answer->returnError(error("Failed", planned.failure));
            answer->returnResults(to_bus(planned.changes));
        });
    });
}

void Verbs::cancel(CancelAnswer&& result, unsigned job) {
    const auto answer = std::make_shared<CancelAnswer>(std::move(result));
    answer_errors(answer, [&] {
        engine_.cancel(job);
        answer->returnResults();
    });
}

void Verbs::attach(JobAnswer&& result, const std::string& machine, Options options) {
    host_.reread(machine);
    // The driver may have changed without an event. A guest that gets its GPUs back need not wait for the look: it is
    // made while systemd is busy, and what is found is converged to before the job ends.
    const auto known = engine_.machines().find(machine);
    const bool gives_back = known != engine_.machines().end() && known->second.instance && known->second.revoked &&
                            known->second.obstacle().empty();
    if (!gives_back) host_.look_at_driver();
    const auto answer = std::make_shared<JobAnswer>(std::move(result));
    answer_errors(answer, [&] {
        OptionReader reader(std::move(options));
        JobOptions wished;
        wished.start = reader.take_bool("start");
        wished.test = reader.take_bool("test");
        wished.fresh = reader.take_bool("fresh");
        const bool wait = reader.take_bool("wait");
        reader.finish();
        answer_when_ready(engine_, answer, engine_.attach(machine, wished), wait);
    });
    if (gives_back) host_.look_at_driver_soon();
}

void Verbs::detach(JobAnswer&& result, const std::string& machine, Options options) {
    host_.reread(machine);
    const auto answer = std::make_shared<JobAnswer>(std::move(result));
    answer_errors(answer, [&] {
        OptionReader reader(std::move(options));
        const bool wait = reader.take_bool("wait");
        const bool by_unit = reader.take_bool("by_unit");
        const bool offline = reader.take_bool("offline");
        reader.finish();
        if (offline && by_unit) throw error("InvalidArgs", "Options \"offline\" and \"by_unit\" exclude each other.");
        // What it changed is known at its end.
        if (offline) return answer_when_ready(engine_, answer, engine_.detach_offline(machine), true);
        answer_when_ready(engine_, answer, engine_.detach(machine, by_unit), wait);
    });
}

void Verbs::self_test(TestAnswer&& result, const std::string& machine, Options options) {
    host_.reread(machine);
    const auto answer = std::make_shared<TestAnswer>(std::move(result));
    answer_errors(answer, [&] {
        OptionReader reader(std::move(options));
        const bool wait = reader.take_bool("wait");
        const std::string level = reader.take_string("level", "");
        reader.finish();
        if (!level.empty() && level != "quick" && level != "full")
            throw error("InvalidArgs",
                        fmt::format("Option \"level\" is quick or full, not \"{}\".", printable(level, longest_word)));
        std::optional<SelfTestLevel> wished;  // else the policy's
        if (!level.empty()) wished = level == "full" ? SelfTestLevel::full : SelfTestLevel::quick;
        const unsigned id = engine_.self_test(machine, wished);
        if (!wait) return answer->returnResults(job_path(id), std::string(), std::string());
        engine_.when_ended(id, [this, answer, machine](const Job& job) {
            const auto place = engine_.machines().find(machine);
            // A job that ended with anything but a verdict tells why; an earlier verdict is no answer.
            if (place == engine_.machines().end() || place->second.verdict.result == VerdictResult::none ||
                job.text != place->second.verdict.summary)
                return answer->returnError(error_of(job).value_or(error("Failed", job.text)));
            const Verdict& verdict = place->second.verdict;
            answer->returnResults(job_path(job.id), std::string(to_string(verdict.result)), verdict.summary);
        });
    });
}

void Verbs::diagnose(FindingsAnswer&& result, const std::string& machine, Options options) {
    if (!machine_name_error(machine)) host_.reread(machine);
    const auto answer = std::make_shared<FindingsAnswer>(std::move(result));
    answer_errors(answer, [&] {
        OptionReader reader(std::move(options));
        Question question{.machine = machine};
        question.program = reader.take_string("program", "");
        question.library_path = reader.take_string("library_path");
        reader.finish();
        if (question.program.empty() && question.library_path)
            throw error("InvalidArgs", "Option \"library_path\" is of a program: give the option \"program\" too.");
        if (!question.program.empty() && !question.program.starts_with('/'))
            throw error("InvalidArgs",
                        "Option \"program\" is a path in the machine, from its root: it begins with \"/\".");
        engine_.diagnose(question, [answer](const Diagnosis& diagnosis) {
            if (!diagnosis.failure.empty()) return answer->returnError(error("Failed", diagnosis.failure));
            answer->returnResults(to_bus(diagnosis.findings));
        });
    });
}

void Verbs::audit(AuditAnswer&& result, Options options) {
    const auto answer = std::make_shared<AuditAnswer>(std::move(result));
    answer_errors(answer, [&] {
        OptionReader reader(std::move(options));
        const bool images = reader.take_bool("images");
        reader.finish();
        engine_.audit(images, [this, answer](const AuditReport& report) {
            if (!report.failure.empty()) return answer->returnError(error("Failed", report.failure));
            host_.rest();
            std::vector<BusAudited> list;
            for (const AuditedMachine& one : report.machines)
                list.emplace_back(one.machine, one.image, one.os, one.has_policy, to_bus(one.findings));
            answer->returnResults(list);
        });
    });
}

void Verbs::list_holders(HoldersAnswer&& result, const std::string& machine) {
    if (!machine.empty()) host_.reread(machine);
    const auto answer = std::make_shared<HoldersAnswer>(std::move(result));
    answer_errors(answer, [&] {
        engine_.holders(machine, [answer](const Holders& found) {
            if (!found.failure.empty()) return answer->returnError(error("Failed", found.failure));
            std::vector<BusHolder> list;
            for (const Holder& holder : found.holders)
                list.emplace_back(holder.machine, holder.pid, holder.pid_in_machine, holder.name, holder.nodes);
            answer->returnResults(list);
        });
    });
}

void check_name(const std::string& machine) {
    if (const auto problem = machine_name_error(machine)) throw error("InvalidName", *problem);
}

sdbus::ObjectPath machine_path(const std::string& machine) {
    return sdbus::ObjectPath(fmt::format("{}/{}", names::machine_objects, escape_bus_label(machine)));
}
sdbus::ObjectPath gpu_path(const std::string& uuid) {
    return sdbus::ObjectPath(fmt::format("{}/gpu/{}", names::root_object, escape_bus_label(uuid)));
}
sdbus::ObjectPath job_path(unsigned id) { return sdbus::ObjectPath(fmt::format("{}/job/{}", names::root_object, id)); }

}  // namespace cuda_nspawn::bus
