#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::Call;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_driver;
using testing::make_policy;
using testing::names_of;
using ::testing::Not;

class EngineJobs : public testing::EngineFixture {
protected:
    std::string refusal(const std::function<void()>& call) {
        try {
            call();
        } catch (const JobRefused& refused) {
            text_ = refused.what();
            return refused.name();
        }
        return "";
    }
    std::string text_;  // of the last refusal
};

TEST_F(EngineJobs, an_offline_detach_ends_with_its_worker_and_tells_what_it_removed) {
    prepare();
    const unsigned id = engine.detach_offline("a");
    engine.image_changed("a");
    ports.answer_all("clean");
    EXPECT_EQ(job(id).state, JobState::running) << "whatever else is done for the machine";
    ports.answer("clean");
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_EQ(job(id).text, "what was left of ours is gone");
    EXPECT_THAT(job(id).changes, ElementsAre(Change{"remove", "/etc/ours", ""}));

    const unsigned failed = engine.detach_offline("a");
    engine.attach("a", {});
    EXPECT_EQ(job(failed).state, JobState::running) << "it cannot be called back";
    ports.fail("clean", "the tree is busy");
    EXPECT_EQ(job(failed).result, JobResult::failed);
    EXPECT_EQ(job(failed).text, "the tree is busy");
}

TEST_F(EngineJobs, an_offline_detach_of_a_machine_that_runs_is_refused) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_EQ(refusal([&] { engine.detach_offline("a"); }), "Running");
    EXPECT_THAT(text_, HasSubstr("cuda-nspawnctl detach a"));
    EXPECT_THAT(ports.news(), Not(Contains("clean a")));
}

TEST_F(EngineJobs, attach_of_a_prepared_machine_is_done_when_everything_was_looked_at) {
    prepare();
    const unsigned id = engine.attach("a", {});
    EXPECT_EQ(job(id).state, JobState::running);
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("look a", "expose a"));
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_EQ(job(id).text, "prepared: the machine gets the GPU when it starts");
    EXPECT_THAT(job(id).changes, IsEmpty());
}

TEST_F(EngineJobs, attach_with_start_and_test_ends_with_the_verdict) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all();
    EXPECT_THAT(ports.news(),
                ElementsAre("look a", "expose a", "start a", "grant systemd-nspawn@a.service", "follow a", "test a"));
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_EQ(job(id).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineJobs, a_machine_that_ends_during_an_attach_with_start_is_not_started_again) {
    run();
    const unsigned of_one_that_runs = engine.attach("a", {true, true, true});
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_EQ(job(of_one_that_runs).text, "machine \"a\" ended: see journalctl -u systemd-nspawn@a.service");
    const unsigned of_one_that_somebody_starts = engine.attach("a", {true, true, false});
    engine.machine_started("a", instance("a", 101));
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_EQ(job(of_one_that_somebody_starts).result, JobResult::failed);
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "start a"), 0);
}

TEST_F(EngineJobs, attach_with_start_waits_for_the_first_copy_of_the_driver) {
    set_policies({make_policy("a")});
    engine.set_driver(make_driver());
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("build");
    EXPECT_THAT(ports.waiting(), ElementsAre(::testing::StartsWith("build "))) << "nothing in it would find a driver";
    EXPECT_EQ(state(), "preparing");
    ports.answer_all();
    EXPECT_EQ(job(id).text, "passed: 1 GPU, 42 ms");
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "start a"), 1);
}

TEST_F(EngineJobs, attach_with_start_ends_when_the_first_copy_of_the_driver_fails) {
    set_policies({make_policy("a")});
    engine.set_driver(make_driver());
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("build");
    ports.fail("build", "the disk is full");
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(job(id).text, HasSubstr("the disk is full"));
    EXPECT_THAT(ports.log, Not(Contains("start a")));
}

TEST_F(EngineJobs, a_failed_verdict_is_a_failed_job_with_the_reason) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("test");
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(id).text, "failed: init: cuInit: 999");
}

TEST_F(EngineJobs, a_start_that_fails_is_the_jobs_reason) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("start");
    ports.fail("start", "systemd-nspawn@a.service could not be started (failed)");
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(id).text, "systemd-nspawn@a.service could not be started (failed)");
    ports.answer_all();
    EXPECT_FALSE(machine().start_wanted) << "nobody asked a second time";
}

TEST_F(EngineJobs, attach_of_a_running_machine_takes_the_verdict_that_is_there) {
    run();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_THAT(ports.news(), ElementsAre("expose a")) << "somebody may have changed a file";
    EXPECT_EQ(job(id).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineJobs, a_verdict_that_was_bad_is_no_answer_to_who_asks_anew) {
    prepare();
    engine.attach("a", {true, true, false});
    ports.answer_all("test");
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    ports.answer_all();
    ports.log.clear();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all();
    EXPECT_THAT(ports.log, Contains("test a"));
    EXPECT_EQ(job(id).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineJobs, a_bad_verdict_is_the_answer_to_all_who_waited_for_the_test) {
    prepare();
    const unsigned first = engine.attach("a", {true, true, false});
    ports.answer_all("test");
    const unsigned second = engine.attach("a", {true, true, false});
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    ports.answer_all();
    EXPECT_EQ(job(first).text, "failed: init: cuInit: 999");
    EXPECT_EQ(job(second).text, "failed: init: cuInit: 999");
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "test a"), 1);
}

TEST_F(EngineJobs, fresh_looks_at_everything_and_tests_again) {
    run();
    const unsigned id = engine.attach("a", {false, true, true});
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("look a", "expose a", "grant systemd-nspawn@a.service", "test a"));
    EXPECT_EQ(job(id).result, JobResult::done);
}

TEST_F(EngineJobs, a_fresh_verdict_is_one_that_began_after_the_wish) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    const unsigned id = engine.attach("a", {false, true, true});
    ports.answer_all();
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "test a"), 2);
    EXPECT_EQ(job(id).result, JobResult::done);
}

TEST_F(EngineJobs, changes_at_the_end_are_all_and_without_waiting_those_until_it_applied) {
    run();
    engine.detach("a");
    ports.answer_all();
    const unsigned id = engine.attach("a", {});
    std::vector<Change> applied;
    engine.when_applied(id, [&](const Job& job) { applied = job.changes; });
    EXPECT_THAT(applied, IsEmpty());
    ports.answer_all();
    EXPECT_THAT(applied, ElementsAre(Change{"create", "/something", ""}, Change{"allow", "/dev/char/195:0", ""}));
    EXPECT_EQ(job(id).changes, applied);

    engine.machine_ended("a");
    ports.without_mounts = {100};
    ports.answer_all();
    ports.shown_rules.emplace();
    const unsigned with_start = engine.attach("a", {true, false, false});
    engine.when_applied(with_start, [&](const Job& job) { applied = job.changes; });
    ports.answer_all();
    EXPECT_THAT(applied, Not(Contains(Change{"start", "systemd-nspawn@a.service", "the machine"})));
    EXPECT_THAT(job(with_start).changes, Contains(Change{"start", "systemd-nspawn@a.service", "the machine"}));
    EXPECT_THAT(job(with_start).changes,
                Contains(Change{"mount", "systemd-nspawn@a.service", "the driver, into the running machine"}));
}

TEST_F(EngineJobs, detach_says_what_it_took) {
    run();
    const unsigned id = engine.detach("a");
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_EQ(job(id).text, "detached until the machine starts again");
    EXPECT_THAT(job(id).changes, Contains(Change{"deny", "/dev/char/195:0", ""}));
    EXPECT_THAT(ports.news(), Contains("unfollow a"));
}

TEST_F(EngineJobs, detach_of_a_machine_that_does_not_run_changes_nothing) {
    prepare();
    const unsigned id = engine.detach("a");
    EXPECT_EQ(job(id).text, "the machine is not running");
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineJobs, detach_fails_when_the_door_cannot_be_closed) {
    run();
    const unsigned id = engine.detach("a");
    ports.fail("grant", "the device rules could not be set");
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(id).text, "the device rules could not be set");
}

TEST_F(EngineJobs, a_later_opposite_supersedes) {
    prepare();
    const unsigned attach = engine.attach("a", {true, true, false});
    std::string ended;
    engine.when_ended(attach, [&](const Job& job) { ended = job.text; });
    const unsigned detach = engine.detach("a");
    EXPECT_EQ(job(attach).result, JobResult::superseded);
    EXPECT_EQ(ended, "overtaken by a later detach");
    ports.answer_all();
    EXPECT_EQ(job(detach).result, JobResult::done);
    EXPECT_THAT(ports.log, Not(Contains("start a")));
}

TEST_F(EngineJobs, a_detach_during_the_start_holds_for_what_then_runs) {
    prepare();
    engine.attach("a", {true, true, false});
    ports.answer_all("start");
    const unsigned id = engine.detach("a");
    ports.answer_all();
    EXPECT_EQ(job(id).text, "detached until the machine starts again");
    EXPECT_EQ(machine().granted, std::vector<DeviceNode>());
    EXPECT_THAT(ports.log, Not(Contains("test a")));
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_FALSE(machine().revoked);
}

TEST_F(EngineJobs, a_detach_during_a_start_that_fails_is_over_with_it) {
    prepare();
    engine.attach("a", {true, true, false});
    ports.answer_all("start");
    engine.detach("a");
    ports.fail("start", "no");
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_FALSE(machine().revoked);
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineJobs, a_self_test_is_superseded_by_detach_and_its_late_report_is_no_verdict) {
    run();
    const unsigned test = engine.self_test("a", SelfTestLevel::quick);
    const Call call = ports.take("test");
    engine.detach("a");
    EXPECT_EQ(job(test).result, JobResult::superseded);
    std::get<Reply<Tested>>(call.reply)(ports.failed());
    ports.answer_all();
    EXPECT_EQ(machine().verdict.result, VerdictResult::none);
    EXPECT_EQ(state(), "detached");
}

TEST_F(EngineJobs, self_test_gives_a_new_verdict_each_time) {
    run();
    const unsigned id = engine.self_test("a", SelfTestLevel::quick);
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(engine.self_test("a", SelfTestLevel::quick)).state, JobState::running);
    ports.answer_all();
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineJobs, self_test_is_done_when_asked_for_though_the_policy_says_off) {
    Policy policy = make_policy("a");
    policy.self_test = SelfTestLevel::off;
    run(policy);
    const unsigned id = engine.self_test("a", SelfTestLevel::quick);
    EXPECT_THAT(ports.waiting(), ElementsAre("test a"));
    ports.answer_all();
    EXPECT_EQ(job(id).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineJobs, the_level_of_a_self_test_is_of_that_one_only) {
    run();
    engine.self_test("a", SelfTestLevel::full);
    EXPECT_EQ(ports.pending.front().request.level, SelfTestLevel::full);
    ports.answer_all();
    engine.attach("a", {false, true, true});
    ports.answer_all("test");
    EXPECT_EQ(ports.pending.front().request.level, SelfTestLevel::quick);
}

TEST_F(EngineJobs, what_cannot_be_done_is_refused_with_the_way_out) {
    prepare();
    EXPECT_EQ(refusal([&] { engine.attach("nobody", {}); }), "NoSuchMachine");
    EXPECT_THAT(text_, HasSubstr("write /etc/cuda-nspawn/machines/nobody.yaml"));
    EXPECT_EQ(refusal([&] { engine.detach("nobody"); }), "NoSuchMachine");
    EXPECT_EQ(refusal([&] { engine.self_test("a", SelfTestLevel::quick); }), "NotRunning");
    EXPECT_THAT(text_, HasSubstr("systemctl start cuda-nspawn@a.service"));
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    engine.detach("a");
    EXPECT_EQ(refusal([&] { engine.self_test("a", SelfTestLevel::quick); }), "Detached");
}

TEST_F(EngineJobs, too_many_running_jobs_are_refused_and_take_nothing_from_those_there_are) {
    engine.set_driver(make_driver());
    std::vector<Policy> policies;
    for (int i = 0; i < 17; ++i) policies.push_back(make_policy("m" + std::to_string(i)));
    set_policies(policies);
    for (int i = 0; i < 4096; ++i) engine.attach("m" + std::to_string(i / 256), {});
    EXPECT_EQ(refusal([&] { engine.attach("m0", {}); }), "TooManyJobs");
    EXPECT_EQ(refusal([&] { engine.attach("m16", {}); }), "TooManyJobs") << "the limit of all";
    EXPECT_EQ(job(1).state, JobState::running);
    ports.answer_all();
    EXPECT_EQ(job(4096).result, JobResult::done);
    EXPECT_EQ(refusal([&] { engine.attach("m0", {}); }), "");
}

TEST_F(EngineJobs, jobs_that_open_the_door_keep_nobody_from_closing_it) {
    engine.set_driver(make_driver());
    std::vector<Policy> policies;
    for (int i = 0; i < 16; ++i) policies.push_back(make_policy("m" + std::to_string(i)));
    set_policies(policies);
    for (int i = 0; i < 4096; ++i) engine.attach("m" + std::to_string(i / 256), {});
    for (int i = 0; i < 256; ++i) EXPECT_EQ(refusal([&] { engine.detach("m0"); }), "") << i;
    EXPECT_EQ(refusal([&] { engine.detach("m0"); }), "TooManyJobs") << "it is being closed";
    EXPECT_EQ(job(1).result, JobResult::superseded);
}

TEST_F(EngineJobs, the_jobs_of_one_machine_leave_room_for_others) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a"), make_policy("b")});
    for (int i = 0; i < 256; ++i) engine.attach("a", {});
    EXPECT_EQ(refusal([&] { engine.attach("a", {}); }), "TooManyJobs");
    EXPECT_THAT(text_, HasSubstr("256 of them for machine \"a\""));
    EXPECT_EQ(refusal([&] { engine.attach("b", {}); }), "");
}

TEST_F(EngineJobs, of_very_many_ended_jobs_the_oldest_are_forgotten) {
    prepare();
    const unsigned first = engine.detach("a");
    for (int i = 0; i < 1023; ++i) engine.detach("a");
    EXPECT_TRUE(engine.jobs().contains(first));
    engine.detach("a");
    EXPECT_FALSE(engine.jobs().contains(first));
    EXPECT_TRUE(engine.jobs().contains(first + 1));
    EXPECT_THAT(observer.events, Contains("job forgotten " + std::to_string(first)));
}

TEST_F(EngineJobs, a_job_waits_for_the_driver_to_be_copied) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    const unsigned id = engine.attach("a", {});
    ports.answer_all("build");
    EXPECT_EQ(job(id).state, JobState::running);
    EXPECT_FALSE(job(id).applied);
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_EQ(machine().exposed->generation, engine.generation());
}

TEST_F(EngineJobs, a_job_of_a_machine_whose_policy_goes_away_ends) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("start");
    set_policies({});
    ports.fail("start", "cancelled");
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(engine.machines(), IsEmpty());
}

TEST_F(EngineJobs, a_job_of_a_machine_that_ends_during_the_test_says_so) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("test");
    engine.machine_ended("a");
    ports.answer_all("test");
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(job(id).text, HasSubstr("machine \"a\" ended: see journalctl -u systemd-nspawn@a.service"));
    ports.answer_all();
}

TEST_F(EngineJobs, an_attach_to_a_broken_policy_says_what_is_broken) {
    engine.set_policies({broken("a")});
    const unsigned id = engine.attach("a", {true, true, false});
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(id).text, "/etc/cuda-nspawn/machines/a.yaml:1:1: unknown key \"gpu\"");
    EXPECT_THAT(ports.log, IsEmpty());
}

TEST_F(EngineJobs, ended_jobs_stay_readable_for_a_minute) {
    prepare();
    const unsigned id = engine.detach("a");
    ports.now += 59'000'000;
    engine.forget_old_jobs();
    EXPECT_TRUE(engine.jobs().contains(id));
    ports.now += 1'000'000;
    engine.forget_old_jobs();
    EXPECT_FALSE(engine.jobs().contains(id));
    EXPECT_THAT(observer.events, Contains("job forgotten " + std::to_string(id)));
}

TEST_F(EngineJobs, running_jobs_are_never_forgotten) {
    prepare();
    const unsigned id = engine.attach("a", {});
    ports.now += 3'600'000'000;
    engine.forget_old_jobs();
    EXPECT_TRUE(engine.jobs().contains(id));
}

TEST_F(EngineJobs, callbacks_of_a_job_that_ended_come_at_once) {
    prepare();
    const unsigned id = engine.detach("a");
    int called = 0;
    engine.when_applied(id, [&](const Job&) { ++called; });
    engine.when_ended(id, [&](const Job&) { ++called; });
    EXPECT_EQ(called, 2);
}

TEST_F(EngineJobs, holders_are_asked_for_with_all_nodes_and_all_that_runs) {
    run();
    engine.machine_started("without-policy", instance("without-policy", 200));
    std::optional<Holders> answer;
    engine.holders("", [&](const Holders& found) { answer = found; });
    Call call = ports.take("holders");
    EXPECT_EQ(names_of(call.holders.nodes), (std::vector<std::string>{"nvidia-uvm", "nvidia-uvm-tools", "nvidia0",
                                                                      "nvidia1", "nvidia4", "nvidiactl"}));
    EXPECT_EQ(call.holders.units,
              (std::map<std::string, std::string>{{"a", "systemd-nspawn@a.service"},
                                                  {"without-policy", "systemd-nspawn@without-policy.service"}}));
    EXPECT_EQ(call.holders.machine, "");
    EXPECT_FALSE(answer);
    const Holder holder{"a", 4242, 7, "python3", {"nvidia0"}};
    std::get<Reply<Holders>>(call.reply)({{holder}, {"process 5 has too much open"}, ""});
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->holders, std::vector{holder});
    EXPECT_THAT(observer.messages, Contains(": process 5 has too much open"));
}

TEST_F(EngineJobs, holders_of_one_machine_are_asked_for_by_its_name) {
    run();
    engine.holders("a", [](const Holders&) {});
    EXPECT_EQ(ports.take("holders").holders.machine, "a");
    EXPECT_EQ(refusal([&] { engine.holders("nobody", {}); }), "NoSuchMachine");
    EXPECT_EQ(refusal([&] { engine.holders("../a", {}); }), "InvalidName");
    EXPECT_FALSE(ports.is_pending("holders"));
}

TEST_F(EngineJobs, a_unit_that_the_daemon_stops_itself_takes_nothing) {
    run();
    ports.stopping_units = {"a"};
    const unsigned id = engine.detach("a", true);
    EXPECT_EQ(job(id).result, JobResult::done);
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_EQ(state(), "attached");
    engine.detach("a");
    ports.answer_all();
    EXPECT_EQ(state(), "detached") << "who asks for it himself gets it";
    engine.attach("a", {});
    ports.answer_all();
    ports.stopping_units.clear();
    engine.detach("a", true);
    ports.answer_all();
    EXPECT_EQ(state(), "detached") << "so does who stops the unit";
}

}  // namespace
}  // namespace cuda_nspawn
