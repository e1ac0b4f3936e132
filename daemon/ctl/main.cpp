// cuda-nspawnctl: the D-Bus API for people and unit files. Decides nothing. cuda-nspawnctl(1)
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-daemon.h>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "ctl/client.hpp"
#include "names.hpp"
#include "plan/plan.hpp"

namespace {

using namespace cuda_nspawn::ctl;

constexpr const char* usage = R"(Usage: cuda-nspawnctl COMMAND [OPTIONS] [MACHINE]

  list                     machines, their states and verdicts
  status [MACHINE]         one machine, or driver and all machines
  attach MACHINE           give the machine what its policy says
      --start              start the machine when it does not run
      --test               succeed only if the self-test passed
      --fresh              look at everything again, test again
      --or-detach          when ended by SIGTERM before it is done: detach
  detach MACHINE           take the GPUs from the running machine until it starts again
      --unless-stopping    do nothing if the machine's own unit is stopping
      --offline            the machine does not run: take what a killed one left in its root file system
  test MACHINE             run the self-test in the machine
  holders [MACHINE]        show which processes have a GPU open
  plan MACHINE             show what attach would change
  diagnose MACHINE         say why CUDA does not work in it, and what to do
      --program PATH       ask about this program in the machine
      --library-path PATHS the LD_LIBRARY_PATH that the program has
      --json               as JSON
  audit                    the same of all images, without starting them
      --images             raw images too
      --json               as JSON
  refresh                  look at the driver again, verify what all machines have
  verify                   compare the driver's copies with its files, byte by byte; mend them
  reload                   read the policies again
  --help, --version

Exit status: 0 done; 1 the call failed, the verdict is not "passed", a copy is damaged or an error was found; 2 wrong usage.
)";

using Changes = std::vector<sdbus::Struct<std::string, std::string, std::string>>;
using Properties = std::map<std::string, sdbus::Variant>;
// Machine, process on the host, process in the machine, name, nodes.
using Holder = sdbus::Struct<std::string, std::uint32_t, std::uint32_t, std::string, std::vector<std::string>>;

constexpr int most_tries = 20;
constexpr auto pause_between_tries = std::chrono::milliseconds(100);
constexpr auto pause_between_looks = std::chrono::milliseconds(20);
constexpr auto time_to_fail = std::chrono::seconds(2);  // a stopping unit has ten
// More than its worker has; less than a stopping unit has.
constexpr auto time_for_holders = std::chrono::seconds(35);

Properties machine_properties(const std::string& path) {
    Properties properties;
    proxy_at(path)
        ->callMethod("GetAll")
        .onInterface("org.freedesktop.DBus.Properties")
        .withArguments(machine_interface)
        .storeResultsTo(properties);
    return properties;
}

std::string text(const Properties& properties, const std::string& name) {
    return properties.at(name).get<std::string>();
}

void print_changes(const Changes& changes) {
    for (const auto& change : changes)
        fmt::print("{:<8} {}  {}\n", std::get<0>(change), std::get<1>(change), std::get<2>(change));
    if (changes.empty()) fmt::print("nothing to change\n");
}

// In a unit's ExecStart: what `systemctl status` shows.
void tell_systemd(const std::string& status) { sd_notify(0, fmt::format("STATUS={}", status).c_str()); }

std::string machine_path(const std::string& machine) {
    sdbus::ObjectPath path;
    manager()->callMethod("GetMachine").onInterface(manager_interface).withArguments(machine).storeResultsTo(path);
    return path;
}

int list(const Arguments&) {
    std::vector<sdbus::Struct<std::string, std::string, sdbus::ObjectPath>> machines;
    manager()->callMethod("ListMachines").onInterface(manager_interface).storeResultsTo(machines);
    fmt::print("{:<24} {:<10} {:<11} {}\n", "MACHINE", "STATE", "VERDICT", "");
    for (const auto& machine : machines) {
        const Properties properties = machine_properties(std::get<2>(machine));
        fmt::print("{:<24} {:<10} {:<11} {}\n", std::get<0>(machine), std::get<1>(machine), text(properties, "Verdict"),
                   text(properties, "StateText"));
    }
    fmt::print("\n{} machines.\n", machines.size());
    return 0;
}

void print_machine(const std::string& path) {
    const Properties properties = machine_properties(path);
    fmt::print("{}: {}\n", text(properties, "Name"), text(properties, "State"));
    fmt::print("     State: {}\n", text(properties, "StateText"));
    fmt::print("    Policy: {}\n", text(properties, "Policy"));
    for (const std::string& error : properties.at("PolicyErrors").get<std::vector<std::string>>())
        fmt::print("     Error: {}\n", error);
    for (const std::string& gpu : properties.at("Gpus").get<std::vector<std::string>>())
        fmt::print("       GPU: {}\n", gpu);
    fmt::print("    Driver: {}\n", text(properties, "Generation"));
    fmt::print("      Unit: {}\n", text(properties, "Unit"));
    for (const std::string& warning : properties.at("Warnings").get<std::vector<std::string>>())
        fmt::print("   Warning: {}\n", warning);
    fmt::print("   Verdict: {}\n", text(properties, "VerdictText"));
    for (const auto& check :
         properties.at("Checks").get<std::vector<sdbus::Struct<std::string, std::string, double, std::string>>>())
        fmt::print("            {:<12} {:<9} {:>8.1f} ms  {}\n", std::get<0>(check), std::get<1>(check),
                   std::get<2>(check), std::get<3>(check));
}

int status(const Arguments& arguments) {
    if (!arguments.machine.empty()) {
        print_machine(machine_path(arguments.machine));
        return 0;
    }
    Properties properties;
    manager()
        ->callMethod("GetAll")
        .onInterface("org.freedesktop.DBus.Properties")
        .withArguments(manager_interface)
        .storeResultsTo(properties);
    const std::string kernel = text(properties, "KernelVersion");
    fmt::print("Kernel module: {}\n Driver files: {}\n   Generation: {}\n", kernel.empty() ? "not loaded" : kernel,
               text(properties, "DriverVersion"), text(properties, "Generation"));
    if (const std::string pending = text(properties, "PendingVersion"); !pending.empty())
        fmt::print("      Pending: {} (waits for the module's reload or a reboot)\n", pending);
    for (const std::string& warning : properties.at("Warnings").get<std::vector<std::string>>())
        fmt::print("      Warning: {}\n", warning);
    fmt::print("\n");
    return list(arguments);
}

int call_job(const Arguments& arguments, const std::string& method, const Options& options) {
    sdbus::ObjectPath job;
    Changes changes;
    manager()
        ->callMethod(method)
        .onInterface(manager_interface)
        .withTimeout(as_long_as_it_takes)
        .withArguments(arguments.machine, options)
        .storeResultsTo(job, changes);
    print_changes(changes);
    return 0;
}

int attach(const Arguments& arguments) {
    Options options{{"wait", sdbus::Variant(true)}};
    for (const auto& [flag, set] : arguments.flags)
        if (flag != "or-detach") options[flag] = sdbus::Variant(set);
    call_job(arguments, "Attach", options);
    const Properties properties = machine_properties(machine_path(arguments.machine));
    fmt::print("{}: {}\n", arguments.machine, text(properties, "StateText"));
    tell_systemd(text(properties, "StateText"));
    return 0;
}

// Whether systemd has a job for the unit, which for a machine that runs is its stop.
bool has_job(const std::string& unit) {
    const sdbus::ServiceName service("org.freedesktop.systemd1");
    sdbus::ObjectPath path;
    try {
        sdbus::createProxy(sdbus::createSystemBusConnection(), service, sdbus::ObjectPath("/org/freedesktop/systemd1"),
                           sdbus::dont_run_event_loop_thread)
            ->callMethod("GetUnit")
            .onInterface("org.freedesktop.systemd1.Manager")
            .withArguments(unit)
            .storeResultsTo(path);
    } catch (const sdbus::Error&) {
        return false;  // not loaded
    }
    const sdbus::Variant job =
        sdbus::createProxy(sdbus::createSystemBusConnection(), service, path, sdbus::dont_run_event_loop_thread)
            ->getProperty("Job")
            .onInterface("org.freedesktop.systemd1.Unit");
    return std::get<0>(job.get<sdbus::Struct<std::uint32_t, sdbus::ObjectPath>>()) != 0;
}

// When the machine itself is being stopped there is nothing to take from it: taking would only slow the stop down, and
// a daemon that is being started waits for that stop, so it is not even asked. One that has nothing because something
// is in the way gets it when that is mended: the daemon stopped our unit, no admin.
bool has_nothing_to_take(const std::string& machine) {
    if (has_job(cuda_nspawn::nspawn_unit(machine)) || has_job(cuda_nspawn::scope_unit(machine))) return true;
    const Properties properties = machine_properties(machine_path(machine));
    return text(properties, "Unit").empty() || text(properties, "State") == "blocked";
}

std::vector<Holder> holders_of(const std::string& machine) {
    std::vector<Holder> found;
    manager()
        ->callMethod("ListHolders")
        .onInterface(manager_interface)
        .withTimeout(time_for_holders)
        .withArguments(machine)
        .storeResultsTo(found);
    return found;
}

int holders(const Arguments& arguments) {
    const std::vector<Holder> found = holders_of(arguments.machine);
    if (found.empty()) return fmt::print("nobody holds a GPU open\n"), 0;
    constexpr const char* row = "{:<24} {:>8} {:>14}  {:<16} {}\n";
    fmt::print(row, "MACHINE", "PID", "PID-IN-MACHINE", "NAME", "DEVICES");
    for (const auto& [machine, pid, pid_in_machine, name, nodes] : found)
        fmt::print(row, machine.empty() ? "-" : machine, pid, pid_in_machine, name, fmt::join(nodes, " "));
    return 0;
}

// One sentence for each process that keeps what was just taken. Detaching worked, whatever becomes of the question.
std::vector<std::string> who_keeps_it(const std::string& machine) {
    std::vector<std::string> sentences;
    try {
        for (const auto& [owner, pid, pid_in_machine, name, nodes] : holders_of(machine))
            sentences.push_back(
                fmt::format("still open in pid {} ({}): {}: it keeps the GPU until it closes it or ends", pid, name,
                            fmt::join(nodes, " ")));
    } catch (const sdbus::Error& error) {
        fmt::print(stderr, "Who keeps the GPU open is not known: {}\n", error.getMessage());
    }
    return sentences;
}

int detach(const Arguments& arguments) {
    if (arguments.flags.contains("offline")) return call_job(arguments, "Detach", {{"offline", sdbus::Variant(true)}});
    const bool by_unit = arguments.flags.contains("unless-stopping");
    if (by_unit && has_nothing_to_take(arguments.machine)) return 0;
    call_job(arguments, "Detach", {{"wait", sdbus::Variant(true)}, {"by_unit", sdbus::Variant(by_unit)}});
    if (text(machine_properties(machine_path(arguments.machine)), "State") != "detached") return 0;
    constexpr std::size_t most_in_status = 8;
    std::vector<std::string> sentences = who_keeps_it(arguments.machine);
    for (const std::string& sentence : sentences) fmt::print("{}\n", sentence);
    if (sentences.size() > most_in_status) {
        sentences.resize(most_in_status);
        sentences.push_back(fmt::format("and more: cuda-nspawnctl holders {}", arguments.machine));
    }
    sentences.insert(sentences.begin(), "detached");
    tell_systemd(fmt::format("{}", fmt::join(sentences, "; ")));
    return 0;
}

int test(const Arguments& arguments) {
    sdbus::ObjectPath job;
    std::string verdict;
    std::string summary;
    manager()
        ->callMethod("SelfTest")
        .onInterface(manager_interface)
        .withTimeout(as_long_as_it_takes)
        .withArguments(arguments.machine, Options{{"wait", sdbus::Variant(true)}})
        .storeResultsTo(job, verdict, summary);
    print_machine(machine_path(arguments.machine));
    return verdict == "passed" ? 0 : 1;
}

int plan(const Arguments& arguments) {
    Changes changes;
    manager()
        ->callMethod("Plan")
        .onInterface(manager_interface)
        .withArguments(arguments.machine, Options{})
        .storeResultsTo(changes);
    print_changes(changes);
    return 0;
}

int refresh(const Arguments&) {
    manager()->callMethod("Refresh").onInterface(manager_interface).withArguments(Options{});
    return 0;
}

int reload(const Arguments&) {
    manager()->callMethod("Reload").onInterface(manager_interface);
    return 0;
}

int verify(const Arguments&) {
    Changes generations;  // name, result, what was found
    manager()
        ->callMethod("VerifyStore")
        .onInterface(manager_interface)
        .withTimeout(as_long_as_it_takes)
        .storeResultsTo(generations);
    bool sound = true;
    for (const auto& [generation, result, found] : generations) {
        fmt::print("{}: {}{}{}\n", generation, result, found.empty() ? "" : ": ", found);
        sound = sound && result != "damaged";
    }
    if (generations.empty()) fmt::print("no generation is in use\n");
    return sound ? 0 : 1;
}

struct Command {
    enum Needs { nothing, maybe_machine, machine } needs;
    std::vector<std::string> flags;
    std::function<int(const Arguments&)> run;
    std::vector<std::string> values;  // options that have one
};

const std::map<std::string, Command>& commands() {
    static const std::map<std::string, Command> table{
        {"list", {Command::nothing, {}, list, {}}},
        {"status", {Command::maybe_machine, {}, status, {}}},
        {"attach", {Command::machine, {"start", "test", "fresh", "or-detach"}, attach, {}}},
        {"detach", {Command::machine, {"unless-stopping", "offline"}, detach, {}}},
        {"holders", {Command::maybe_machine, {}, holders, {}}},
        {"test", {Command::machine, {}, test, {}}},
        {"plan", {Command::machine, {}, plan, {}}},
        {"diagnose", {Command::machine, {"json"}, diagnose, {"program", "library-path"}}},
        {"audit", {Command::nothing, {"images", "json"}, audit, {}}},
        {"refresh", {Command::nothing, {}, refresh, {}}},
        {"verify", {Command::nothing, {}, verify, {}}},
        {"reload", {Command::nothing, {}, reload, {}}}};
    return table;
}

// A daemon that ends in mid-call, killed or upgraded, is started again by systemd; what was wished is wished again, so
// that a unit of systemd's and its machine do not fall apart.
int insist(const Command& command, const Arguments& arguments) {
    for (int tries = 0;; ++tries) try {
            return command.run(arguments);
        } catch (const sdbus::Error& error) {
            const std::string& name = error.getName();
            const bool gone =
                name == "org.freedesktop.DBus.Error.NoReply" || name == "org.freedesktop.DBus.Error.Disconnected";
            if (!gone || tries == most_tries) throw;
            fmt::print(stderr, "cuda-nspawnd went away before it answered; asking again\n");
            std::this_thread::sleep_for(pause_between_tries);
        }
}

// What was begun fails by the detach, and must not end the process before that is done.
std::atomic<bool> is_terminating{false};

int exit_unless_terminating(int status) {
    while (is_terminating) std::this_thread::sleep_for(pause_between_looks);
    return status;
}

// A machine that does not start takes our unit's start along (StopPropagatedFrom=), often before the daemon has said
// why. That sentence is waited for: it is what `systemctl status` is to show.
bool is_about_to_fail(const std::string& machine) {
    for (auto waited = std::chrono::milliseconds(0); waited < time_to_fail; waited += pause_between_looks) {
        const std::string state = text(machine_properties(machine_path(machine)), "State");
        if (state != "starting") return state == "failed";
        std::this_thread::sleep_for(pause_between_looks);
    }
    return false;
}

// For a unit whose start is cut short by its stop. Before any other thread exists, which would take the signal.
std::thread detach_at_termination(const std::string& machine) {
    sigset_t termination;
    sigemptyset(&termination);
    sigaddset(&termination, SIGTERM);
    sigprocmask(SIG_BLOCK, &termination, nullptr);
    return std::thread([termination, machine] {
        int signal = 0;
        if (sigwait(&termination, &signal) != 0) return;
        is_terminating = true;
        int status = 1;
        try {
            if (is_about_to_fail(machine)) {
                is_terminating = false;
                std::this_thread::sleep_for(time_to_fail);
                is_terminating = true;
            }
            status = detach({.command = "detach", .machine = machine, .flags = {{"unless-stopping", true}}});
        } catch (const std::exception& error) {
            fmt::print(stderr, "{}\n", error.what());
        }
        std::fflush(stdout);
        std::_Exit(status);
    });
}

int wrong_usage(const std::string& sentence) {
    fmt::print(stderr, "{} Try cuda-nspawnctl --help.\n", sentence);
    return 2;
}

// The words behind the command, each an option, the value of one, or the machine. A sentence if they do not fit.
std::string read_words(const Command& command, const std::vector<std::string>& words, Arguments& arguments) {
    const auto has = [](const std::vector<std::string>& all, const std::string& one) {
        return std::find(all.begin(), all.end(), one) != all.end();
    };
    std::vector<std::string> plain;
    bool options_ended = false;
    for (auto word = words.begin(); word != words.end(); ++word) {
        if (options_ended || !word->starts_with("--")) {
            plain.push_back(*word);
            continue;
        }
        options_ended = *word == "--";
        if (options_ended) continue;
        const std::size_t equals = word->find('=');
        const std::string name = word->substr(2, equals == std::string::npos ? equals : equals - 2);
        if (has(command.values, name)) {
            if (equals == std::string::npos && ++word == words.end())
                return fmt::format("--{} of {} needs a value.", name, arguments.command);
            arguments.values[name] = equals == std::string::npos ? *word : word->substr(equals + 1);
        } else if (!has(command.flags, name) || equals != std::string::npos) {
            return fmt::format("{} has no option {}.", arguments.command, *word);
        } else {
            arguments.flags[name] = true;
        }
    }
    if (plain.empty() && command.needs == Command::machine)
        return fmt::format("{} needs the name of a machine.", arguments.command);
    if (plain.size() > (command.needs == Command::nothing ? 0 : 1))
        return fmt::format("\"{}\" is one argument too many for {}.", plain.back(), arguments.command);
    if (!plain.empty()) arguments.machine = plain[0];
    return "";
}

int run(std::vector<std::string> words) {
    const auto before_end = [&](const char* option) {
        return std::find(words.begin(), std::find(words.begin(), words.end(), "--"), option) !=
               std::find(words.begin(), words.end(), "--");
    };
    if (before_end("--help")) return std::fputs(usage, stdout), 0;
    if (before_end("--version")) return fmt::print("cuda-nspawnctl {}\n", CUDA_NSPAWN_VERSION), 0;
    const auto first =
        std::find_if(words.begin(), words.end(), [](const std::string& word) { return !word.starts_with("--"); });
    if (first == words.end()) return wrong_usage("No command given.");
    Arguments arguments{.command = *first, .machine = ""};
    words.erase(first);
    const auto place = commands().find(arguments.command);
    if (place == commands().end()) return wrong_usage(fmt::format("Unknown command \"{}\".", arguments.command));
    const std::string mistake = read_words(place->second, words, arguments);
    if (!mistake.empty()) return wrong_usage(mistake);
    if (arguments.flags.contains("or-detach")) detach_at_termination(arguments.machine).detach();
    return insist(place->second, arguments);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return exit_unless_terminating(run({argv + 1, argv + argc}));
    } catch (const sdbus::Error& error) {
        exit_unless_terminating(1);
        fmt::print(stderr, "{}\n", error.getMessage());
        tell_systemd(error.getMessage());
        return 1;
    }
}
