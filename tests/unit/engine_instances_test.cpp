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
using ::testing::Not;

class EngineInstances : public testing::EngineFixture {
protected:
    void answer(const Call& call, Tested tested) { std::get<Reply<Tested>>(call.reply)(std::move(tested)); }
};

TEST_F(EngineInstances, the_end_of_a_machine_releases_its_unit_and_keeps_the_verdict_readable) {
    run();
    engine.machine_ended("a");
    EXPECT_THAT(ports.news(), ElementsAre("unfollow a", "release systemd-nspawn@a.service"));
    ports.answer_all();
    EXPECT_THAT(ports.news(), IsEmpty()) << "the exposure holds for the next start";
    EXPECT_EQ(state(), "ready");
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
    EXPECT_THAT(ports.memory, IsEmpty());
}

TEST_F(EngineInstances, a_restart_gives_a_fresh_grant_and_a_fresh_verdict) {
    run();
    engine.machine_ended("a");
    engine.machine_started("a", instance("a", 200));
    EXPECT_EQ(machine().verdict.result, VerdictResult::none);
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("unfollow a", "release systemd-nspawn@a.service",
                                          "grant systemd-nspawn@a.service", "follow a", "test a"));
    EXPECT_EQ(ports.memory.at("a").instance, instance("a", 200));
}

TEST_F(EngineInstances, a_machine_that_starts_long_after_its_rules_were_written_has_them_if_systemd_shows_them) {
    prepare();
    Instance later = instance("a");
    later.since_usec = ports.now + 10'000'000;
    engine.machine_started("a", later);
    EXPECT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_TRUE(ports.take("grant").rules.shown_is_in_force);
    EXPECT_EQ(machine().lent, machine().exposed->nodes);
}

TEST_F(EngineInstances, rules_that_systemd_has_not_read_yet_are_not_taken_for_the_instances) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer_all("reload");
    Instance later = instance("a");
    later.since_usec = ports.now + 10'000'000;
    engine.machine_started("a", later);
    ports.answer("reload");
    EXPECT_FALSE(ports.take("grant").rules.shown_is_in_force);
}

TEST_F(EngineInstances, where_rules_are_known_and_none_must_go_the_missing_ones_are_added) {
    prepare();
    engine.machine_started("a", instance("a"));
    ASSERT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_FALSE(ports.pending.front().rules.in_force) << "nothing is known of a new instance";
    ports.answer_all();
    engine.detach("a", false);
    EXPECT_FALSE(ports.pending.front().rules.in_force) << "rules must go";
    ports.answer_all();
    engine.attach("a", {});
    ports.answer("expose");
    ASSERT_THAT(ports.pending, Not(IsEmpty()));
    ASSERT_EQ(ports.pending.front().text(), "grant systemd-nspawn@a.service");
    ASSERT_TRUE(ports.pending.front().rules.in_force);
    EXPECT_THAT(*ports.pending.front().rules.in_force, IsEmpty());
    ports.answer_all();
    engine.verify_all();
    ports.answer("expose");
    ASSERT_EQ(ports.pending.front().text(), "grant systemd-nspawn@a.service");
    EXPECT_FALSE(ports.pending.front().rules.in_force) << "somebody may have changed them";
}

TEST_F(EngineInstances, nodes_that_are_not_for_everybody_are_the_running_guests_roots) {
    Driver restricted = make_driver();
    restricted.node_mode = 0660;
    run();
    engine.set_driver(restricted);
    ports.answer_all();
    EXPECT_EQ(ports.on_disk.at("a").node_mode, 0660U);
    EXPECT_EQ(ports.on_disk.at("a").node_owner, 100U * 65536) << "of one that ran already";
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_EQ(ports.on_disk.at("a").node_owner, 0U) << "who is next is not known";
    ports.news();
    engine.machine_started("a", instance("a", 200));
    EXPECT_THAT(ports.news(), ElementsAre("expose a"));
    ports.answer_all();
    EXPECT_EQ(ports.on_disk.at("a").node_owner, 200U * 65536);
    EXPECT_EQ(state(), "attached");
    engine.detach("a", false);
    ports.answer_all();
    EXPECT_EQ(ports.on_disk.at("a").node_owner, 0U) << "there is no node";
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_EQ(ports.on_disk.at("a").node_owner, 200U * 65536);
    engine.set_driver(make_driver());
    ports.answer_all();
    EXPECT_EQ(ports.on_disk.at("a").node_owner, 0U) << "everybody may open them";
}

TEST_F(EngineInstances, a_new_instance_whose_end_was_missed_ends_the_old_one) {
    run();
    engine.machine_started("a", instance("a", 200));
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("unfollow a", "release systemd-nspawn@a.service",
                                          "grant systemd-nspawn@a.service", "follow a", "test a"));
    EXPECT_EQ(machine().instance, instance("a", 200));
}

TEST_F(EngineInstances, an_instance_that_is_told_twice_is_one) {
    run();
    engine.machine_started("a", instance("a"));
    EXPECT_THAT(ports.news(), IsEmpty());
}

TEST_F(EngineInstances, the_end_of_a_machine_that_never_started_is_nothing) {
    prepare();
    engine.machine_ended("a");
    EXPECT_THAT(ports.news(), IsEmpty());
}

TEST_F(EngineInstances, an_end_before_the_answer_to_start_fails_the_job_and_nothing_else) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("start");
    engine.machine_started("a", instance("a"));
    engine.machine_ended("a");
    ports.fail("start", "systemd-nspawn@a.service started, but machine \"a\" is gone again");
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(job(id).text, HasSubstr("gone again"));
    EXPECT_FALSE(machine().instance);
}

TEST_F(EngineInstances, a_grant_answered_after_the_instance_changed_says_nothing_of_the_new_one) {
    prepare();
    engine.machine_started("a", instance("a"));
    const Call old = ports.take("grant");
    engine.machine_started("a", instance("a", 200));
    std::get<Reply<Granted>>(old.reply)({{}, "Unit not loaded"});
    EXPECT_EQ(machine().failure, "");
    EXPECT_FALSE(machine().granted);
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineInstances, a_test_answered_after_the_instance_changed_is_not_its_verdict) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    const Call old = ports.take("test");
    engine.machine_started("a", instance("a", 200));
    ports.answer_all("test");
    answer(old, ports.failed());
    EXPECT_EQ(machine().verdict.result, VerdictResult::none);
    EXPECT_TRUE(machine().testing) << "the new instance's own";
    ports.answer_all();
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineInstances, a_test_answered_after_machine_and_policy_are_gone_is_ignored) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    const Call test = ports.take("test");
    set_policies({});
    engine.machine_ended("a");
    ports.answer_all();
    ASSERT_THAT(engine.machines(), IsEmpty());
    answer(test, ports.failed());
    EXPECT_THAT(engine.machines(), IsEmpty());
}

TEST_F(EngineInstances, a_machine_that_ends_during_an_exposure_is_released_after_it) {
    prepare();
    engine.attach("a", {});
    ports.answer("look");
    engine.machine_started("a", instance("a"));
    engine.machine_ended("a");
    EXPECT_THAT(ports.waiting(), ElementsAre("expose a"));
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
    EXPECT_THAT(ports.news(), Contains("release systemd-nspawn@a.service"));
}

TEST_F(EngineInstances, a_second_end_during_a_release_is_released_too) {
    run();
    engine.machine_ended("a");
    const Call first = ports.take("release");
    const Instance by_hand{"machine-a.scope", 200, 1};
    engine.machine_started("a", by_hand);
    engine.machine_ended("a");
    ports.answer(first);
    EXPECT_THAT(ports.waiting(), ElementsAre("release machine-a.scope"));
}

TEST_F(EngineInstances, comparison_finds_what_ended_and_started_unseen) {
    engine.set_instances({{"a", instance("a")}, {"b", instance("b")}});
    engine.set_driver(make_driver());
    set_policies({make_policy("a"), make_policy("b"), make_policy("c")});
    ports.answer_all();
    ports.news();
    engine.set_instances({{"b", instance("b")}, {"c", instance("c")}, {"other", instance("other")}});
    EXPECT_FALSE(machine("a").instance);
    EXPECT_EQ(machine("b").instance, instance("b"));
    EXPECT_EQ(machine("c").instance, instance("c"));
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("follow b")));
    EXPECT_FALSE(engine.machines().contains("other"));
}

TEST_F(EngineInstances, a_daemon_that_starts_again_leaves_a_tested_machine_alone) {
    run();
    ports.store.insert(generation_name(make_driver()));
    Engine again{ports, observer};
    again.set_instances({{"a", instance("a")}});
    again.restore("a", ports.memory.at("a"));
    again.set_driver(make_driver());
    again.set_policies({{"a", make_policy("a")}});
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("follow again a", "look a", "expose a", "grant systemd-nspawn@a.service"));
    EXPECT_EQ(again.machine("a").verdict, machine().verdict);
    EXPECT_EQ(again.machine("a").tested_usec, machine().tested_usec);
}

TEST_F(EngineInstances, a_remembered_detach_holds_and_opens_nothing_for_a_moment) {
    engine.set_instances({{"a", instance("a")}});
    engine.restore("a", {instance("a"), true, {}, 0});
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    EXPECT_THAT(ports.log, Contains("unfollow a")) << "the daemon before may not have come to it";
    while (!ports.pending.empty()) {
        EXPECT_THAT(ports.pending.front().rules.granted, IsEmpty());
        EXPECT_THAT(ports.pending.front().plan.nodes, IsEmpty());
        const Call call = ports.pending.front();
        ports.pending.pop_front();
        ports.answer(call);
    }
    EXPECT_EQ(state(), "detached");
}

TEST_F(EngineInstances, what_ended_while_no_daemon_ran_is_forgotten_and_released) {
    ports.memory["a"] = {};
    engine.set_instances({});
    engine.restore("a", {instance("a"), true, {}, 0});
    EXPECT_THAT(ports.news(), ElementsAre("unfollow a"));
    EXPECT_THAT(ports.memory, IsEmpty());
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("release systemd-nspawn@a.service"));
    EXPECT_EQ(state(), "ready");
    EXPECT_FALSE(machine().exposed->nodes.empty()) << "the detach was of that instance only";
}

TEST_F(EngineInstances, another_instance_than_the_remembered_one_is_new) {
    Verdict verdict;
    verdict.result = VerdictResult::passed;
    engine.set_instances({{"a", instance("a", 200)}});
    engine.restore("a", {instance("a"), true, verdict, 77});
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    EXPECT_FALSE(machine().revoked);
    ports.answer_all();
    EXPECT_THAT(ports.log, Contains("follow a"));
    EXPECT_THAT(ports.log, Contains("test a"));
    EXPECT_THAT(ports.log, Contains("release systemd-nspawn@a.service"));
}

TEST_F(EngineInstances, a_running_guest_keeps_what_it_has_until_the_driver_is_copied) {
    engine.set_instances({{"a", instance("a")}});
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer_all("build");
    EXPECT_THAT(ports.news(), Not(Contains("expose a")));
    engine.detach("a");
    EXPECT_THAT(ports.news(), Contains("grant systemd-nspawn@a.service")) << "but a detach waits for nothing";
    ports.answer_all("build");
    EXPECT_THAT(ports.on_disk.at("a").nodes, IsEmpty());
}

TEST_F(EngineInstances, a_machine_without_policy_loses_the_gpu_now_and_everything_at_its_end) {
    run();
    set_policies({});
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service", "expose a", "unfollow a", "reload a"));
    EXPECT_TRUE(ports.on_disk.at("a").keep_directory) << "the running guest has it bound";
    EXPECT_EQ(state(), "blocked");
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_FALSE(ports.on_disk.at("a").keep_directory);
    EXPECT_THAT(engine.machines(), IsEmpty());
}

TEST_F(EngineInstances, a_policy_that_comes_back_while_the_machine_runs_is_tested) {
    run();
    set_policies({});
    ports.answer_all();
    ports.news();
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
    EXPECT_THAT(ports.news(), Contains("test a"));
}

TEST_F(EngineInstances, a_policy_removed_while_a_step_is_under_way_is_carried_out_after_it) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer("build");
    ports.answer("look");
    const Call expose = ports.take("expose");
    set_policies({});
    EXPECT_THAT(engine.machines(), ::testing::SizeIs(1));
    ports.answer(expose);
    ports.answer_all();
    EXPECT_THAT(engine.machines(), IsEmpty());
    EXPECT_FALSE(ports.on_disk.at("a").present);
    EXPECT_THAT(observer.events, Contains("machine removed a"));
}

TEST_F(EngineInstances, a_leftover_without_policy_is_removed) {
    engine.adopt_leftover("old");
    engine.set_driver(make_driver());
    set_policies({});
    EXPECT_THAT(ports.waiting(), ElementsAre("expose old"));
    EXPECT_FALSE(ports.pending.front().plan.present);
    ports.answer_all();
    EXPECT_THAT(engine.machines(), IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
