// How commands print what they found.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ctl/client.hpp"
#include "ctl/command.hpp"
#include "ctl/table.hpp"

namespace cuda_nspawn::ctl {

// Whether --json asks for JSON; then it is printed, and nothing else is.
bool print_json(const Arguments& arguments, const Json& value);
bool wants_json(const Arguments& arguments);
// On one line, whatever the mode.
std::string one_line(const Json& value);

// The table, cut to the terminal unless --full was given, and the closing line; without both where --no-legend was.
void print_table(const Arguments& arguments, const Table& table, const std::string& closing = "");

// One line for each change, with its diff below it if it has one; what there is to say when there is none.
void print_changes(const Json& changes);

// "     State: attached", the label in so many columns; nothing for an empty text.
void print_field(const std::string& label, const std::string& text, int width = 10);

// Dot and colour of a machine's state, as systemctl's.
Colour colour_of_state(const std::string& state, const std::string& verdict);
std::string dot_of_state(const std::string& state);
Colour colour_of_verdict(const std::string& verdict);
Colour colour_of_severity(const std::string& severity);

// "0,2", "0-7", "-" of GPUs' indices in order.
std::string index_ranges(const std::vector<unsigned>& indices);

// In a unit's ExecStart=, what `systemctl status` shows; elsewhere nothing.
void tell_systemd(const std::string& status);

}  // namespace cuda_nspawn::ctl
