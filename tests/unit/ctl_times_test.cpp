#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>

#include "ctl/times.hpp"

namespace cuda_nspawn::ctl {
namespace {

constexpr std::uint64_t second = 1'000'000;
constexpr std::uint64_t minute = 60 * second;
constexpr std::uint64_t hour = 60 * minute;
constexpr std::uint64_t day = 24 * hour;
constexpr std::uint64_t then = 1'700'000'000 * second;

std::string after(std::uint64_t passed) { return relative_time(then, then + passed); }

TEST(CtlTimes, AreToldByWhatMattersOfThem) {
    EXPECT_EQ(after(0), "just now");
    EXPECT_EQ(after(second - 1), "just now");
    EXPECT_EQ(after(second), "1s ago");
    EXPECT_EQ(after(59 * second), "59s ago");
    EXPECT_EQ(after(minute), "1min 0s ago");
    EXPECT_EQ(after(3 * minute + 5 * second), "3min 5s ago");
    EXPECT_EQ(after(5 * minute + 5 * second), "5min ago");
    EXPECT_EQ(after(hour - 1), "59min ago");
    EXPECT_EQ(after(hour + 5 * minute), "1h 5min ago");
    EXPECT_EQ(after(day - 1), "23h 59min ago");
    EXPECT_EQ(after(day + 3 * hour), "1 day 3h ago");
    EXPECT_EQ(after(2 * day), "2 days ago");
    EXPECT_EQ(after(400 * day), "400 days ago");
}

TEST(CtlTimes, AClockThatWasSetBackTellsNoHugeTime) { EXPECT_EQ(relative_time(then, then - 1), "in the future"); }

TEST(CtlTimes, AreWrittenAsSystemctlAndJournalctlWriteThem) {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
    EXPECT_EQ(full_time(then), "Tue 2023-11-14 22:13:20 UTC");
    EXPECT_EQ(journal_time(then), "Nov 14 22:13:20");
    EXPECT_EQ(clock_time(then), "22:13:20");
}

}  // namespace
}  // namespace cuda_nspawn::ctl
