#include <gmock/gmock.h>

#include <ranges>

#include "bus_fixture.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BusMachines : public BusFixture {
protected:
    bool wait_for_verdict(const std::string& machine_name, const std::string& verdict) {
        return wait_until([&] { return text(machine_name, "Verdict") == verdict; });
    }
    bool wait_for_unit(const std::string& unit, const std::string& state) {
        return wait_until([&] { return systemd->active_state(unit) == state; });
    }
    bool run_and_detach_a() {
        start_daemon_with("gpus: [0]\n");
        machined->start("a");
        if (!wait_for_verdict("a", "passed")) return false;
        call<ObjectPath, Changes>("Detach", "a", wait);
        return true;
    }
    const std::string unit_of_a = "systemd-nspawn@a.service";
    const Options wait{{"wait", sdbus::Variant(true)}};
};

const std::string machine_a = "/org/cudanspawn1/machine/a";
const std::string gpu0 = "/org/cudanspawn1/gpu/GPU_2d00000000_2d0000_2d0000_2d0000_2d000000000000";

TEST_F(BusMachines, a_machine_that_appears_is_granted_followed_and_tested) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    EXPECT_TRUE(wait_for_verdict("a", "passed"));
    EXPECT_EQ(text("a", "Unit"), "systemd-nspawn@a.service");
    EXPECT_TRUE(wait_for_unit("cuda-nspawn@a.service", "active"));
    EXPECT_THAT(systemd->rules()["systemd-nspawn@a.service"], Contains("/dev/char/195:0 rw"));
    EXPECT_GT(machine("a").at("LastSelfTest").get<std::uint64_t>(), 0U);
}

TEST_F(BusMachines, a_hand_started_machine_is_granted_in_its_scope) {
    start_daemon_with("gpus: [1]\n");
    machined->start("a", "machine-a.scope");
    EXPECT_TRUE(wait_for_verdict("a", "passed"));
    EXPECT_THAT(systemd->rules()["machine-a.scope"], Contains("/dev/char/195:1 rw"));
}

TEST_F(BusMachines, a_machine_that_vanishes_keeps_its_exposure_for_the_next_start) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_for_verdict("a", "passed"));
    machined->stop("a");
    EXPECT_TRUE(wait_for_state("a", "ready"));
    EXPECT_EQ(text("a", "Unit"), "");
    EXPECT_TRUE(host->has_node("a", "nvidia0"));
    EXPECT_TRUE(wait_until([&] { return systemd->count("StopUnit cuda-nspawn@a.service") == 1; }));
}

TEST_F(BusMachines, a_unit_that_goes_down_with_its_machine_leaves_no_mark_of_a_stop) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_for_verdict("a", "passed"));
    ASSERT_TRUE(wait_for_unit("cuda-nspawn@a.service", "active"));
    const auto mark = host->tree.at("/root/run/cuda-nspawn/state/a.stopping");
    systemd->deactivate("cuda-nspawn@a.service");
    systemd->set("cuda-nspawn@a.service", {.held = true});
    machined->stop("a");
    ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn@a.service"); }));
    EXPECT_TRUE(std::filesystem::exists(mark));
    systemd->finish("cuda-nspawn@a.service");
    EXPECT_TRUE(wait_until([&] { return !std::filesystem::exists(mark); }));
}

TEST_F(BusMachines, a_stop_of_the_unit_by_an_admin_is_not_overtaken_by_a_start) {
    start_daemon_with("gpus: [0]\n");
    systemd->deactivate("cuda-nspawn@a.service");
    machined->start("a");
    ASSERT_TRUE(wait_for_verdict("a", "passed"));
    ASSERT_TRUE(wait_until([&] { return systemd->count("ActiveState cuda-nspawn@a.service") > 0; }));
    hear_all();
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn@a.service"), 0U);
}

TEST_F(BusMachines, an_attach_adds_its_rules_and_reads_what_else_the_unit_has_afterwards) {
    ASSERT_TRUE(run_and_detach_a());
    systemd->add_rule(unit_of_a, "/dev/fuse");
    const auto before = systemd->calls().size();
    call<ObjectPath, Changes>("Attach", "a", wait);
    std::vector<std::string> made;
    for (const std::string& call : systemd->calls() | std::views::drop(before))
        if (call.ends_with(" " + unit_of_a)) made.push_back(call);
    EXPECT_THAT(made, ElementsAre("SetUnitProperties " + unit_of_a, "DeviceAllow " + unit_of_a));
    EXPECT_THAT(systemd->rules()[unit_of_a],
                ::testing::UnorderedElementsAre("/dev/fuse rw", "/dev/char/195:0 rw", "/dev/char/195:255 rw",
                                                "/dev/char/510:0 rw", "/dev/char/510:1 rw"));
}

TEST_F(BusMachines, what_an_attach_finds_open_that_was_not_given_is_closed) {
    ASSERT_TRUE(run_and_detach_a());
    systemd->add_rule(unit_of_a, "/dev/char/195:1");
    systemd->add_rule(unit_of_a, "/dev/fuse");
    std::vector<std::string> told;
    const auto attached = call<ObjectPath, Changes>("Attach", "a", wait);
    for (const auto& change : std::get<1>(attached)) told.push_back(std::get<0>(change) + " " + std::get<1>(change));
    EXPECT_THAT(told, Contains("allow /dev/char/195:0"));
    EXPECT_THAT(told, Contains("deny /dev/char/195:1"));
    EXPECT_THAT(systemd->rules()[unit_of_a], Contains("/dev/char/195:0 rw"));
    EXPECT_THAT(systemd->rules()[unit_of_a], Contains("/dev/fuse rw"));
    EXPECT_THAT(systemd->rules()[unit_of_a], ::testing::Not(Contains("/dev/char/195:1 rw")));
}

TEST_F(BusMachines, what_runs_already_is_found_at_the_daemons_start) {
    machined->start("a", "", FakeMachined::Oddity::none, false);
    machined->start("vm", "machine-vm.scope", FakeMachined::Oddity::none, false, "vm");
    host->add_policy("a", "gpus: [0]\n");
    host->add_policy("vm", "gpus: [0]\n");
    start_daemon();
    EXPECT_TRUE(wait_for_verdict("a", "passed"));
    EXPECT_TRUE(wait_for_state("vm", "ready")) << "a virtual machine is none of ours";
}

TEST_F(BusMachines, a_restarted_daemon_leaves_a_tested_machine_alone) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_for_verdict("a", "passed"));
    const auto tested = machine("a").at("LastSelfTest").get<std::uint64_t>();
    daemon->signal(SIGTERM);
    ASSERT_EQ(daemon->wait(), 0);
    const auto tests = systemd->count("StartUnit cuda-nspawn-test@");
    start_daemon();
    EXPECT_TRUE(wait_for_state("a", "attached"));
    EXPECT_EQ(machine("a").at("LastSelfTest").get<std::uint64_t>(), tested);
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-test@"), tests);
}

TEST_F(BusMachines, a_restarted_daemon_remembers_a_detach) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_for_verdict("a", "passed"));
    call<ObjectPath, Changes>("Detach", "a", Options{{"wait", sdbus::Variant(true)}});
    daemon->signal(SIGKILL);
    ASSERT_EQ(daemon->wait(), -SIGKILL);
    start_daemon();
    EXPECT_TRUE(wait_for_state("a", "detached"));
    EXPECT_THAT(systemd->rules()["systemd-nspawn@a.service"], IsEmpty());
}

TEST_F(BusMachines, changes_are_signalled_with_the_names_of_the_properties) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_for_verdict("a", "passed"));
    for (const char* property : {"State", "StateText", "Unit", "Verdict", "VerdictText", "Checks", "LastSelfTest"})
        EXPECT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", machine_a, property) > 0; }))
            << property;
    hear_all();
    EXPECT_EQ(count_signals("PropertiesChanged", machine_a, "Policy"), 0U);
    EXPECT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", gpu0, "Machines") > 0; }));
    EXPECT_THAT(properties(gpu0, "org.cudanspawn1.Gpu").at("Machines").get<std::vector<std::string>>(),
                ElementsAre("a"));
}

TEST_F(BusMachines, what_is_odd_about_a_guest_is_among_its_warnings) {
    Image image;
    image.path = "/var/lib/machines/a";
    image.guest = Guest{"debian", "Debian 12", Libc::glibc, "2.36", "x86-64", true, true, {"/usr/lib"}};
    image.guest->bundled = {{"/usr/lib/libcuda.so.1", "535.183.01", BundledKind::copy}};
    look_worker->set({.report = to_json(LookReport{{"a", image}})});
    start_daemon_with("gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("a", "ready"));
    EXPECT_THAT(properties(machine_a, "org.cudanspawn1.Machine").at("Warnings").get<std::vector<std::string>>(),
                ElementsAre(HasSubstr("has its own libcuda.so.1 (535.183.01) in /usr/lib")));
}

TEST_F(BusMachines, an_offline_detach_says_what_it_took_out_of_the_root_file_system) {
    start_daemon_with("gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("a", "ready"));
    const auto [job, changes] = call<ObjectPath, Changes>("Detach", "a", Options{{"offline", sdbus::Variant(true)}});
    ASSERT_EQ(changes.size(), 1U);
    EXPECT_EQ(std::get<1>(changes[0]), "/etc/ours");
    systemd->set("cuda-nspawn-clean@", {.report = R"({"changes": [], "failure": "the tree is busy"})"});
    EXPECT_EQ(
        failure_of([&] { call<ObjectPath, Changes>("Detach", "a", Options{{"offline", sdbus::Variant(true)}}); }).text,
        "the tree is busy");
}

TEST_F(BusMachines, two_machines_hold_what_each_was_granted) {
    host->add_policy("b", "gpus: [1]\n");
    start_daemon_with("gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("b", "ready"));
    machined->start("a");
    machined->start("b");
    EXPECT_TRUE(wait_for_verdict("a", "passed"));
    EXPECT_TRUE(wait_for_verdict("b", "passed"));
    EXPECT_FALSE(host->has_node("a", "nvidia1"));
    EXPECT_FALSE(host->has_node("b", "nvidia0"));
    EXPECT_THAT(systemd->rules()["systemd-nspawn@b.service"], ::testing::Not(Contains("/dev/char/195:0 rw")));
}

TEST_F(BusMachines, machined_that_comes_back_is_asked_again) {
    start_daemon_with("gpus: [0]\n");
    machined->drop_name();
    machined->start("a", "", FakeMachined::Oddity::none, false);
    machined->take_name();
    EXPECT_TRUE(wait_for_verdict("a", "passed"));
    machined->drop_name();
    machined->stop("a", false);
    machined->take_name();
    EXPECT_TRUE(wait_for_state("a", "ready"));
}

TEST_F(BusMachines, machined_that_is_absent_delays_nothing) {
    machined->drop_name();
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(log(), HasSubstr("systemd-machined does not answer"));
    machined->start("a", "", FakeMachined::Oddity::none, false);
    machined->take_name();
    EXPECT_TRUE(wait_for_verdict("a", "passed"));
}

TEST_F(BusMachines, units_are_read_again_only_when_a_changed_one_is_loaded) {
    start_daemon_with("gpus: [0]\n");
    EXPECT_EQ(systemd->count("Reload"), 0U);
    systemd->set_loaded({"systemd-nspawn@a.service", "systemd-nspawn@other.service"});
    host->add_policy("a", "gpus: [1]\n");
    EXPECT_TRUE(wait_until([&] { return systemd->count("Reload") == 1; }));
}

TEST_F(BusMachines, a_hundred_machines_are_a_handful_of_requests) {
    for (int i = 0; i < 100; ++i) host->add_policy("m" + std::to_string(i), "gpus: [0]\n");
    start_daemon();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(wait_for_state("m" + std::to_string(i), "ready")) << i;
    EXPECT_LE(look_worker->count() + expose_worker->count() + systemd->count("StartUnit cuda-nspawn-"), 6U);
}

TEST_F(BusMachines, what_comes_while_a_request_is_under_way_is_the_next_one) {
    start_daemon_with("gpus: [0]\n");
    const unsigned before = expose_worker->count();
    expose_worker->set({.held = true});
    host->add_policy("m", "gpus: [0]\n");
    ASSERT_TRUE(wait_until([&] { return expose_worker->holds(); }));
    for (int i = 0; i < 8; ++i) {
        host->add_policy("m" + std::to_string(i), "gpus: [0]\n");
        ASSERT_TRUE(wait_for_state("m" + std::to_string(i), "preparing"));
    }
    expose_worker->set({});
    expose_worker->finish();
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(wait_for_state("m" + std::to_string(i), "ready")) << i;
    EXPECT_LE(expose_worker->count() - before, 3U) << "the last look may come after the end of the first request";
}

TEST_F(BusMachines, eight_self_tests_run_at_once_and_the_others_wait_their_turn) {
    std::vector<std::string> names;
    for (int i = 0; i < 20; ++i) names.push_back("m" + std::to_string(i));
    for (const std::string& name : names) host->add_policy(name, "gpus: [0]\n");
    systemd->set("cuda-nspawn-test@", {.held = true});
    start_daemon();
    for (const std::string& name : names) ASSERT_TRUE(wait_for_state(name, "ready"));
    for (const std::string& name : names) machined->start(name);
    for (const std::string& name : names) ASSERT_TRUE(wait_for_state(name, "attached"));
    ASSERT_TRUE(wait_until([&] { return systemd->count("StartUnit cuda-nspawn-test@") >= 8; }));
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-test@"), 8U);
    systemd->set("cuda-nspawn-test@", {});
    // A start is counted a moment before it is held.
    for (const std::string& name : names)
        EXPECT_TRUE(wait_until([&] {
            systemd->finish("cuda-nspawn-test@");
            return text(name, "Verdict") == "passed";
        })) << name;
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-test@"), 20U);
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
