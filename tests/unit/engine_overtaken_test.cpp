// What comes while something else is under way, or after something failed: nothing old is taken for the truth.
#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::Call;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using testing::make_driver;
using testing::make_policy;
using testing::names_of;
using ::testing::Not;

class EngineOvertaken : public testing::EngineFixture {
protected:
    static Policy with(SelfTestLevel level, std::vector<GpuSelector> gpus = {GpuIndex{0}}) {
        Policy policy = make_policy("a", std::move(gpus));
        policy.self_test = level;
        return policy;
    }
};

TEST_F(EngineOvertaken, a_look_that_a_change_of_the_image_overtook_is_done_again) {
    prepare();
    engine.attach("a", {});
    const Call look = ports.take("look");
    engine.image_changed("a");
    ports.answer(look);
    EXPECT_THAT(ports.waiting(), ElementsAre("look a")) << "what was read may be what was there before";
    ports.image.path = "/var/lib/machines/later";
    ports.answer_all();
    EXPECT_EQ(machine().image->path, "/var/lib/machines/later");
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineOvertaken, the_failure_of_a_look_that_was_overtaken_is_none) {
    prepare();
    engine.attach("a", {});
    engine.image_changed("a");
    ports.fail("look", "the image changed");
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineOvertaken, a_detach_closes_the_door_though_the_policy_cannot_be_read) {
    engine.set_instances({{"a", instance("a")}});
    engine.restore("a", {instance("a"), false, {}, 0, make_driver().control});
    engine.set_driver(make_driver());
    engine.set_policies({broken("a")});
    EXPECT_THAT(ports.news(), IsEmpty()) << "the file says nothing";
    const unsigned id = engine.detach("a");
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_THAT(ports.pending.front().rules.granted, IsEmpty());
    EXPECT_EQ(job(id).state, JobState::running);
    ports.answer_all();
    EXPECT_EQ(job(id).text, "detached until the machine starts again");
    EXPECT_EQ(state(), "invalid");
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_EQ(state(), "detached") << "the detach holds when the file is mended";
}

TEST_F(EngineOvertaken, what_ran_with_a_broken_policy_is_released_when_it_ends) {
    engine.set_instances({{"a", instance("a")}});
    engine.restore("a", {instance("a"), false, {}, 0, make_driver().control});
    ports.memory["a"] = {};
    engine.set_policies({broken("a")});
    engine.machine_ended("a");
    EXPECT_THAT(ports.waiting(), ElementsAre("release systemd-nspawn@a.service"));
    EXPECT_THAT(ports.memory, IsEmpty());
}

TEST_F(EngineOvertaken, our_unit_does_not_run_for_a_machine_that_was_detached_while_it_started) {
    prepare();
    engine.attach("a", {true, false, false});
    ports.answer_all("start");
    engine.detach("a");
    ports.answer_all();
    EXPECT_THAT(ports.log, Contains("unfollow a"));
    EXPECT_THAT(ports.log, Not(Contains("follow a")));
}

TEST_F(EngineOvertaken, our_unit_does_not_run_for_a_policy_that_went_when_the_exposure_was_not_known) {
    run();
    engine.image_changed("a");
    set_policies({});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("unfollow a"));
}

TEST_F(EngineOvertaken, a_detach_does_not_say_of_a_machine_that_started_again_that_it_does_not_run) {
    run();
    const unsigned id = engine.detach("a");
    engine.machine_started("a", instance("a", 200));
    ports.answer_all();
    EXPECT_EQ(job(id).text, "the machine ended meanwhile and has started again");
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineOvertaken, an_attach_right_after_a_detach_tests_though_nothing_was_taken) {
    prepare();
    engine.image_changed("a");
    engine.machine_started("a", instance("a"));
    engine.detach("a");
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_EQ(state_text(), "passed: 1 GPU, 42 ms");
}

TEST_F(EngineOvertaken, an_attach_starts_no_unit_of_ours_where_the_policy_grants_no_gpu) {
    run();
    engine.detach("a");
    set_policies({make_policy("a", {})});
    ports.answer_all();
    ports.news();
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("follow a")));
}

TEST_F(EngineOvertaken, a_job_that_came_during_a_test_that_detaches_ends_with_the_verdict) {
    Policy policy = make_policy("a");
    policy.on_failure = OnFailure::detach;
    prepare(policy);
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    const unsigned id = engine.self_test("a");
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_EQ(job(id).text, "failed: init: cuInit: 999");
    EXPECT_EQ(state(), "detached");
}

TEST_F(EngineOvertaken, a_self_test_whose_machine_restarts_is_done_in_the_new_instance) {
    run(with(SelfTestLevel::off));
    const unsigned id = engine.self_test("a");
    const Call old = ports.take("test");
    engine.machine_started("a", instance("a", 200));
    ports.answer(old);
    EXPECT_EQ(job(id).state, JobState::running);
    ports.answer_all();
    EXPECT_EQ(job(id).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineOvertaken, a_self_test_is_done_though_the_policy_becomes_another_and_says_off) {
    run();
    const unsigned id = engine.self_test("a", SelfTestLevel::full);
    const Call old = ports.take("test");
    set_policies({with(SelfTestLevel::off, {GpuIndex{0}, GpuIndex{1}})});
    ports.answer_all();
    ports.answer(old);
    EXPECT_EQ(job(id).state, JobState::running) << "the verdict from before is of one GPU";
    EXPECT_EQ(ports.pending.front().request.level, SelfTestLevel::full) << "done again as it was asked for";
    ports.answer_all();
    EXPECT_EQ(job(id).text, "passed: 2 GPUs, 42 ms");
}

TEST_F(EngineOvertaken, a_verdict_is_gone_when_the_machine_has_something_else) {
    run(with(SelfTestLevel::off));
    engine.self_test("a");
    ports.answer_all();
    set_policies({with(SelfTestLevel::off, {GpuIndex{0}, GpuIndex{1}})});
    ports.answer_all();
    EXPECT_EQ(state_text(), "attached; not tested");
    EXPECT_EQ(ports.memory.at("a").verdict.result, VerdictResult::none);
    EXPECT_EQ(machine().tested_usec, 0);
}

TEST_F(EngineOvertaken, after_a_failed_exposure_nothing_is_believed_of_what_is_on_disk) {
    prepare();
    set_policies({make_policy("a", {GpuIndex{1}})});
    ports.fail("expose", "no space left");
    ports.news();
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("expose a")) << "it may have come halfway";
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineOvertaken, what_a_failed_exposure_may_have_changed_is_read_by_systemd_and_tested) {
    run();
    set_policies({make_policy("a", {GpuIndex{0}, GpuIndex{1}})});
    ports.on_disk["a"] = machine().planned.plan;  // all was written, only the answer is lost
    ports.fail("expose", "no reply");
    ports.news();
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_THAT(ports.news(), IsSupersetOf({"reload a", "test a"}));
    EXPECT_EQ(state_text(), "passed: 2 GPUs, 42 ms");
}

TEST_F(EngineOvertaken, a_generation_stays_while_a_machine_may_have_it) {
    run();
    engine.collect_if_due();
    const int before = ports.collections;
    engine.image_changed("a");
    ports.fail("look", "the worker is broken");
    engine.set_driver(make_driver("1000.1"));
    ports.answer("build");
    ports.fail("look", "the worker is broken");
    EXPECT_THAT(engine.generations_in_use(),
                ElementsAre(generation_name(make_driver("1000.1")), generation_name(make_driver())));
    engine.collect_if_due();
    EXPECT_EQ(ports.collections, before);
    engine.image_changed("a");
    ports.answer_all();
    EXPECT_THAT(engine.generations_in_use(), ElementsAre(generation_name(make_driver("1000.1"))));
    engine.collect_if_due();
    EXPECT_EQ(ports.collections, before + 1);
}

TEST_F(EngineOvertaken, a_daemon_that_starts_again_collects_nothing_while_it_does_not_know_what_a_machine_has) {
    ports.store.insert(generation_name(make_driver()));
    engine.set_instances({{"b", instance("b")}});
    engine.set_driver(make_driver());
    engine.set_policies({{"a", make_policy("a")}, broken("b")});
    ports.answer_all();
    engine.collect_if_due();
    EXPECT_EQ(ports.collections, 0);
}

TEST_F(EngineOvertaken, after_a_failed_grant_the_rules_are_not_known) {
    run();
    set_policies({make_policy("a", {GpuIndex{0}, GpuIndex{1}})});
    ports.answer("expose");
    ports.fail("grant", "no reply");
    ports.news();
    set_policies({make_policy("a")});
    EXPECT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service")) << "it may have been set all the same";
    EXPECT_THAT(names_of(ports.pending.front().rules.ours), Contains("nvidia1"));
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineOvertaken, a_door_that_could_not_be_closed_is_closed_before_anything_else_the_next_time) {
    run(make_policy("a", {GpuIndex{0}, GpuIndex{1}}));
    set_policies({make_policy("a", {GpuIndex{1}})});
    ports.fail("grant", "no reply");
    ports.news();
    engine.image_changed("a");
    ports.answer_all("test");
    EXPECT_THAT(ports.news(),
                ElementsAre("grant systemd-nspawn@a.service", "look a", "expose a", "follow a", "reload a", "test a"));
}

TEST_F(EngineOvertaken, what_a_units_start_may_have_given_is_closed_before_its_nodes_go) {
    prepare(make_policy("a", {GpuIndex{0}, GpuIndex{1}}));
    set_policies({make_policy("a", {GpuIndex{0}, GpuIndex{1}, GpuIndex{2}})});
    engine.machine_started("a", instance("a"));
    EXPECT_THAT(names_of(ports.memory.at("a").lent), Contains("nvidia1"));
    set_policies({make_policy("a")});
    ports.answer("expose");
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_EQ(ports.pending.front().rules.granted, machine().planned.plan.nodes);
}

TEST_F(EngineOvertaken, a_reload_that_failed_is_done_with_the_next_event) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer_all("reload");
    ports.fail("reload", "no reply");
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "reload a"), 2);
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineOvertaken, a_release_that_failed_is_done_with_the_next_event) {
    run();
    engine.machine_ended("a");
    ports.fail("release", "no reply");
    ports.news();
    set_policies({});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("release systemd-nspawn@a.service"));
    EXPECT_THAT(engine.machines(), IsEmpty());
}

TEST_F(EngineOvertaken, a_release_that_failed_is_done_when_the_next_instance_has_ended) {
    run();
    engine.machine_ended("a");
    ports.fail("release", "no reply");
    engine.machine_started("a", {"machine-a.scope", 200, 1});
    ports.answer_all();
    ports.news();
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_THAT(ports.news(), IsSupersetOf({"release machine-a.scope", "release systemd-nspawn@a.service"}));
}

TEST_F(EngineOvertaken, a_release_that_fails_each_time_does_not_stand_in_the_way_of_the_next_instance) {
    run();
    engine.machine_ended("a");
    ports.fail("release", "no reply");
    engine.machine_started("a", instance("a", 200));
    ports.answer_all("release");
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineOvertaken, rules_are_not_inherited_any_more_when_their_drop_in_was_written_anew) {
    prepare();
    Instance later = instance("a");
    later.since_usec = ports.now + 10'000'000;
    engine.image_changed("a");
    ports.answer_all();
    set_policies({make_policy("a", {GpuIndex{0}, GpuIndex{1}})});
    const Call expose = ports.take("expose");
    engine.machine_started("a", later);
    ports.answer(expose);
    EXPECT_FALSE(ports.take("grant").rules.shown_is_in_force) << "systemd may have read the new one, for another unit";
}

TEST_F(EngineOvertaken, a_generation_that_is_found_for_one_machine_is_in_force_for_all) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.fail("build", "the worker took too long");
    ports.answer_all();
    ports.store.insert(generation_name(make_driver()));  // it was ready all the same
    engine.set_policy("b", PolicyFile{"b", make_policy("b")});
    ports.answer_all();
    EXPECT_EQ(state("b"), "ready");
    EXPECT_EQ(state("a"), "ready");
}

TEST_F(EngineOvertaken, a_generation_of_a_driver_that_has_changed_meanwhile_reaches_no_machine) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    engine.machine_started("a", instance("a"));
    engine.set_driver(make_driver("1000.1"));
    ports.answer("build");
    ports.answer_all("build");
    EXPECT_EQ(engine.generation(), "");
    EXPECT_THAT(ports.on_disk, IsEmpty());
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver("1000.1")));
}

TEST_F(EngineOvertaken, of_two_instances_that_end_during_one_step_both_are_released) {
    prepare();
    engine.attach("a", {});
    engine.machine_started("a", instance("a"));
    engine.machine_ended("a");
    engine.machine_started("a", {"machine-a.scope", 200, 1});
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_THAT(ports.log, Contains("release systemd-nspawn@a.service"));
    EXPECT_THAT(ports.log, Contains("release machine-a.scope"));
    EXPECT_EQ(state(), "ready");
}

}  // namespace
}  // namespace cuda_nspawn
