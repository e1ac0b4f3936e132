// The driver in words for the journal: what is there, and what became of it between two looks.
#pragma once

#include <string>

#include "driver/driver.hpp"

namespace cuda_nspawn {

// "NVIDIA kernel module 580.159.04, 2 GPUs, driver files 580.159.04"
std::string describe_driver(const Driver& driver);

// "the NVIDIA kernel module was loaded: 580.159.04, 2 GPUs; driver files changed: …". Empty when there is nothing to
// tell.
std::string describe_change(const Driver& before, const Driver& after);

}  // namespace cuda_nspawn
