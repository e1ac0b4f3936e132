// The self-test from the host's side: enters a running machine, proves its isolation, runs the self-test in it.
//
//   enter_machine.*   who the machine is: leader, unit, cgroup, from machined and systemd, checked against the kernel
//   enter_cgroup.*    a cgroup of our own inside the machine's, so that its device rules hold for what we run
//   enter_probe.*     opens every NVIDIA node under those rules; runs no file of the guest
//   enter_setup.*     waits until the guest's set-up has seen the host's last change
//   enter_program.*   runs the self-test as the guest's root would; enter_confine.* takes its privileges away
//
// The guest is hostile: it can forge the self-test's output, but not leave its cgroup, delay us for ever or reach
// this process. Linux 5.14 or newer (cgroup.kill, setns with a pidfd).
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>

#include "engine/ports.hpp"

namespace cuda_nspawn {

struct EnterLimits {
    std::chrono::milliseconds setup{60'000};  // from now until the set-up in the guest is done; a boot may be under way
    std::chrono::milliseconds patience{4'000};  // of it, until the guest's systemd is asked to look
    std::chrono::milliseconds quick{60'000};
    std::chrono::milliseconds full{110'000};
    std::chrono::milliseconds probe{20'000};
    std::size_t output = std::size_t{64} * 1024;
};

struct EnterPlaces {
    std::filesystem::path self_test = "/usr/lib/cuda-nspawn/inside/self-test";
    std::filesystem::path setup = "/usr/lib/cuda-nspawn/inside/setup";
    std::filesystem::path machines = "/run/cuda-nspawn/machines";
    std::filesystem::path cgroups = "/sys/fs/cgroup";
    std::filesystem::path proc = "/proc";
};

// Throws std::runtime_error with a sentence when the machine cannot be entered at all. What the guest itself
// prevents is no exception but `not_started` with the reason.
Tested enter(const TestRequest& request, const EnterPlaces& places = {}, const EnterLimits& limits = {});

}  // namespace cuda_nspawn
