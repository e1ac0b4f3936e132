#include "worker/enter.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <fstream>
#include <sstream>

#include "worker/enter_cgroup.hpp"
#include "worker/enter_machine.hpp"
#include "worker/enter_probe.hpp"
#include "worker/enter_program.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/enter_setup.hpp"

namespace cuda_nspawn {
namespace {

using Clock = std::chrono::steady_clock;

std::string read_text(const std::filesystem::path& path) {
    std::ifstream stream(path);
    std::ostringstream content;
    content << stream.rdbuf();
    return content.str();
}

double milliseconds_since(Clock::time_point begin) {
    return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

std::string why_not_set_up(const TestRequest& request, const RunningMachine& machine, const EnterPlaces& places,
                           const EnterLimits& limits) {
    if (!machine.is_alive()) return "the machine ended before its set-up was done";
    if (!has_our_mounts(machine, places.machines, places.proc))
        return fmt::format(
            "the guest has unmounted the driver: give it back with cuda-nspawnctl attach --fresh {0}, or restart the "
            "machine with machinectl reboot {0}",
            request.machine);
    return fmt::format(
        "the set-up in the guest was not done within {} s; see systemctl -M {} status "
        "cuda-nspawn-setup.service",
        limits.setup.count() / 1000, request.machine);
}

std::optional<SetupState> wait_or_revive(const TestRequest& request, const RunningMachine& machine,
                                         const LeafCgroup& cgroup, const std::filesystem::path& epoch_file,
                                         const EnterPlaces& places, const EnterLimits& limits) {
    const auto wait = [&](std::chrono::milliseconds limit) {
        return wait_for_setup(machine, request.epoch, epoch_file, places.proc, limit);
    };
    if (const auto state = wait(limits.patience)) return state;
    if (!machine.is_alive() || !has_our_mounts(machine, places.machines, places.proc)) return std::nullopt;
    run_in_machine(machine, cgroup, places.setup, "revive", {limits.patience, std::size_t{16} * 1024});
    return wait(limits.setup - limits.patience);
}

TestRun test(const TestRequest& request, const RunningMachine& machine, const LeafCgroup& cgroup,
             const EnterPlaces& places, const EnterLimits& limits) {
    const auto begin = Clock::now();
    const auto epoch_file = places.machines / request.machine / "guest/epoch";
    // A driver that is swapped under the self-test can make it hang, and nobody waits for what it will say.
    const FileDescriptor changed = watch_epoch(epoch_file);
    const auto state = wait_or_revive(request, machine, cgroup, epoch_file, places, limits);
    if (!state) {
        TestRun run;
        run.end = TestEnd::not_started;
        run.milliseconds = milliseconds_since(begin);
        run.reason = why_not_set_up(request, machine, places, limits);
        return run;
    }
    const std::string setup = setup_check_line(*state, milliseconds_since(begin));
    const bool full = request.level == SelfTestLevel::full;
    TestRun run = run_in_machine(machine, cgroup, places.self_test, full ? "full" : "quick",
                                 {full ? limits.full : limits.quick, limits.output, changed.get()});
    run.output.insert(0, setup);
    return run;
}

}  // namespace

Tested enter(const TestRequest& request, const EnterPlaces& places, const EnterLimits& limits) {
    ::signal(SIGPIPE, SIG_IGN);
    const RunningMachine machine = find_machine_to_enter(request.machine, places.proc);
    const LeafCgroup cgroup(places.cgroups, machine.cgroup);
    Tested tested;
    // The probe first: its proof does not depend on what the guest does.
    IsolationProbe probe(cgroup, request.nodes, read_text(places.proc / "devices"));
    tested.run = test(request, machine, cgroup, places, limits);
    try {
        tested.violations = isolation_violations(request.nodes, probe.finish(limits.probe), request.granted);
    } catch (const std::runtime_error& error) {
        if (!machine.is_alive()) return tested;
        tested.violations = {error.what()};
    }
    return tested;
}

}  // namespace cuda_nspawn
