// All commands: each is in the file of its name.
#pragma once

#include <vector>

#include "ctl/command.hpp"

namespace cuda_nspawn::ctl {

const std::vector<Command>& commands();

int list(const Arguments& arguments);
int status(const Arguments& arguments);
int attach(const Arguments& arguments);
int detach(const Arguments& arguments);
int test(const Arguments& arguments);
int plan(const Arguments& arguments);
int diagnose(const Arguments& arguments);
int audit(const Arguments& arguments);
int gpus(const Arguments& arguments);
int driver(const Arguments& arguments);
int holders(const Arguments& arguments);
int check(const Arguments& arguments);
int monitor(const Arguments& arguments);
int cancel(const Arguments& arguments);
int refresh(const Arguments& arguments);
int reload(const Arguments& arguments);
int verify(const Arguments& arguments);

}  // namespace cuda_nspawn::ctl
