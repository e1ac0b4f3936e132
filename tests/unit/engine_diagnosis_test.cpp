// Why a job failed, and what a diagnosis leaves at the machine.
#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_policy;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<std::string> codes(const Findings& findings) {
    std::vector<std::string> all;
    for (const Finding& finding : findings) all.push_back(finding.code);
    return all;
}

// A Debian machine on a host with the old hierarchy of control groups, which explains whatever a test says.
Examination on_an_old_host() {
    Examination examination;
    examination.host.unified_cgroups = false;
    examination.image = "/var/lib/machines/a";
    examination.guest.emplace();
    examination.guest->os_id = "debian";
    examination.guest->os_name = "Debian";
    examination.guest->libc = Libc::glibc;
    examination.guest->libc_version = "2.41";
    examination.guest->architecture = std::string(host_architecture);
    examination.guest->has_systemd = examination.guest->has_ldconfig = true;
    examination.software.emplace();
    examination.software->has_cache = true;
    return examination;
}

// The driver of these tests has one file.
Policy policy_of(const std::string& machine) {
    Policy policy = make_policy(machine);
    policy.capabilities = {Capability::graphics};
    return policy;
}

class EngineDiagnosis : public testing::EngineFixture {
protected:
    EngineDiagnosis() { ports.examination = on_an_old_host(); }

    void fail_the_test() { std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed()); }
    // Up to a failed verdict, whose cause is looked for.
    unsigned fail_an_attach() {
        prepare(policy_of("a"));
        const unsigned id = engine.attach("a", {true, true, false});
        ports.answer_all("test");
        fail_the_test();
        return id;
    }
    void answer_examination(const Examination& examination) {
        std::get<Reply<Examination>>(ports.take("examine").reply)(examination);
    }
    Diagnosis diagnose(const Question& question) {
        Diagnosis answer;
        bool is_answered = false;
        engine.diagnose(question, [&](const Diagnosis& diagnosis) {
            answer = diagnosis;
            is_answered = true;
        });
        ports.answer_all();
        EXPECT_TRUE(is_answered);
        return answer;
    }
    // With what is wrong on the host set as findings of the running machine.
    void run_with_findings() {
        run(policy_of("a"));
        ports.examination->host.unified_cgroups = false;
        EXPECT_THAT(codes(diagnose({.machine = "a"}).findings), ElementsAre("cgroup-v1"));
        EXPECT_THAT(codes(machine().findings), ElementsAre("cgroup-v1"));
        observer.changes.clear();
    }
};

// --- a job that failed -----------------------------------------------------------------------------------------------

TEST_F(EngineDiagnosis, a_failed_attach_ends_when_its_cause_is_known_with_that_in_its_text) {
    const unsigned id = fail_an_attach();
    EXPECT_EQ(job(id).state, JobState::running);
    EXPECT_EQ(job(id).text, "find the cause of: failed: init: cuInit: 999");
    EXPECT_THAT(ports.waiting(), ElementsAre("examine a"));
    std::string told;
    engine.when_ended(id, [&](const Job& ended) { told = ended.text; });
    ports.answer_all();
    EXPECT_EQ(job(id).state, JobState::ended);
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(job(id).text, StartsWith("failed: init: cuInit: 999. Cause: This host runs with the old hierarchy"));
    EXPECT_THAT(job(id).text, ::testing::EndsWith("systemd.unified_cgroup_hierarchy=1 [cgroup-v1]"));
    EXPECT_EQ(told, job(id).text);
    EXPECT_THAT(codes(machine().findings), ElementsAre("cgroup-v1"));
    EXPECT_THAT(observer.events, Contains("job ended " + std::to_string(id)));
}

TEST_F(EngineDiagnosis, the_question_is_asked_once_and_names_the_running_instance) {
    const unsigned id = fail_an_attach();
    engine.image_changed("a");
    ports.answer_all("examine");
    EXPECT_EQ(job(id).state, JobState::running) << "whatever else is done for the machine";
    ports.answer_all();
    ASSERT_EQ(ports.questions.size(), 1u);
    EXPECT_EQ(ports.questions.front().machine, "a");
    EXPECT_EQ(ports.questions.front().instance, instance("a"));
    EXPECT_EQ(ports.questions.front().program, "");
}

TEST_F(EngineDiagnosis, a_failure_whose_cause_cannot_be_looked_for_stays_as_it_is) {
    const unsigned id = fail_an_attach();
    answer_examination({.failure = "the worker was killed"});
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(id).text, "failed: init: cuInit: 999");
    EXPECT_THAT(machine().findings, IsEmpty());
}

TEST_F(EngineDiagnosis, a_failed_start_is_explained_too_and_a_failed_test_or_detach_is_not) {
    prepare(policy_of("a"));
    const unsigned start = engine.attach("a", {true, true, false});
    ports.answer_all("start");
    ports.examination->on_host.binds = {{4, "/gone", "/x", false, false}};
    ports.examination->on_host.settings.path = "/etc/systemd/nspawn/a.nspawn";
    ports.examination->host.unified_cgroups = true;
    ports.fail("start", "systemd-nspawn@a.service could not be started (failed)");
    ports.answer_all();
    EXPECT_THAT(job(start).text, StartsWith("systemd-nspawn@a.service could not be started (failed). Cause: "
                                            "/etc/systemd/nspawn/a.nspawn:4 binds /gone"));
    EXPECT_THAT(job(start).text, ::testing::EndsWith(" [bind-source-missing]"));

    engine.machine_started("a", instance("a"));
    ports.answer_all();
    const std::size_t asked = ports.questions.size();
    const unsigned test = engine.self_test("a");
    fail_the_test();
    EXPECT_EQ(job(test).text, "failed: init: cuInit: 999");
    const unsigned detach = engine.detach("a");
    ports.fail("grant", "the device rules could not be set");
    EXPECT_EQ(job(detach).text, "the device rules could not be set");
    EXPECT_EQ(ports.questions.size(), asked);
}

TEST_F(EngineDiagnosis, a_detach_meanwhile_supersedes_the_job_and_the_answer_comes_too_late) {
    const unsigned id = fail_an_attach();
    engine.detach("a");
    EXPECT_EQ(job(id).result, JobResult::superseded);
    const std::string text = job(id).text;
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::superseded);
    EXPECT_EQ(job(id).text, text);
    EXPECT_EQ(std::count(observer.events.begin(), observer.events.end(), "job ended " + std::to_string(id)), 1);
}

TEST_F(EngineDiagnosis, the_job_ends_though_the_machine_is_removed_meanwhile) {
    const unsigned id = fail_an_attach();
    set_policies({});
    engine.machine_ended("a");
    ports.answer_all("examine");
    EXPECT_THAT(observer.events, Contains("machine removed a"));
    ports.answer_all();
    EXPECT_EQ(job(id).state, JobState::ended);
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(job(id).text, StartsWith("failed: init: cuInit: 999. Cause: There is no policy for machine \"a\""));
}

TEST_F(EngineDiagnosis, a_job_that_is_forgotten_meanwhile_is_not_asked_for) {
    const unsigned id = fail_an_attach();
    engine.detach("a");
    ports.answer_all("examine");
    ports.now += 61'000'000;
    engine.forget_old_jobs();
    EXPECT_FALSE(engine.jobs().contains(id));
    ports.answer_all();
}

TEST_F(EngineDiagnosis, an_attach_that_comes_meanwhile_is_not_ended_by_the_cause_of_the_other) {
    const unsigned first = fail_an_attach();
    const unsigned second = engine.attach("a", {true, true, true});
    ports.answer("examine");
    EXPECT_EQ(job(first).result, JobResult::failed);
    EXPECT_EQ(job(second).state, JobState::running);
    ports.answer_all();
    EXPECT_EQ(job(second).result, JobResult::done);
    EXPECT_THAT(machine().findings, IsEmpty()) << "its test has passed";
}

// --- findings of a machine -------------------------------------------------------------------------------------------

TEST_F(EngineDiagnosis, findings_are_told_once) {
    run_with_findings();
    diagnose({.machine = "a"});
    EXPECT_THAT(observer.changes, IsEmpty()) << "they are the same";
    ports.examination->host.unified_cgroups = true;
    EXPECT_THAT(diagnose({.machine = "a"}).findings, IsEmpty());
    EXPECT_THAT(machine().findings, IsEmpty());
    EXPECT_THAT(observer.changes, ElementsAre("a"));
}

TEST_F(EngineDiagnosis, findings_go_when_something_begins_that_may_mend_them) {
    run_with_findings();
    engine.attach("a", {});
    EXPECT_THAT(machine().findings, IsEmpty());
    ports.answer_all();

    diagnose({.machine = "a"});
    Policy other = policy_of("a");
    other.gpus = {GpuIndex{1}};
    set_policies({other});
    EXPECT_THAT(machine().findings, IsEmpty());
    ports.answer_all();

    diagnose({.machine = "a"});
    EXPECT_THAT(machine().findings, Not(IsEmpty()));
    engine.machine_started("a", instance("a", 101));
    EXPECT_THAT(machine().findings, IsEmpty());
    ports.answer_all();

    diagnose({.machine = "a"});
    engine.self_test("a");
    EXPECT_THAT(machine().findings, Not(IsEmpty())) << "a test mends nothing";
    ports.answer_all();
    EXPECT_THAT(machine().findings, IsEmpty()) << "but it has passed";
}

TEST_F(EngineDiagnosis, findings_stay_when_a_test_fails_or_nothing_could_be_collected) {
    run_with_findings();
    engine.self_test("a");
    fail_the_test();
    EXPECT_THAT(codes(machine().findings), ElementsAre("cgroup-v1"));
    Diagnosis answer;
    engine.diagnose({.machine = "a"}, [&](const Diagnosis& diagnosis) { answer = diagnosis; });
    answer_examination({.failure = "the worker was killed"});
    EXPECT_EQ(answer.failure, "the worker was killed");
    EXPECT_THAT(answer.findings, IsEmpty());
    EXPECT_THAT(codes(machine().findings), ElementsAre("cgroup-v1"));
}

TEST_F(EngineDiagnosis, what_is_found_of_a_program_is_no_finding_of_the_machine) {
    run_with_findings();
    ports.examination->program.emplace();
    ports.examination->program->path = "/opt/train";
    ports.examination->program->problem = "there is no such file";
    EXPECT_THAT(codes(diagnose({.machine = "a", .program = "/opt/train", .library_path = "/x"}).findings),
                ElementsAre("cgroup-v1", "program-missing"));
    EXPECT_EQ(ports.questions.back().program, "/opt/train");
    EXPECT_EQ(ports.questions.back().library_path, "/x");
    EXPECT_THAT(codes(machine().findings), ElementsAre("cgroup-v1"));
}

TEST_F(EngineDiagnosis, a_question_starts_and_changes_nothing) {
    prepare(policy_of("a"));
    diagnose({.machine = "a"});
    EXPECT_THAT(ports.news(), ElementsAre("examine a"));
    EXPECT_THAT(engine.jobs(), IsEmpty());
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineDiagnosis, a_name_without_a_policy_is_told_so) {
    prepare(policy_of("a"));
    ports.examination->host.unified_cgroups = true;
    EXPECT_THAT(codes(diagnose({.machine = "other"}).findings), ElementsAre("no-policy"));
    EXPECT_FALSE(engine.machines().contains("other"));
}

TEST_F(EngineDiagnosis, what_is_no_name_is_refused) {
    prepare(policy_of("a"));
    for (const char* name : {"", "../a", "a b", "a\n"})
        EXPECT_THROW(engine.diagnose({.machine = name}, [](const Diagnosis&) { ADD_FAILURE(); }), JobRefused) << name;
    EXPECT_THAT(ports.questions, IsEmpty());
}

// --- what the evidence is made of ------------------------------------------------------------------------------------

TEST_F(EngineDiagnosis, knows_what_the_engine_knows_of_a_machine) {
    run(policy_of("a"));
    ports.examination->host.unified_cgroups = true;
    ports.examination->device_rules = {"/dev/char/195:255 rw"};
    EXPECT_THAT(codes(diagnose({.machine = "a"}).findings), ElementsAre("rule-missing"));
    ports.examination->device_rules.reset();
    EXPECT_THAT(codes(diagnose({.machine = "a"}).findings), IsEmpty()) << "nobody has told the rules";
    ports.without_mounts = {100};
    EXPECT_THAT(codes(diagnose({.machine = "a"}).findings), ElementsAre("mounts-missing"));
    ports.without_mounts.clear();
    engine.set_policies({broken("a")});
    ports.answer_all();
    EXPECT_THAT(codes(diagnose({.machine = "a"}).findings), ElementsAre("policy-invalid"));
    set_policies({policy_of("a")});
    ports.answer_all();
    engine.detach("a");
    ports.answer_all();
    EXPECT_THAT(codes(diagnose({.machine = "a"}).findings), ElementsAre("detached"));
}

TEST_F(EngineDiagnosis, misses_no_rule_that_is_just_being_given) {
    prepare(policy_of("a"));
    ports.examination->host.unified_cgroups = true;
    ports.examination->device_rules.emplace();
    engine.machine_started("a", instance("a"));
    ASSERT_TRUE(ports.is_pending("grant"));
    Diagnosis answer;
    engine.diagnose({.machine = "a"}, [&](const Diagnosis& diagnosis) { answer = diagnosis; });
    ports.answer("examine");
    EXPECT_THAT(codes(answer.findings), IsEmpty());
}

// --- the audit -------------------------------------------------------------------------------------------------------

class EngineAudit : public EngineDiagnosis {
protected:
    AuditReport audit(const Audit& found) {
        AuditReport answer;
        engine.audit(false, [&](const AuditReport& report) { answer = report; });
        std::get<Reply<Audit>>(ports.take("audit").reply)(found);
        return answer;
    }
};

TEST_F(EngineAudit, tells_of_all_images_with_a_policy_and_without) {
    prepare(policy_of("a"));
    Audit found;
    found.host.unified_cgroups = false;
    found.machines = {{"a", on_an_old_host()}, {"b", on_an_old_host()}};
    found.machines["b"].image = "/var/lib/machines/b";
    found.machines["b"].software->container_tools = {"/usr/bin/docker"};
    const AuditReport report = audit(found);
    EXPECT_EQ(report.failure, "");
    ASSERT_EQ(report.machines.size(), 2u);
    const AuditedMachine& with = report.machines[0];
    EXPECT_EQ(with.machine, "a");
    EXPECT_EQ(with.image, "/var/lib/machines/a");
    EXPECT_EQ(with.os, "Debian");
    EXPECT_TRUE(with.has_policy);
    EXPECT_THAT(codes(with.findings), ElementsAre("cgroup-v1")) << "the host's evidence is one for all";
    const AuditedMachine& without = report.machines[1];
    EXPECT_EQ(without.image, "/var/lib/machines/b");
    EXPECT_FALSE(without.has_policy);
    EXPECT_THAT(codes(without.findings), ElementsAre("nested-containers")) << "of it only what is in it";
    EXPECT_THAT(machine().findings, IsEmpty()) << "an audit is no diagnosis of the machine";
}

TEST_F(EngineAudit, tells_which_image_was_not_looked_into_and_goes_on) {
    prepare(policy_of("a"));
    Audit found;
    found.machines["b"].image = "/var/lib/machines/b.raw";
    found.machines["b"].image_failure = "/var/lib/machines/b.raw: no partition table";
    found.machines["c"] = on_an_old_host();
    const AuditReport report = audit(found);
    ASSERT_EQ(report.machines.size(), 2u);
    const Findings& findings = report.machines[0].findings;
    ASSERT_THAT(codes(findings), ElementsAre("not-examined"));
    EXPECT_EQ(findings.front().severity, FindingSeverity::warning);
    EXPECT_THAT(findings.front().text, HasSubstr("/var/lib/machines/b.raw: no partition table"));
    EXPECT_THAT(findings.front().evidence, ElementsAre("/var/lib/machines/b.raw"));
    EXPECT_THAT(findings.front().fix, HasSubstr("journalctl -u 'cuda-nspawn-examine*'"));
    EXPECT_THAT(report.machines[1].findings, IsEmpty());
}

TEST_F(EngineAudit, passes_on_why_there_is_none) {
    EXPECT_EQ(audit({{}, {}, "the worker was killed"}).failure, "the worker was killed");
}

}  // namespace
}  // namespace cuda_nspawn
