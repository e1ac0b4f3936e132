// cuda-nspawnctl: the D-Bus API for people, scripts and unit files. Decides nothing. cuda-nspawnctl(1)
// Commands are in the files of their names, in command/; command/commands.cpp has the table of them all.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "ctl/bus.hpp"
#include "ctl/command/commands.hpp"
#include "ctl/command/offered_names.hpp"
#include "ctl/command/or_detach.hpp"
#include "ctl/completion.hpp"
#include "ctl/output.hpp"
#include "ctl/password_agent.hpp"
#include "names.hpp"

namespace {

using namespace cuda_nspawn::ctl;

// A daemon that ends in mid-call, killed or upgraded, is started again by systemd; what was wished is wished again, so
// that a unit of systemd's and its machine do not fall apart.
int insist(const Command& command, const Arguments& arguments) {
    constexpr int most_tries = 20;
    constexpr auto pause_between_tries = std::chrono::milliseconds(100);
    for (int tries = 0;; ++tries) try {
            return command.run(arguments);
        } catch (const BusError& error) {
            const bool gone = error.name() == SD_BUS_ERROR_NO_REPLY || error.name() == SD_BUS_ERROR_DISCONNECTED;
            if (!gone || tries == most_tries) throw;
            fmt::print(stderr, "cuda-nspawnd went away before it answered; asking again\n");
            std::this_thread::sleep_for(pause_between_tries);
        }
}

// For the shell's completion, so not among the commands: --complete INDEX WORD…
int offer(const std::vector<std::string>& words) {
    for (const std::string& line :
         complete(commands(), {words.begin() + 2, words.end()}, std::stoul(words.at(1)), offered_names))
        fmt::print("{}\n", line);
    return 0;
}

int run(const std::vector<std::string>& words) {
    if (words.size() > 1 && words.front() == "--complete") return offer(words);
    const Arguments arguments = read_arguments(commands(), words);
    if (arguments.has("help")) return std::fputs(help_of(commands()).c_str(), stdout), 0;
    if (arguments.has("version")) return fmt::print("cuda-nspawnctl {}\n", CUDA_NSPAWN_VERSION), 0;
    if (arguments.has("no-ask-password")) Bus::forbid_asking();
    const Command& command = *find_command(commands(), arguments.command);
    const PasswordAgent agent(command.may_be_refused && !arguments.has("no-ask-password"));
    return insist(command, arguments);
}

// A sentence, or several, a line each.
int fail(const std::string& text) {
    exit_unless_terminating(1);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) fmt::print(stderr, "{}\n", harmless(line));
    tell_systemd(text);
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    set_up_locale();
    try {
        return exit_unless_terminating(run({argv + 1, argv + argc}));
    } catch (const WrongUsage& mistake) {
        fmt::print(stderr, "{} Try cuda-nspawnctl --help.\n", harmless(mistake.sentence));
        return 2;
    } catch (const std::exception& error) {
        return fail(error.what());
    }
}
