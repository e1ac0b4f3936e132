// systemd goes and comes back while its jobs are waited for.
#include <gmock/gmock.h>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using ::testing::HasSubstr;

class BusLostJobs : public BusFixture {
protected:
    // The daemon has begun, and waits for the copy of the driver.
    void hold_the_store() {
        systemd->set("cuda-nspawn-store", {.held = true});
        host->add_policy("a", "gpus: [0]\n");
        start_daemon(false);
        ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn-store"); }));
    }
};

TEST_F(BusLostJobs, a_job_that_was_lost_in_a_restart_of_systemd_is_settled_by_its_unit) {
    hold_the_store();
    systemd->set("cuda-nspawn-store", {});
    systemd->lose("cuda-nspawn-store");
    systemd->restart();
    EXPECT_TRUE(wait_for_state("a", "ready"));
    EXPECT_EQ(systemd->count("Subscribe"), 2U);
}

TEST_F(BusLostJobs, a_job_that_is_still_there_after_a_restart_of_systemd_is_waited_for) {
    hold_the_store();
    systemd->restart();
    ASSERT_TRUE(wait_until([&] { return systemd->count("Subscribe") == 2; }));
    systemd->tell_reloading(true);
    systemd->tell_reloading(false);
    call<>("Reload");
    EXPECT_EQ(text("a", "State"), "preparing");
    systemd->finish("cuda-nspawn-store");
    EXPECT_TRUE(wait_for_state("a", "ready"));
}

TEST_F(BusLostJobs, jobs_that_were_lost_in_a_reload_end_as_their_units_did) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("systemd-nspawn@", {.held = true});
    auto well = call_later<sdbus::ObjectPath, Changes>(
        "Attach", std::string("a"), Options{{"start", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    ASSERT_TRUE(wait_until([&] { return systemd->holds("systemd-nspawn@"); }));
    systemd->lose("systemd-nspawn@");
    systemd->tell_reloading(false);
    EXPECT_NO_THROW(well.get());
    EXPECT_TRUE(wait_for_state("a", "attached"));
    machined->stop("a");
    ASSERT_TRUE(wait_for_state("a", "ready"));

    systemd->set("systemd-nspawn@", {.result = "timeout", .held = true});
    auto badly = call_later<sdbus::ObjectPath, Changes>(
        "Attach", std::string("a"), Options{{"start", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    ASSERT_TRUE(wait_until([&] { return systemd->holds("systemd-nspawn@"); }));
    systemd->lose("systemd-nspawn@");
    systemd->tell_reloading(false);
    EXPECT_THAT(failure_of([&] { badly.get(); }).text,
                HasSubstr("systemd-nspawn@a.service could not be started or stopped (timeout)"));
}

TEST_F(BusLostJobs, a_job_of_which_systemd_tells_nothing_is_not_waited_for_for_ever) {
    hold_the_store();
    systemd->fail("GetUnit");
    systemd->set("cuda-nspawn-store", {});
    systemd->lose("cuda-nspawn-store");
    std::filesystem::remove_all(host->work());  // nor did the worker leave anything
    std::filesystem::create_directories(host->work());
    systemd->restart();
    EXPECT_TRUE(wait_for_log("systemd does not tell what became of the job of cuda-nspawn-store@"));
}

TEST_F(BusLostJobs, a_unit_that_is_not_loaded_any_more_did_its_work) {
    hold_the_store();
    systemd->fail("GetUnit", "org.freedesktop.systemd1.NoSuchUnit");
    systemd->set("cuda-nspawn-store", {});
    systemd->lose("cuda-nspawn-store");
    systemd->restart();
    EXPECT_TRUE(wait_for_state("a", "ready")) << text("a", "StateText");
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
