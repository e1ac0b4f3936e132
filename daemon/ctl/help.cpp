// The text of --help, from the table of commands.
#include <fmt/format.h>

#include <algorithm>

#include "ctl/command.hpp"
#include "ctl/terminal.hpp"

namespace cuda_nspawn::ctl {

namespace {

constexpr std::size_t column = 34;  // where explanations begin

std::string entry(std::size_t indent, const std::string& what, const std::string& help) {
    const std::size_t used = indent + width_of(what);
    return fmt::format("{}{}{}{}\n", std::string(indent, ' '), what,
                       std::string(used < column ? column - used : 2, ' '), help);
}

std::string spelled(const Option& option) {
    std::string text = option.letter == 0 ? "" : fmt::format("-{}, ", option.letter);
    text += "--" + option.name;
    if (option.value.empty()) return text;
    return text + (option.value_may_lack ? fmt::format("[={}]", option.value) : " " + option.value);
}

// All commands that print something have it; said once.
bool is_said_below(const Option& option) { return option.name == "json"; }

}  // namespace

std::string help_of(const std::vector<Command>& commands) {
    constexpr std::size_t of_command = 2;
    constexpr std::size_t of_option = 6;
    std::string text =
        "Usage: cuda-nspawnctl [OPTIONS] COMMAND [OPERANDS]\n\nNVIDIA GPUs for systemd-nspawn machines.\n\nCommands:\n";
    const Option* json = nullptr;
    for (const Command& command : commands) {
        text += entry(of_command, command.operands.empty() ? command.name : command.name + " " + command.operands,
                      command.help);
        for (const Option& option : command.options)
            if (is_said_below(option))
                json = &option;
            else
                text += entry(of_option, spelled(option), option.help);
    }
    text += "\nOptions:\n";
    for (const Option& option : common_options()) text += entry(of_command, spelled(option), option.help);
    if (json != nullptr) text += entry(of_command, spelled(*json), json->help);
    return text +
           "\nExit status: 0 done; 1 it failed, or what was asked about is not well; 2 wrong usage; 3 the machine is "
           "not\n"
           "attached (status), or something would change (plan); 4 there is no such machine (status).\n"
           "See cuda-nspawnctl(1).\n";
}

}  // namespace cuda_nspawn::ctl
