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

class EngineDriver : public testing::EngineFixture {};

TEST_F(EngineDriver, a_host_without_driver_prepares_machines_and_says_what_is_missing) {
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_EQ(state(), "blocked");
    EXPECT_THAT(state_text(), HasSubstr("no NVIDIA kernel module is loaded"));
    EXPECT_TRUE(machine().exposed->mounts);
    EXPECT_THAT(machine().exposed->nodes, IsEmpty());
}

TEST_F(EngineDriver, a_driver_that_comes_later_reaches_running_machines) {
    set_policies({make_policy("a")});
    engine.machine_started("a", instance("a"));
    ports.answer_all();
    engine.set_driver(make_driver());
    ports.answer_all();
    EXPECT_EQ(state_text(), "passed: 1 GPU, 42 ms");
}

TEST_F(EngineDriver, an_unknown_gpu_is_named) {
    prepare(make_policy("a", {GpuIndex{7}}));
    EXPECT_EQ(state(), "blocked");
    EXPECT_THAT(state_text(), HasSubstr("GPU index 7"));
}

TEST_F(EngineDriver, an_upgrade_is_one_new_generation_and_a_swap) {
    run();
    engine.set_driver(make_driver("1000.1"));
    EXPECT_THAT(ports.waiting(), ElementsAre("build " + generation_name(make_driver("1000.1"))));
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver())) << "until the new one is complete";
    EXPECT_THAT(engine.generations_in_use(), ::testing::SizeIs(2));
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver("1000.1")));
    EXPECT_THAT(engine.generations_in_use(), ElementsAre(generation_name(make_driver("1000.1"))));
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineDriver, upgraded_files_without_the_modules_reload_keep_the_generation) {
    run();
    Driver upgraded = make_driver("1000.1");
    upgraded.kernel_version = "999.42.01";
    engine.set_driver(upgraded);
    ports.answer_all();
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_EQ(state(), "attached");
    EXPECT_THAT(engine.driver().notes, ElementsAre(HasSubstr("the copies of 999.42.01 stay in use")));
    EXPECT_THAT(engine.driver().notes,
                ElementsAre(::testing::AllOf(HasSubstr("modprobe -r nvidia-uvm"), HasSubstr("rebooted"))));
    EXPECT_EQ(engine.pending_version(), "1000.1");
    engine.set_driver(upgraded);
    EXPECT_THAT(engine.driver().notes, ::testing::SizeIs(1));
    engine.set_driver(make_driver("1000.1"));
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver("1000.1")));
    EXPECT_EQ(engine.pending_version(), "");
}

TEST_F(EngineDriver, files_are_pending_only_beside_a_module_of_another_version) {
    Driver files_only = make_driver();
    files_only.kernel_version.clear();
    engine.set_driver(files_only);
    EXPECT_EQ(engine.pending_version(), "") << "no module: nothing waits for a reload";
    Driver upgraded = make_driver("1000.1");
    upgraded.kernel_version = "999.42.01";
    engine.set_driver(upgraded);
    EXPECT_EQ(engine.pending_version(), "1000.1") << "though nothing fits the module";
    EXPECT_THAT(observer.events, Contains("driver changed"));
}

TEST_F(EngineDriver, a_daemon_that_starts_during_a_mismatch_takes_the_generation_that_fits_from_the_store) {
    ports.store = {"999.42.01-0123456789abcdef", "1000.1-0123456789abcdef"};
    Driver driver = make_driver("1000.1");
    driver.kernel_version = "999.42.01";
    engine.set_driver(driver);
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, "999.42.01-0123456789abcdef");
    EXPECT_THAT(ports.log, Not(Contains(HasSubstr("build"))));
    EXPECT_THAT(engine.driver().notes, ElementsAre(HasSubstr("the driver files on the host are 1000.1")));
    engine.set_driver(make_driver("1000.1"));
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver("1000.1")));
}

TEST_F(EngineDriver, a_mismatch_from_the_start_is_named) {
    Driver driver = make_driver("1000.1");
    driver.kernel_version = "999.42.01";
    engine.set_driver(driver);
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_THAT(state_text(), HasSubstr("kernel module is 999.42.01, driver files are 1000.1"));
}

TEST_F(EngineDriver, a_build_that_fails_is_the_obstacle) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.fail("build", "no space left in /var/lib/cuda-nspawn");
    ports.answer_all();
    EXPECT_EQ(state(), "blocked");
    EXPECT_EQ(state_text(),
              "the driver's files could not be copied to the store: no space left in /var/lib/cuda-nspawn");
    EXPECT_EQ(engine.build_failure(), state_text());
}

TEST_F(EngineDriver, a_build_that_failed_is_tried_again_by_a_refresh) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.fail("build", "no space left");
    ports.answer_all();
    engine.set_driver(make_driver());
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
    EXPECT_EQ(engine.build_failure(), "");
}

TEST_F(EngineDriver, a_generation_that_the_store_has_already_is_not_built) {
    ports.store.insert(generation_name(make_driver()));
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_THAT(ports.log, ElementsAre("look a", "expose a", "reload a"));
    EXPECT_EQ(engine.generation(), generation_name(make_driver()));
    EXPECT_EQ(observer.events.back(), "driver changed") << "its generation came into force";
}

TEST_F(EngineDriver, a_failed_upgrade_leaves_the_old_generation_in_force) {
    run();
    engine.set_driver(make_driver("1000.1"));
    ports.fail("build", "no space left");
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver()));
    EXPECT_THAT(engine.build_failure(), HasSubstr("no space left"));
}

TEST_F(EngineDriver, a_driver_that_changes_during_a_build_is_built_next) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    engine.set_driver(make_driver("1000.1"));
    EXPECT_THAT(ports.waiting(), ElementsAre("build " + generation_name(make_driver()), "look a"));
    ports.answer("build");
    EXPECT_THAT(ports.waiting(), Contains("build " + generation_name(make_driver("1000.1"))));
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver("1000.1")));
}

TEST_F(EngineDriver, a_driver_that_changes_during_a_build_that_fails_is_built_next_too) {
    engine.set_driver(make_driver());
    set_policies({make_policy("a")});
    engine.set_driver(make_driver("1000.1"));
    ports.fail("build", "the driver's files changed meanwhile");
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineDriver, a_new_driver_reaches_machines_whose_last_step_failed) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("start");
    ports.fail("start", "the image is broken");
    EXPECT_EQ(job(id).result, JobResult::failed);
    engine.set_driver(make_driver("1000.1"));
    ports.answer_all();
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver("1000.1")));
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineDriver, a_gpu_that_goes_away_is_taken_and_named) {
    run(make_policy("a", {GpuIndex{0}, GpuIndex{2}}));
    Driver driver = make_driver();
    driver.gpus.pop_back();
    engine.set_driver(driver);
    EXPECT_THAT(ports.waiting(), ElementsAre("grant systemd-nspawn@a.service"));
    ports.answer_all();
    EXPECT_EQ(state(), "blocked");
    EXPECT_THAT(state_text(), HasSubstr("GPU index 2"));
}

TEST_F(EngineDriver, a_driver_that_is_the_same_changes_nothing) {
    run();
    observer.events.clear();
    engine.set_driver(make_driver());
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_THAT(observer.events, IsEmpty());
}

TEST_F(EngineDriver, verifying_what_is_right_changes_nothing) {
    run();
    const Machine before = machine();
    observer.messages.clear();
    engine.verify_all();
    EXPECT_EQ(state(), "attached") << "while it is verified";
    ports.answer("expose");
    EXPECT_EQ(state(), "attached");
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("expose a", "grant systemd-nspawn@a.service"));
    EXPECT_EQ(machine().tested_usec, before.tested_usec);
    EXPECT_EQ(machine().verdict, before.verdict);
    EXPECT_THAT(observer.messages, IsEmpty());
    EXPECT_TRUE(engine.settled());
}

TEST_F(EngineDriver, verifying_mends_what_somebody_took_and_tests_again) {
    run();
    ports.on_disk.clear();
    engine.verify_all();
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("expose a", "grant systemd-nspawn@a.service", "reload a", "test a"));
    EXPECT_EQ(state_text(), "passed: 1 GPU, 42 ms");
}

TEST_F(EngineDriver, a_machine_that_does_not_run_is_verified_on_disk) {
    prepare();
    engine.verify_all();
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("expose a"));
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineDriver, a_generation_that_is_damaged_in_the_store_is_copied_again_before_machines_are_verified) {
    run();
    observer.messages.clear();
    ports.store.clear();
    engine.verify_all();
    const std::string build = "build " + generation_name(make_driver());
    EXPECT_THAT(ports.waiting(), ElementsAre(build));
    EXPECT_THAT(observer.messages, Contains(HasSubstr("is damaged in the store: it is copied again")));
    engine.verify_all();
    EXPECT_THAT(ports.waiting(), ElementsAre(build)) << "once";
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre(build, "expose a", "grant systemd-nspawn@a.service"));
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver()));
}

TEST_F(EngineDriver, a_damaged_generation_that_cannot_be_copied_stays_in_force) {
    run();
    ports.store.clear();
    engine.verify_all();
    ports.fail("build", "no space left");
    ports.answer_all();
    EXPECT_THAT(engine.build_failure(), HasSubstr("no space left"));
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(engine.generation(), generation_name(make_driver()));
    engine.verify_all();
    ports.answer_all();
    EXPECT_EQ(engine.build_failure(), "");

    Driver upgraded = make_driver("1000.1");
    upgraded.kernel_version = "999.42.01";
    engine.set_driver(upgraded);
    ports.answer_all();
    ports.store.clear();
    observer.messages.clear();
    engine.verify_all();
    ports.answer_all();
    EXPECT_EQ(engine.generation(), generation_name(make_driver()));
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineDriver, a_file_that_cannot_be_read_leaves_the_old_generation_in_force) {
    run();
    Driver upgraded = make_driver("1000.1");
    upgraded.unreadable = "/usr/lib/libcuda.so.1000.1: it cannot be opened (Input/output error)";
    engine.set_driver(upgraded);
    ports.answer_all();
    EXPECT_EQ(engine.build_failure(), "the driver's files could not be copied to the store: " + upgraded.unreadable);
    EXPECT_EQ(engine.generation(), generation_name(make_driver()));
    EXPECT_EQ(machine().exposed->generation, generation_name(make_driver()));
    EXPECT_EQ(state(), "attached");
    engine.set_driver(make_driver());
    EXPECT_EQ(engine.build_failure(), "") << "the driver is what it was";
    engine.set_driver(make_driver("1000.1"));
    ports.answer_all();
    EXPECT_EQ(engine.generation(), generation_name(make_driver("1000.1")));
    EXPECT_EQ(engine.build_failure(), "");
}

TEST_F(EngineDriver, what_cannot_be_verified_is_verified_when_it_is_tried_again) {
    run();
    engine.verify_all();
    ports.fail("expose", "the worker was killed");
    EXPECT_EQ(state(), "failed");
    Driver driver = make_driver();
    driver.notes.emplace_back("something that makes all machines try again");
    engine.set_driver(driver);
    ports.answer("expose");
    ports.fail("grant", "systemd did not answer");
    EXPECT_EQ(state(), "failed");
    engine.set_driver(make_driver());
    ports.answer_all();
    // How far the first one came nobody knows: so all that depends on it is done again.
    EXPECT_THAT(ports.news(), ElementsAre("expose a", "expose a", "grant systemd-nspawn@a.service", "follow a",
                                          "grant systemd-nspawn@a.service", "reload a", "test a"));
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineDriver, a_doubt_during_the_verification_is_verified_once_more) {
    run();
    engine.verify_all();
    engine.verify_all();
    ports.answer_all();
    EXPECT_THAT(ports.news(), ElementsAre("expose a", "expose a", "grant systemd-nspawn@a.service"));
}

TEST_F(EngineDriver, errors_of_the_settings_are_said_once) {
    ports.expose_errors = {"Boot=no in the settings file"};
    prepare();
    observer.messages.clear();
    engine.verify_all();
    ports.answer_all();
    EXPECT_THAT(observer.messages, IsEmpty());
}

TEST_F(EngineDriver, a_broken_policy_leaves_the_last_good_one_in_force) {
    run();
    engine.set_policies({broken("a")});
    ports.answer_all();
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_EQ(state(), "attached");
    EXPECT_THAT(machine().policy_errors, ::testing::SizeIs(1));
    EXPECT_THAT(observer.messages, Contains("a: /etc/cuda-nspawn/machines/a.yaml:1:1: unknown key \"gpu\""));
    const auto said = observer.messages.size();
    engine.set_policies({broken("a")});
    EXPECT_EQ(observer.messages.size(), said) << "what was said is not said again";
    set_policies({make_policy("a")});
    EXPECT_THAT(machine().policy_errors, IsEmpty());
    EXPECT_EQ(state(), "attached");
}

TEST_F(EngineDriver, a_policy_that_is_broken_from_the_start_touches_nothing) {
    engine.set_driver(make_driver());
    engine.set_policies({broken("a")});
    engine.adopt_leftover("a");
    ports.answer_all();
    EXPECT_THAT(ports.log, IsEmpty());
    EXPECT_EQ(state(), "invalid");
    EXPECT_EQ(state_text(), "/etc/cuda-nspawn/machines/a.yaml:1:1: unknown key \"gpu\"");
    set_policies({make_policy("a")});
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
}

}  // namespace
}  // namespace cuda_nspawn
