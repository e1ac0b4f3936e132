#include <gmock/gmock.h>

#include <csignal>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::HasSubstr;

class BusProcess : public BusFixture {};

TEST_F(BusProcess, ends_cleanly_at_sigterm_and_at_sigint) {
    start_daemon_with("gpus: [0]\n");
    daemon->signal(SIGINT);
    EXPECT_EQ(daemon->wait(), 0);
}

TEST_F(BusProcess, ends_cleanly_with_work_under_way) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-test", {.held = true});
    machined->start("a");
    ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn-test"); }));
    auto waiting = call_later<ObjectPath, Changes>(
        "Attach", "a", Options{{"test", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    ASSERT_TRUE(wait_until([&] { return count_signals("JobNew", "/org/cudanspawn1") == 1; }));
    daemon->signal(SIGTERM);
    EXPECT_EQ(daemon->wait(), 0) << log();
    EXPECT_NE(failure_of([&] { waiting.get(); }).name, "");
}

TEST_F(BusProcess, sighup_reads_policies_and_driver_again) {
    start_daemon_with("gpus: [1]\n");
    std::filesystem::remove_all(host->tree.at("/proc/driver/nvidia/gpus/0000:02:00.0"));
    daemon->signal(SIGHUP);
    EXPECT_TRUE(wait_for_state("a", "blocked"));
    EXPECT_THAT(text("a", "StateText"), HasSubstr("GPU index 1"));
}

TEST_F(BusProcess, a_lost_bus_ends_it_with_status_1_and_no_crash) {
    start_daemon_with("gpus: [0]\n");
    kill_bus();
    EXPECT_EQ(daemon->wait(), 1) << log();
    EXPECT_THAT(log(), HasSubstr("the connection to the system bus was lost"));
    expected_exit = 1;
}

TEST_F(BusProcess, a_lost_bus_with_calls_under_way_ends_it_the_same) {
    start_daemon_with("gpus: [0]\n");
    look_worker->set({.held = true});
    machined->start("a");
    auto waiting = call_later<ObjectPath, Changes>(
        "Attach", "a", Options{{"fresh", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    ASSERT_TRUE(wait_until([&] { return look_worker->holds(); }));
    kill_bus();
    EXPECT_EQ(daemon->wait(), 1) << log();
    expected_exit = 1;
}

TEST_F(BusProcess, without_a_bus_it_says_so_and_ends_with_status_1) {
    kill_bus();
    start_daemon(false);
    EXPECT_EQ(daemon->wait(), 1);
    EXPECT_THAT(log(), HasSubstr("bus"));
    expected_exit = 1;
}

TEST_F(BusProcess, a_name_that_somebody_else_has_ends_it_with_status_1) {
    const auto other = sdbus::createSessionBusConnectionWithAddress(address);
    other->requestName(sdbus::ServiceName{"org.cudanspawn1"});
    start_daemon(false);
    EXPECT_EQ(daemon->wait(), 1) << log();
    expected_exit = 1;
}

TEST_F(BusProcess, wrong_arguments_are_named) {
    const auto run = [&](const std::vector<std::string>& arguments) {
        std::vector<std::string> command{CUDA_NSPAWND};
        command.insert(command.end(), arguments.begin(), arguments.end());
        return Process(command, {}, host->tree.at("/output")).wait();
    };
    EXPECT_EQ(run({"--wrong"}), 2);
    EXPECT_EQ(run({"extra"}), 2);
    EXPECT_THAT(host->tree.read("/output"), HasSubstr("takes no argument, but got \"extra\""));
    EXPECT_EQ(run({"--version"}), 0);
    EXPECT_EQ(run({"--help"}), 0);
    EXPECT_THAT(host->tree.read("/output"), HasSubstr("--policies=DIR"));
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
