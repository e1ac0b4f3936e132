#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using testing::make_driver;
using testing::make_policy;
using testing::names_of;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class EngineSteps : public testing::EngineFixture {};

TEST_F(EngineSteps, prepares_a_machine_that_does_not_run_and_grants_nothing) {
    engine.set_driver(make_driver());
    EXPECT_THAT(ports.log, IsEmpty()) << "nobody wants a GPU, so nothing is copied";
    set_policies({make_policy("a")});
    const std::string generation = generation_name(make_driver());
    EXPECT_THAT(ports.waiting(), ElementsAre("build " + generation, "look a"));
    EXPECT_EQ(state(), "preparing");
    ports.answer("build");
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("build " + generation, "look a", "expose a", "reload a"));
    EXPECT_EQ(state(), "ready");
    EXPECT_EQ(machine().exposed->generation, generation);
    EXPECT_THAT(names_of(machine().exposed->nodes),
                ElementsAre("nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"));
}

TEST_F(EngineSteps, a_machine_that_starts_is_granted_and_tested) {
    prepare();
    engine.machine_started("a", instance("a"));
    EXPECT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_EQ(ports.pending.front().rules.granted, machine().planned.plan.nodes);
    ports.answer("grant");
    EXPECT_THAT(ports.news(), ElementsAre("follow a", "test a")) << "PID 1 opens the door before it starts a process";
    EXPECT_EQ(ports.pending.front().request.epoch, machine().epoch);
    EXPECT_EQ(state_text(), "attached; the self-test is running");
    ports.answer("test");
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(state_text(), "passed: 1 GPU, 42 ms");
    EXPECT_EQ(ports.memory.at("a").verdict.result, VerdictResult::passed);
    EXPECT_EQ(ports.memory.at("a").tested_usec, ports.now);
}

TEST_F(EngineSteps, the_test_is_told_every_node_of_the_host_and_which_are_granted) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    const TestRequest request = ports.take("test").request;
    EXPECT_THAT(names_of(request.nodes),
                ElementsAre("nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1", "nvidia4", "nvidiactl"));
    EXPECT_THAT(names_of(request.granted), ElementsAre("nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidiactl"));
    EXPECT_EQ(request.level, SelfTestLevel::quick);
}

TEST_F(EngineSteps, nothing_is_tested_when_the_policy_says_off) {
    Policy policy = make_policy("a");
    policy.self_test = SelfTestLevel::off;
    prepare(policy);
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("test a")));
    EXPECT_EQ(state_text(), "attached; not tested");
}

TEST_F(EngineSteps, a_machine_with_gpus_none_has_nothing_and_is_not_followed) {
    prepare(make_policy("a", {}));
    EXPECT_EQ(machine().exposed, machine().planned.plan);
    EXPECT_FALSE(machine().exposed->present);
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("follow a"))) << "its unit would only fail";
    EXPECT_EQ(state(), "blocked");
    EXPECT_THAT(state_text(), HasSubstr("gpus: none"));
}

TEST_F(EngineSteps, a_failed_look_stops_there_and_says_why) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer("build");
    ports.fail("look", "cuda-nspawn-look@1.service left no report");
    EXPECT_THAT(ports.waiting(), IsEmpty());
    EXPECT_EQ(state(), "failed");
    EXPECT_EQ(state_text(), "look failed: cuda-nspawn-look@1.service left no report");
    EXPECT_THAT(observer.messages, Contains("a: look failed: cuda-nspawn-look@1.service left no report"));
}

TEST_F(EngineSteps, what_is_odd_about_a_guest_is_a_warning_and_told_once) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer("build");
    ports.image.guest = Guest{"debian", "Debian 12", Libc::glibc, "2.36", "x86-64", true, true, {"/usr/lib"}};
    ports.image.guest->bundled = {{"/usr/lib/libcuda.so.1", "535.183.01", BundledKind::copy}};
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
    EXPECT_THAT(machine().warnings(), ElementsAre(HasSubstr("The guest has its own libcuda.so.1 (535.183.01)")));
    EXPECT_THAT(observer.messages, Contains("a: " + machine().warnings()[0]));
    observer.messages.clear();
    engine.image_changed("a");
    ports.answer_all();
    EXPECT_THAT(observer.messages, Not(Contains(HasSubstr("libcuda.so.1"))));
    ports.image.guest->bundled.clear();
    engine.image_changed("a");
    ports.answer_all();
    EXPECT_THAT(machine().warnings(), IsEmpty());
}

TEST_F(EngineSteps, a_failed_exposure_is_tried_again_by_the_next_event) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer("build");
    ports.answer("look");
    ports.fail("expose", "no space left");
    EXPECT_EQ(state_text(), "expose failed: no space left");
    EXPECT_FALSE(machine().exposed);
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineSteps, a_failed_reload_of_units_is_a_failure_of_the_machine) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer_all("reload");
    ports.fail("reload", "systemd did not reload its units: no");
    EXPECT_EQ(state_text(), "reload failed: systemd did not reload its units: no");
}

TEST_F(EngineSteps, a_failed_grant_leaves_the_machine_untested) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.fail("grant", "the device rules could not be set");
    EXPECT_THAT(ports.waiting(), IsEmpty());
    EXPECT_EQ(state_text(), "grant failed: the device rules could not be set");
}

TEST_F(EngineSteps, a_failed_release_does_not_keep_the_machine_from_starting_again) {
    run();
    engine.machine_ended("a");
    ports.fail("release", "no");
    EXPECT_EQ(state(), "failed");
    engine.machine_started("a", instance("a", 200));
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineSteps, detach_closes_the_door_before_it_takes_the_nodes_away) {
    run();
    engine.detach("a");
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_THAT(ports.pending.front().rules.granted, IsEmpty());
    ports.answer("grant");
    EXPECT_THAT(ports.waiting(), ElementsAre("expose a"));
    EXPECT_THAT(ports.pending.front().plan.nodes, IsEmpty());
    EXPECT_TRUE(ports.pending.front().plan.mounts) << "the guest may get a GPU again later";
    ports.answer_all();
    EXPECT_EQ(state(), "detached");
    EXPECT_TRUE(ports.memory.at("a").revoked);
}

TEST_F(EngineSteps, detach_closes_the_door_first_when_the_rules_are_not_known_either) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.fail("grant", "no answer");
    ports.news();
    engine.detach("a");
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_THAT(ports.pending.front().rules.granted, IsEmpty());
}

TEST_F(EngineSteps, closing_the_door_does_not_wait_for_a_look_at_the_image) {
    run();
    engine.image_changed("a");
    ports.fail("look", "the worker is broken");
    engine.detach("a");
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
}

TEST_F(EngineSteps, fewer_gpus_are_closed_first_and_more_are_opened_last) {
    run(make_policy("a", {GpuIndex{0}, GpuIndex{1}}));
    set_policies({make_policy("a", {GpuIndex{1}})});
    ports.answer_all("test");
    EXPECT_THAT(ports.news(), ElementsAre("grant systemd-nspawn@a.service", "expose a", "reload a", "test a"));
    ports.answer_all();
    set_policies({make_policy("a", {GpuIndex{1}, GpuIndex{2}})});
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("expose a", "grant systemd-nspawn@a.service", "reload a", "test a"));
    EXPECT_EQ(state_text(), "passed: 2 GPUs, 42 ms");
}

TEST_F(EngineSteps, a_machine_that_runs_without_our_mounts_gets_them) {
    engine.set_driver(make_driver());
    ports.without_mounts = {100};
    engine.machine_started("a", instance("a"));
    set_policies({make_policy("a")});
    ports.answer_all("mount");
    EXPECT_THAT(ports.waiting(), ElementsAre("mount a")) << "it is tested when it has them";
    EXPECT_EQ(state(), "preparing");
    ports.answer("mount");
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "mount a"), 1);
    engine.detach("a");
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "mount a"), 1) << "they stay until it ends";
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineSteps, what_no_systemd_does_in_a_machine_is_done_from_the_host_at_each_change) {
    ports.runs_systemd = false;
    ports.image.boots_systemd = false;
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_THAT(ports.news(), ::testing::AllOf(Contains("mount a").Times(1), Contains("test a").Times(1)));
    EXPECT_EQ(state(), "attached");
    engine.detach("a");
    ports.answer_all("mount");
    EXPECT_THAT(ports.waiting(), ElementsAre("mount a")) << "its links go";
    EXPECT_EQ(state(), "preparing");
    ports.answer_all();
    EXPECT_EQ(state(), "detached");
    ports.news();
    engine.verify_all();
    ports.answer_all();
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
    engine.machine_ended("a");
    engine.machine_started("a", instance("a", 101));
    ports.answer_all("mount");
    EXPECT_THAT(ports.waiting(), ElementsAre("mount a")) << "another instance, another set-up";
}

TEST_F(EngineSteps, of_a_machine_that_somebody_started_by_hand_it_is_not_known_who_does_its_set_up) {
    prepare();
    engine.machine_started("a", {"machine-a.scope", 100, 1});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("mount a").Times(1)) << "though it has its mounts";
    engine.detach("a");
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("mount a"))) << "its systemd does it";
}

TEST_F(EngineSteps, a_machine_that_gets_no_gpu_gets_no_mounts) {
    ports.without_mounts = {100};
    prepare(make_policy("a", {}));
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("mount a")));
}

TEST_F(EngineSteps, mounts_that_fail_are_told_and_tried_again_by_the_next_attach) {
    ports.without_mounts = {100};
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    ports.fail("mount", "a has no /run that is a directory");
    EXPECT_EQ(state_text(), "mount failed: a has no /run that is a directory");
    EXPECT_FALSE(ports.is_pending("test"));
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineSteps, what_an_instance_was_ever_lent_is_remembered_before_it_is_given) {
    run(make_policy("a", {GpuIndex{0}}));
    set_policies({make_policy("a", {GpuIndex{1}})});
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
    EXPECT_THAT(names_of(ports.memory.at("a").lent),
                UnorderedElementsAre("nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1", "nvidiactl"));
}

TEST_F(EngineSteps, a_daemon_that_starts_when_the_driver_has_gone_takes_back_what_its_predecessor_gave) {
    const std::vector<DeviceNode> lent{{"nvidia0", 195, 0}, {"nvidia-uvm", 510, 0}};
    engine.set_instances({{"a", instance("a")}});
    engine.restore("a", {instance("a"), false, {}, 0, lent});
    engine.set_driver({});
    set_policies({make_policy("a")});
    const Rules rules = ports.take("grant").rules;
    EXPECT_THAT(rules.granted, IsEmpty());
    EXPECT_THAT(names_of(rules.ours), IsSupersetOf({"nvidia0", "nvidia-uvm"}));
}

TEST_F(EngineSteps, the_store_is_tidied_when_the_last_user_of_a_generation_has_another) {
    run();
    engine.collect_if_due();
    EXPECT_EQ(ports.collections, 1) << "what a predecessor may have left";
    engine.set_driver(make_driver("999.50.00"));
    ports.answer("build");
    engine.collect_if_due();
    EXPECT_EQ(ports.collections, 1) << "the machine has the old one still";
    ports.answer_all();
    engine.collect_if_due();
    engine.collect_if_due();
    EXPECT_EQ(ports.collections, 2);
}

TEST_F(EngineSteps, a_guest_that_cannot_run_the_driver_is_left_as_it_would_be_without_us) {
    ports.image.guest = Guest{"alpine", "Alpine Linux v3.20", Libc::musl, "", "x86-64", false, false};
    prepare();
    EXPECT_EQ(state(), "blocked");
    EXPECT_THAT(state_text(), HasSubstr("musl"));
    EXPECT_FALSE(machine().exposed->mounts);
    EXPECT_TRUE(machine().exposed->present) << "cuda-nspawn@a.service shall tell why";
}

TEST_F(EngineSteps, refused_settings_open_no_door_and_count_as_no_grant) {
    ports.expose_errors = {"/etc/systemd/nspawn/a.nspawn:3: no section"};
    prepare();
    engine.machine_started("a", instance("a"));
    EXPECT_THAT(ports.pending.front().rules.granted, IsEmpty());
    ports.answer_all();
    EXPECT_EQ(machine().granted, std::vector<DeviceNode>());
    EXPECT_EQ(state_text(), "/etc/systemd/nspawn/a.nspawn:3: no section");
    EXPECT_FALSE(machine().is_granted());
}

TEST_F(EngineSteps, settings_that_break_while_the_machine_runs_close_the_door) {
    run();
    ports.expose_errors = {"/etc/systemd/nspawn/a.nspawn:3: no section"};
    engine.image_changed("a");
    ports.answer_all();
    EXPECT_THAT(ports.news(), Contains("grant systemd-nspawn@a.service"));
    EXPECT_EQ(machine().granted, std::vector<DeviceNode>());
    ports.expose_errors.clear();
    engine.image_changed("a");
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(machine().granted, machine().planned.plan.nodes);
}

TEST_F(EngineSteps, a_change_of_image_or_settings_during_an_exposure_leads_to_another) {
    prepare();
    engine.attach("a", {});
    ports.answer("look");
    engine.image_changed("a");
    ports.answer("expose");
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("look a", "expose a", "look a", "expose a"));
}

TEST_F(EngineSteps, what_could_not_all_be_removed_yet_is_removed_after_the_units_were_read) {
    prepare();
    set_policies({});
    Exposed partly;
    partly.changes = {{"remove", "/run/systemd/nspawn/a.nspawn", ""}};
    partly.units_changed = true;
    partly.incomplete = true;
    std::get<Reply<Exposed>>(ports.take("expose").reply)(partly);
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("expose a", "reload a", "expose a", "reload a"));
    EXPECT_THAT(engine.machines(), IsEmpty());
}

TEST_F(EngineSteps, what_is_not_known_any_more_changes_nothing) {
    engine.machine_started("stranger", instance("stranger"));
    engine.machine_ended("stranger");
    engine.image_changed("stranger");
    EXPECT_THAT(ports.log, IsEmpty());
    EXPECT_THAT(engine.machines(), IsEmpty());
}

TEST_F(EngineSteps, a_thousand_machines_come_to_rest) {
    engine.set_driver(make_driver());
    std::vector<Policy> policies;
    std::map<std::string, Instance> running;
    for (int i = 0; i < 1000; ++i) {
        policies.push_back(make_policy("m" + std::to_string(i)));
        running[policies.back().machine] = instance(policies.back().machine);
    }
    set_policies(policies);
    ports.answer_all();
    for (const Policy& policy : policies) engine.attach(policy.machine, {true, true, false});
    ports.answer_all();
    EXPECT_TRUE(engine.settled());
    for (const auto& [name, found] : engine.machines()) ASSERT_EQ(found.verdict.result, VerdictResult::passed) << name;
    engine.set_instances(running);
    engine.set_instances({});
    set_policies({});
    ports.answer_all();
    EXPECT_THAT(engine.machines(), IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
