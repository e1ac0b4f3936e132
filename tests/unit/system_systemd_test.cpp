#include "system/systemd.hpp"

#include <gmock/gmock.h>

namespace cuda_nspawn {
namespace {

using ::testing::HasSubstr;

TEST(LostJobs, a_start_went_well_unless_the_unit_says_otherwise) {
    const std::string unit = "cuda-nspawn-expose@1.service";
    EXPECT_EQ(outcome_of_lost_job("StartUnit", unit, "active", "success"), "");
    EXPECT_EQ(outcome_of_lost_job("StartUnit", unit, "reloading", "success"), "");
    EXPECT_EQ(outcome_of_lost_job("StartUnit", unit, "inactive", "success"), "") << "it did its work";
    EXPECT_EQ(outcome_of_lost_job("StartUnit", unit, "failed", "timeout"),
              "cuda-nspawn-expose@1.service could not be started or stopped (timeout): see systemctl status "
              "cuda-nspawn-expose@1.service");
    EXPECT_THAT(outcome_of_lost_job("StartUnit", unit, "failed", "success"), HasSubstr("(failed)"));
    for (const char* state : {"activating", "deactivating", "", "maintenance"})
        EXPECT_THAT(outcome_of_lost_job("StartUnit", unit, state, "success"), HasSubstr("(canceled)")) << state;
}

TEST(LostJobs, a_stop_went_well_when_the_unit_rests) {
    const std::string unit = "systemd-nspawn@a.service";
    EXPECT_EQ(outcome_of_lost_job("StopUnit", unit, "inactive", "success"), "");
    EXPECT_EQ(outcome_of_lost_job("StopUnit", unit, "failed", "signal"), "") << "stopped it is";
    for (const char* state : {"active", "deactivating", ""})
        EXPECT_THAT(outcome_of_lost_job("StopUnit", unit, state, "success"), HasSubstr("(canceled)")) << state;
}

}  // namespace
}  // namespace cuda_nspawn
