// The journal: one line per event (engine/event.hpp), with fields, so that `journalctl CUDA_NSPAWN_MACHINE=NAME` tells
// one machine's story. Where standard error is no journal (a terminal, a test), plain lines by spdlog.
#pragma once

#include <string>

#include "engine/ports.hpp"

namespace cuda_nspawn {

void log(const Message& message);
// What is no event: for who looks for a fault of the daemon itself.
void log(Severity severity, const std::string& machine, const std::string& text);
void set_log_level(Severity lowest);

// As org.freedesktop.LogControl1(5) has it: a level is one of syslog's, from "emerg" to "debug", and what is less
// urgent is not logged; a target is "journal", "console" (plain lines on standard error), "null", or "auto": the
// journal where standard error is connected with it, else the console. False: there is no such word, and nothing is
// changed.
std::string log_level();
bool set_log_level(const std::string& level);
std::string log_target();
bool set_log_target(const std::string& target);

}  // namespace cuda_nspawn
