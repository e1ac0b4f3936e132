// The evidence of a diagnosis: two workers are asked at once, and systemd for the rules of what runs.
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "system/live_ports.hpp"

namespace cuda_nspawn {

namespace {

Examination to_examination(const std::string& machine, const SurveyReport& survey, const ExamineReport& examined) {
    Examination examination;
    examination.host = survey.host;
    if (const auto place = survey.machines.find(machine); place != survey.machines.end())
        examination.on_host = place->second;
    if (const auto place = examined.find(machine); place != examined.end()) {
        examination.image = place->second.path;
        examination.guest = place->second.guest;
        examination.software = place->second.software;
        examination.program = place->second.program;
        examination.image_failure = place->second.failure;
    }
    return examination;
}

// Two reports that come in any order.
struct Gathering {
    SurveyReport survey;
    ExamineReport examined;
    std::string failure;
    int outstanding = 2;
};

template <class Report>
void take(Report& to, Report (*parse)(std::string_view), const std::string& text, const std::string& failure,
          std::string& whole_failure) {
    try {
        if (failure.empty()) to = parse(text);
        if (whole_failure.empty()) whole_failure = failure;
    } catch (const std::exception& error) {
        whole_failure = error.what();
    }
}

}  // namespace

void LivePorts::ask_workers(const SurveyRequest& survey, const ExamineRequest& examine, Reply<Audit> reply) {
    const auto gathering = std::make_shared<Gathering>();
    const auto done = [gathering, reply = std::move(reply)] {
        if (--gathering->outstanding > 0) return;
        Audit audit{gathering->survey.host, {}, gathering->failure};
        for (const auto& [machine, examined] : gathering->examined)
            audit.machines[machine] = to_examination(machine, gathering->survey, gathering->examined);
        reply(std::move(audit));
    };
    workers_.run("survey", to_json(survey), [gathering, done](const std::string& text, const std::string& failure) {
        take(gathering->survey, parse_survey_report, text, failure, gathering->failure);
        done();
    });
    workers_.run("examine", to_json(examine), [gathering, done](const std::string& text, const std::string& failure) {
        take(gathering->examined, parse_examine_report, text, failure, gathering->failure);
        done();
    });
}

// Many that come at once, as when a driver is missing at boot, are one request; a program is asked about alone.
void LivePorts::examine(const Question& question, Reply<Examination> reply) {
    gather(questions_, {question, std::move(reply)}, &LivePorts::send_questions);
}

void LivePorts::send_questions() {
    auto items = std::exchange(questions_.items, {});
    const auto alone = std::ranges::find_if(items, [](const auto& item) { return !item.first.program.empty(); });
    if (alone != items.end() && items.size() > 1) {
        auto one = std::move(*alone);
        items.erase(alone);
        questions_.items = std::exchange(items, {});
        items.push_back(std::move(one));
    }
    // Whoever asks for one machine very often has it looked at once.
    std::set<std::string> machines;
    for (const auto& item : items) machines.insert(item.first.machine);
    const SurveyRequest survey{.machines = {machines.begin(), machines.end()}, .logs = true};
    const ExamineRequest examine{.machines = survey.machines,
                                 .images = false,
                                 .program = items.front().first.program,
                                 .library_path = items.front().first.library_path};
    ask_workers(survey, examine, [this, items = std::move(items)](const Audit& audit) {
        for (const auto& [question, reply] : items) {
            const auto place = audit.machines.find(question.machine);
            Examination examination = place == audit.machines.end() ? Examination{} : place->second;
            if (!audit.failure.empty()) examination.failure = audit.failure;
            read_unit_state(question, examination, reply);
        }
        send_next(questions_, &LivePorts::send_questions);
    });
}

void LivePorts::read_unit_state(const Question& question, const Examination& examination,
                                const Reply<Examination>& reply) {
    if (!examination.failure.empty()) return reply(examination);
    if (!question.instance)
        return systemd_.get_active_state(nspawn_unit(question.machine), [examination, reply](const std::string& state) {
            Examination whole = examination;
            whole.start_failed = state == "failed";
            reply(whole);
        });
    systemd_.get_device_rules(question.instance->unit,
                              [examination, reply](const DeviceRules& rules, const std::string& failure) {
                                  Examination whole = examination;
                                  if (failure.empty()) whole.device_rules.emplace();
                                  for (const auto& [path, access] : rules)
                                      if (failure.empty())
                                          whole.device_rules->push_back(fmt::format("{} {}", path, access));
                                  reply(whole);
                              });
}

void LivePorts::audit(bool raw_images, Reply<Audit> reply) {
    // The images are known when they were examined; then the host is asked about their machines.
    // Units of their own: who waits for one machine does not wait for all.
    const std::string verb = raw_images ? "audit-images" : "audit";
    workers_.run(verb, to_json(ExamineRequest{.machines = {}, .images = raw_images, .program = "", .library_path = {}}),
                 [this, reply](const std::string& text, const std::string& failure) {
                     ExamineReport examined;
                     std::string whole_failure;
                     take(examined, parse_examine_report, text, failure, whole_failure);
                     SurveyRequest survey{.machines = {}, .logs = false};
                     for (const auto& [machine, one] : examined) survey.machines.push_back(machine);
                     if (!whole_failure.empty()) return reply({{}, {}, whole_failure});
                     workers_.run("survey", to_json(survey),
                                  [examined, reply](const std::string& report, const std::string& failed) {
                                      Audit audit;
                                      SurveyReport surveyed;
                                      take(surveyed, parse_survey_report, report, failed, audit.failure);
                                      audit.host = surveyed.host;
                                      for (const auto& [machine, one] : examined)
                                          audit.machines[machine] = to_examination(machine, surveyed, examined);
                                      reply(std::move(audit));
                                  });
                 });
}

}  // namespace cuda_nspawn
