// A command as data. From the one table of them (command/commands.cpp) come dispatch, --help and completion.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn::ctl {

// What completion offers for a word.
enum class Offer { nothing, machines, gpus, files, json_modes, jobs };

enum class JsonMode { off, automatic, plain, pretty };  // automatic: pretty on a terminal

struct Option {
    std::string name;              // without the dashes
    std::string value;             // how help names its value, "FILE"; empty: it has none
    std::string help;              // one line
    char letter = 0;               // the short form
    Offer offer = Offer::nothing;  // for the value
    bool value_may_lack = false;   // then it is given as --NAME=VALUE only
};

struct Arguments {
    std::string command;
    std::vector<std::string> words;  // behind it, options taken out
    std::map<std::string, std::string> options;

    bool has(const std::string& option) const { return options.contains(option); }
    // "" where it is not given.
    std::string value(const std::string& option) const;
    // The command's one machine.
    const std::string& machine() const { return words.at(0); }
};

struct Command {
    std::string name;
    std::string operands;  // as help shows them, "[MACHINE…]"
    std::string help;      // one line
    std::size_t least = 0;
    std::size_t most = 0;  // operands
    Offer offer = Offer::nothing;
    std::vector<Option> options = {};
    bool may_be_refused = false;  // polkit decides, and may want a password
    // The exit status. Throws BusError, WrongUsage.
    int (*run)(const Arguments&) = nullptr;

    const Option* option(std::string_view name) const;
};

inline constexpr std::size_t any_number = 1'000'000;

// The words do not fit: a sentence for standard error, exit status 2.
struct WrongUsage {
    std::string sentence;
};

// --json of any command. Throws WrongUsage.
JsonMode json_mode(const Arguments& arguments);

// What every command has: --help, --version, and so on.
const std::vector<Option>& common_options();

// Reads the words behind the program's name; nothing is looked up. Throws WrongUsage.
Arguments read_arguments(const std::vector<Command>& commands, const std::vector<std::string>& words);
const Command* find_command(const std::vector<Command>& commands, std::string_view name);

// The text of --help.
std::string help_of(const std::vector<Command>& commands);

}  // namespace cuda_nspawn::ctl
