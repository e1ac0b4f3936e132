#include <gmock/gmock.h>

#include <fstream>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BusPolicies : public BusFixture {
protected:
    bool wait_for_absence(const std::string& machine_name) {
        return wait_until([&] { return failure_of([&] { call<ObjectPath>("GetMachine", machine_name); }).name != ""; });
    }
};

const std::string machine_a = "/org/cudanspawn1/machine/a";

TEST_F(BusPolicies, a_file_that_appears_is_a_machine_and_one_that_goes_takes_everything_with_it) {
    start_daemon();
    host->add_policy("a", "gpus: [0]\n");
    EXPECT_TRUE(wait_for_state("a", "ready"));
    EXPECT_TRUE(wait_until([&] { return count_signals("InterfacesAdded", "/org/cudanspawn1", machine_a) == 1; }));
    std::filesystem::remove(host->policies() / "a.yaml");
    EXPECT_TRUE(wait_for_absence("a"));
    // A file of ours that is seen late, when the machine has gone, makes it known for a moment once more.
    EXPECT_TRUE(wait_until([&] {
        const auto removed = count_signals("InterfacesRemoved", "/org/cudanspawn1", machine_a);
        return removed >= 1 && removed == count_signals("InterfacesAdded", "/org/cudanspawn1", machine_a);
    }));
    EXPECT_FALSE(std::filesystem::exists(host->tree.at("/root/run/cuda-nspawn/machines/a")));
    EXPECT_FALSE(std::filesystem::exists(host->tree.at("/root/run/systemd/nspawn/a.nspawn")));
}

TEST_F(BusPolicies, an_edit_is_carried_out) {
    start_daemon_with("gpus: [0]\n");
    host->add_policy("a", "gpus: [1]\n");
    EXPECT_TRUE(wait_until([&] { return host->has_node("a", "nvidia1") && !host->has_node("a", "nvidia0"); }));
}

// What is written through a link elsewhere causes no event here, so only who reads the file sees it.
TEST_F(BusPolicies, an_edit_reads_that_file_and_no_other) {
    host->add_policy("b", "gpus: [0]\n");
    std::filesystem::create_hard_link(host->policies() / "b.yaml", host->tree.at("/b.yaml"));
    start_daemon_with("gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("b", "ready"));
    host->tree.write("/b.yaml", "gpus: [1]\n");
    host->add_policy("a", "gpus: [1]\n");
    EXPECT_TRUE(wait_until([&] { return host->has_node("a", "nvidia1"); }));
    ASSERT_TRUE(wait_for_state("a", "ready"));
    EXPECT_TRUE(host->has_node("b", "nvidia0"));
    call<>("Reload");
    EXPECT_TRUE(wait_until([&] { return host->has_node("b", "nvidia1"); }));
}

TEST_F(BusPolicies, what_failed_is_done_again_when_its_file_is_touched) {
    start_daemon_with("gpus: [0]\n");
    expose_worker->set({.report = "{\"failure\": \"not today\"}"});
    host->add_policy("a", "gpus: [1]\n");
    ASSERT_TRUE(wait_for_state("a", "failed"));
    expose_worker->set({});
    host->add_policy("b", "gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("b", "ready"));
    EXPECT_EQ(text("a", "State"), "failed") << "the file of b is none of its business";
    host->add_policy("a", "gpus: [1]\n");
    EXPECT_TRUE(wait_for_state("a", "ready"));
}

TEST_F(BusPolicies, a_file_that_an_editor_renames_into_place_is_noticed) {
    start_daemon_with("gpus: [0]\n");
    host->tree.write("/root/etc/cuda-nspawn/machines/.a.yaml.swp", "gpus: [1]\n");
    std::filesystem::rename(host->policies() / ".a.yaml.swp", host->policies() / "a.yaml");
    EXPECT_TRUE(wait_until([&] { return host->has_node("a", "nvidia1"); }));
}

TEST_F(BusPolicies, a_broken_file_keeps_the_last_good_policy_and_says_what_is_wrong) {
    start_daemon_with("gpus: [0]\n");
    host->add_policy("a", "gpu: [1]\nself_test: maybe\n");
    ASSERT_TRUE(wait_until([&] { return list("a", "PolicyErrors").size() >= 2; }));
    EXPECT_THAT(list("a", "PolicyErrors"), Contains(HasSubstr("machines/a.yaml:1:1")));
    EXPECT_EQ(text("a", "State"), "ready");
    EXPECT_TRUE(host->has_node("a", "nvidia0"));
    EXPECT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", machine_a, "PolicyErrors") > 0; }));
    EXPECT_TRUE(wait_for_log("machines/a.yaml:1:1"));
    host->add_policy("a", "gpus: [0]\n");
    EXPECT_TRUE(wait_until([&] { return list("a", "PolicyErrors").empty(); }));
}

TEST_F(BusPolicies, a_file_that_is_broken_from_the_start_is_an_invalid_machine) {
    host->add_policy("a", "gpus: [\n");
    start_daemon();
    EXPECT_EQ(text("a", "State"), "invalid");
    const Failure failure =
        failure_of([&] { call<ObjectPath, Changes>("Attach", "a", Options{{"wait", sdbus::Variant(true)}}); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed");
    EXPECT_THAT(failure.text, HasSubstr("a.yaml:"));
    EXPECT_THAT(failure_of([&] { call<Changes>("Plan", "a", Options{}); }).text, HasSubstr("a.yaml:"));
}

TEST_F(BusPolicies, a_name_that_is_no_machines_is_reported_and_hurts_nobody) {
    host->add_policy("my_box", "gpus: all\n");
    start_daemon_with("gpus: [0]\n");
    EXPECT_TRUE(wait_for_log("my_box.yaml"));
}

TEST_F(BusPolicies, defaults_are_noticed_too) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_until([&] { return text("a", "Verdict") == "passed"; }));
    host->tree.write("/root/etc/cuda-nspawn/defaults.yaml", "capabilities: [compute]\n");
    EXPECT_TRUE(wait_until([&] {
        return host->tree.read("/root/run/cuda-nspawn/machines/a/guest/ld.so.conf").find("utility") ==
               std::string::npos;
    }));
}

TEST_F(BusPolicies, a_directory_that_is_replaced_is_watched_again) {
    start_daemon_with("gpus: [0]\n");
    std::filesystem::rename(host->policies(), host->policies().string() + ".old");
    EXPECT_TRUE(wait_for_absence("a"));
    host->add_policy("b", "gpus: [0]\n");
    EXPECT_TRUE(wait_for_state("b", "ready"));
    host->add_policy("c", "gpus: [0]\n");
    EXPECT_TRUE(wait_for_state("c", "ready"));
}

TEST_F(BusPolicies, the_admins_settings_file_is_composed_anew_when_it_changes) {
    start_daemon_with("gpus: [0]\n");
    const std::string composed = "/root/run/cuda-nspawn/settings/a.nspawn";
    host->tree.write("/root/etc/systemd/nspawn/a.nspawn", "[Network]\nVirtualEthernet=no\n");
    EXPECT_TRUE(wait_until([&] { return host->tree.read(composed).find("VirtualEthernet=no") != std::string::npos; }));
    host->tree.write("/root/etc/systemd/nspawn/a.nspawn", "VirtualEthernet=no\n");
    EXPECT_TRUE(wait_for_state("a", "blocked"));
    EXPECT_THAT(text("a", "StateText"), HasSubstr("/etc/systemd/nspawn/a.nspawn:1"));
    EXPECT_THAT(list("a", "Gpus"), IsEmpty());
}

TEST_F(BusPolicies, an_image_that_appears_is_looked_at) {
    host->add_policy("a", "gpus: [0]\n");
    start_daemon();
    ASSERT_TRUE(wait_until([&] { return text("a", "StateText").find("no image") != std::string::npos; }));
    host->add_image("a");
    EXPECT_TRUE(wait_until([&] { return text("a", "StateText") == "prepared; the machine is not running"; }));
}

TEST_F(BusPolicies, a_leftover_whose_policy_is_gone_is_cleaned_up_by_the_next_daemon) {
    start_daemon_with("gpus: [0]\n");
    daemon->signal(SIGKILL);
    ASSERT_EQ(daemon->wait(), -SIGKILL);
    std::filesystem::remove(host->policies() / "a.yaml");
    start_daemon();
    EXPECT_TRUE(
        wait_until([&] { return !std::filesystem::exists(host->tree.at("/root/run/cuda-nspawn/machines/a")); }));
    EXPECT_TRUE(wait_for_absence("a"));
}

TEST_F(BusPolicies, refresh_sees_a_driver_that_came_and_one_that_went) {
    std::filesystem::rename(host->tree.at("/proc/driver"), host->tree.at("/proc/gone"));
    host->add_policy("a", "gpus: [0]\n");
    start_daemon();
    ASSERT_TRUE(wait_for_state("a", "blocked"));
    EXPECT_THAT(text("a", "StateText"), HasSubstr("no NVIDIA kernel module is loaded"));
    EXPECT_THAT(
        properties("/org/cudanspawn1", "org.cudanspawn1.Manager").at("Warnings").get<std::vector<std::string>>(),
        ElementsAre(HasSubstr("no NVIDIA kernel module is loaded")));
    std::filesystem::rename(host->tree.at("/proc/gone"), host->tree.at("/proc/driver"));
    call<>("Refresh", Options{});
    EXPECT_TRUE(wait_for_state("a", "ready"));
    EXPECT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", "/org/cudanspawn1", "Generation") > 0; }));
    EXPECT_TRUE(wait_until([&] {
        return count_signals("InterfacesAdded", "/org/cudanspawn1",
                             "/org/cudanspawn1/gpu/GPU_2d00000000_2d0000_2d0000_2d0000_2d000000000000") == 1;
    }));
    std::filesystem::remove_all(host->tree.at("/proc/driver/nvidia/gpus/0000:01:00.0"));
    call<>("Refresh", Options{});
    EXPECT_TRUE(wait_until([&] {
        return count_signals("InterfacesRemoved", "/org/cudanspawn1",
                             "/org/cudanspawn1/gpu/GPU_2d00000000_2d0000_2d0000_2d0000_2d000000000000") == 1;
    }));
}

// What it takes to read and expose them all is several times that, and given back. With the objects of sdbus-c++ it was
// 20 MiB at rest.
TEST_F(BusPolicies, a_thousand_machines_fit_into_16_MiB) {
#if defined(__SANITIZE_ADDRESS__)
    GTEST_SKIP() << "AddressSanitizer's own memory is more than that";
#endif
    for (int i = 0; i < 1000; ++i) host->add_policy("m" + std::to_string(i), "gpus: [0]\n");
    start_daemon_with("gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("m999", "ready"));
    const auto resident_kib = [&] {
        std::ifstream status("/proc/" + std::to_string(daemon->pid()) + "/status");
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
        return 0UL;
    };
    EXPECT_TRUE(wait_until([&] { return resident_kib() < 16 * 1024; })) << resident_kib();
}

TEST_F(BusPolicies, reload_reads_the_policies_without_waiting_for_a_change) {
    start_daemon_with("gpus: [0]\n");
    call<>("Reload");
    EXPECT_EQ(text("a", "State"), "ready");
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
