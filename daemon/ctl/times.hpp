// Times as systemctl prints them.
#pragma once

#include <cstdint>
#include <string>

namespace cuda_nspawn::ctl {

// CLOCK_REALTIME in microseconds, as systemd has it.
std::uint64_t now_usec();

// "3min ago", "1h 5min ago", "2 days ago"; "in the future" for a clock that was set back. From one to the other.
std::string relative_time(std::uint64_t then_usec, std::uint64_t usec);
std::string full_time(std::uint64_t usec);     // "Sun 2026-11-29 18:31:46 UTC"
std::string journal_time(std::uint64_t usec);  // "Nov 29 18:31:46"
std::string clock_time(std::uint64_t usec);    // "18:31:46"

}  // namespace cuda_nspawn::ctl
