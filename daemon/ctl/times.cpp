#include "ctl/times.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <ctime>

namespace cuda_nspawn::ctl {

namespace {

constexpr std::uint64_t second = 1'000'000;
constexpr std::uint64_t minute = 60 * second;
constexpr std::uint64_t hour = 60 * minute;
constexpr std::uint64_t day = 24 * hour;

std::tm local_time(std::uint64_t usec) {
    const auto seconds = static_cast<std::time_t>(usec / second);
    std::tm local{};
    ::localtime_r(&seconds, &local);
    return local;
}

}  // namespace

std::uint64_t now_usec() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

std::string relative_time(std::uint64_t then_usec, std::uint64_t usec) {
    if (then_usec > usec) return "in the future";
    const std::uint64_t passed = usec - then_usec;
    if (passed >= 2 * day) return fmt::format("{} days ago", passed / day);
    if (passed >= day) return fmt::format("1 day {}h ago", passed % day / hour);
    if (passed >= hour) return fmt::format("{}h {}min ago", passed / hour, passed % hour / minute);
    constexpr std::uint64_t exact = 5 * minute;
    if (passed >= exact) return fmt::format("{}min ago", passed / minute);
    if (passed >= minute) return fmt::format("{}min {}s ago", passed / minute, passed % minute / second);
    if (passed >= second) return fmt::format("{}s ago", passed / second);
    return "just now";
}

std::string full_time(std::uint64_t usec) { return fmt::format("{:%a %Y-%m-%d %H:%M:%S %Z}", local_time(usec)); }
std::string journal_time(std::uint64_t usec) { return fmt::format("{:%b %d %H:%M:%S}", local_time(usec)); }
std::string clock_time(std::uint64_t usec) { return fmt::format("{:%H:%M:%S}", local_time(usec)); }

}  // namespace cuda_nspawn::ctl
