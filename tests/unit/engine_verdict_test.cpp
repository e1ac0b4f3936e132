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

class EngineVerdict : public testing::EngineFixture {
protected:
    void answer_test(Tested tested) { std::get<Reply<Tested>>(ports.take("test").reply)(std::move(tested)); }
    void start_with(OnFailure on_failure) {
        Policy policy = make_policy("a");
        policy.on_failure = on_failure;
        prepare(policy);
        engine.machine_started("a", instance("a"));
        ports.answer("grant");
        ports.news();
    }
};

TEST_F(EngineVerdict, warn_keeps_the_exposure) {
    start_with(OnFailure::warn);
    answer_test(ports.failed());
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(state_text(), "failed: init: cuInit: 999");
}

TEST_F(EngineVerdict, detach_takes_it_and_remembers_that) {
    start_with(OnFailure::detach);
    const unsigned id = engine.attach("a", {false, true, false});
    answer_test(ports.failed());
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service", "expose a", "reload a"));
    EXPECT_EQ(state(), "detached");
    EXPECT_TRUE(ports.memory.at("a").revoked);
    EXPECT_EQ(job(id).text, "failed: init: cuInit: 999");
}

TEST_F(EngineVerdict, detach_stops_a_unit_whose_start_is_long_over) {
    start_with(OnFailure::detach);
    answer_test(ports.failed());
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("unfollow a")) << "or a start of it would do nothing";
}

TEST_F(EngineVerdict, stop_stops_the_machine) {
    start_with(OnFailure::stop);
    answer_test(ports.failed());
    EXPECT_THAT(ports.waiting(), ElementsAre("stop systemd-nspawn@a.service"));
    ports.fail("stop", "the unit could not be stopped");
    EXPECT_THAT(observer.messages, Contains("a: the unit could not be stopped"));
}

TEST_F(EngineVerdict, no_verdict_and_degraded_trigger_nothing) {
    start_with(OnFailure::stop);
    answer_test({{TestEnd::timed_out, 0, "", "", 60'000}, {}, ""});
    EXPECT_EQ(machine().verdict.result, VerdictResult::no_verdict);
    EXPECT_THAT(ports.waiting(), IsEmpty());
    engine.self_test("a", SelfTestLevel::quick);
    Tested degraded = ports.passed(ports.pending.front().request);
    degraded.run.output = "{\"check\":\"memory\",\"result\":\"degraded\"}\n" + degraded.run.output;
    answer_test(degraded);
    EXPECT_EQ(machine().verdict.result, VerdictResult::degraded);
    EXPECT_THAT(ports.waiting(), IsEmpty());
}

TEST_F(EngineVerdict, a_worker_that_fails_is_no_verdict_with_its_reason) {
    start_with(OnFailure::stop);
    ports.fail("test", "cuda-nspawn-test@1.service left no report");
    EXPECT_EQ(machine().verdict.result, VerdictResult::no_verdict);
    EXPECT_THAT(machine().verdict.summary, HasSubstr("left no report"));
}

TEST_F(EngineVerdict, a_node_that_opens_and_is_not_granted_fails_a_passed_test) {
    start_with(OnFailure::warn);
    Tested tested = ports.passed(ports.pending.front().request);
    tested.violations = {"/dev/nvidia1 (195:1) opens in the machine and is not granted"};
    answer_test(tested);
    EXPECT_EQ(machine().verdict.result, VerdictResult::failed);
    EXPECT_THAT(machine().verdict.summary, HasSubstr("isolation: /dev/nvidia1"));
}

TEST_F(EngineVerdict, a_guest_that_sees_more_than_granted_fails) {
    start_with(OnFailure::warn);
    ports.gpu_uuids["nvidiactl"] = testing::uuid1;
    ports.answer("test");
    EXPECT_THAT(machine().verdict.summary, HasSubstr("which the policy does not grant"));
}

TEST_F(EngineVerdict, a_policy_edited_during_the_test_is_not_judged_by_the_old_run) {
    start_with(OnFailure::stop);
    Policy edited = make_policy("a", {GpuIndex{1}});
    edited.on_failure = OnFailure::stop;
    set_policies({edited});
    ports.answer("test");  // sees GPU 0, as it was granted when the test began
    EXPECT_EQ(machine().verdict.result, VerdictResult::none);
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains(HasSubstr("stop"))));
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineVerdict, a_test_that_a_detach_and_an_attach_disturbed_is_done_again) {
    start_with(OnFailure::stop);
    const testing::Call test = ports.take("test");
    engine.detach("a");
    ports.answer_all();
    engine.attach("a", {});
    ports.answer_all("test");
    std::get<Reply<Tested>>(test.reply)(ports.failed());
    EXPECT_THAT(ports.waiting(), ElementsAre("test a"));
    ports.answer_all();
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineVerdict, a_policy_that_grants_other_gpus_is_tested_anew) {
    run();
    set_policies({make_policy("a", {GpuIndex{1}})});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("test a"));
    EXPECT_THAT(machine().verdict.gpu_uuids, ElementsAre(testing::uuid1));
}

}  // namespace
}  // namespace cuda_nspawn
