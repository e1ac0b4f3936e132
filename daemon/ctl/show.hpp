// How machines, GPUs and the driver are shown to people, from the JSON that --json prints.
#pragma once

#include <vector>

#include "ctl/client.hpp"
#include "ctl/command.hpp"
#include "ctl/journal.hpp"

namespace cuda_nspawn::ctl {

// What `status` says of one machine, without its journal; the header line has a dot, as systemctl's.
void print_machine(const Json& machine, const std::string& kernel_version);
void print_journal(const std::vector<JournalLine>& lines);
Json journal_json(const std::vector<JournalLine>& lines);

void print_driver(const Json& driver);

// What `list` says.
void print_machines(const Arguments& arguments, const Objects& objects);
Json machines_json(const Objects& objects);

// Names of machines in order, or of those that a GPU is given to.
std::string joined(const Json& texts, const char* separator = ", ");

}  // namespace cuda_nspawn::ctl
