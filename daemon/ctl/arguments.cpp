// The words of the command line.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "ctl/command.hpp"
#include "policy/suggestion.hpp"

namespace cuda_nspawn::ctl {

namespace {

// The option of that name, of whatever command: those of one name are alike, so that an option may stand before its
// command.
template <class Fits>
const Option* find_option(const std::vector<Command>& commands, Fits fits) {
    const auto find = [&](const std::vector<Option>& options) -> const Option* {
        const auto place = std::ranges::find_if(options, fits);
        return place == options.end() ? nullptr : &*place;
    };
    if (const Option* common = find(common_options())) return common;
    for (const Command& command : commands)
        if (const Option* option = find(command.options)) return option;
    return nullptr;
}

std::string near(std::string_view word, const std::vector<Option>& options, std::string_view dashes = "--") {
    std::vector<std::string> all;
    for (const std::vector<Option>* some : {&options, &common_options()})
        for (const Option& option : *some) all.push_back(std::string(dashes) + option.name);
    const std::vector<std::string_view> views(all.begin(), all.end());
    return suggest(word, views);
}

class Reader {
public:
    Reader(const std::vector<Command>& commands, const std::vector<std::string>& words)
        : commands_(commands), words_(words) {}

    Arguments read() {
        for (place_ = 0; place_ < words_.size(); ++place_) {
            const std::string& word = words_[place_];
            if (options_ended_ || word.size() < 2 || word[0] != '-')
                plain_.push_back(word);
            else if (word == "--")
                options_ended_ = true;
            else if (word[1] == '-')
                read_long(word);
            else
                read_short(word);
        }
        return std::move(arguments_);
    }

    std::vector<std::string> take_plain() { return std::move(plain_); }
    // Options that no command has, to be told with the command's own.
    const std::vector<std::string>& unknown() const { return unknown_; }

private:
    void read_long(const std::string& word) {
        const std::size_t equals = word.find('=');
        const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
        const Option* option = find_option(commands_, [&](const Option& one) { return one.name == name; });
        if (option == nullptr) return unknown_.push_back("--" + name);
        if (equals == std::string::npos) return take(*option, std::nullopt);
        if (option->value.empty()) throw WrongUsage{fmt::format("--{} has no value.", name)};
        take(*option, word.substr(equals + 1));
    }

    // One letter, or several that have no value, or one with its value: -n5.
    void read_short(const std::string& word) {
        for (std::size_t i = 1; i < word.size(); ++i) {
            const Option* option = find_option(commands_, [&](const Option& one) { return one.letter == word[i]; });
            if (option == nullptr) return unknown_.push_back(fmt::format("-{}", word[i]));
            if (!option->value.empty() && !option->value_may_lack && i + 1 < word.size())
                return take(*option, word.substr(i + 1));
            take(*option, std::nullopt);
        }
    }

    void take(const Option& option, std::optional<std::string> value) {
        if (!value && !option.value.empty() && !option.value_may_lack) {
            if (place_ + 1 == words_.size()) throw WrongUsage{fmt::format("--{} needs a value.", option.name)};
            value = words_[++place_];
        }
        arguments_.options[option.name] = value.value_or("");
    }

    const std::vector<Command>& commands_;
    const std::vector<std::string>& words_;
    std::size_t place_ = 0;
    bool options_ended_ = false;
    Arguments arguments_;
    std::vector<std::string> plain_;
    std::vector<std::string> unknown_;
};

bool is_common(const std::string& name) {
    return std::ranges::any_of(common_options(), [&](const Option& one) { return one.name == name; });
}

void check_options(const Command& command, const Arguments& arguments, const std::vector<std::string>& unknown) {
    std::vector<std::string> strange = unknown;
    for (const auto& [name, value] : arguments.options)
        if (!is_common(name) && command.option(name) == nullptr) strange.push_back("--" + name);
    if (!strange.empty())
        throw WrongUsage{fmt::format("{} has no option {}{}.", command.name, strange.front(),
                                     near(strange.front(), command.options))};
}

void check_number(const Command& command, const std::vector<std::string>& words) {
    if (words.size() < command.least)
        throw WrongUsage{command.operands.find("FILE") != std::string::npos
                             ? fmt::format("{} needs the name of a file.", command.name)
                         : command.operands.find("JOB") != std::string::npos
                             ? fmt::format("{} needs the number of a job or the name of a machine.", command.name)
                             : fmt::format("{} needs the name of a machine.", command.name)};
    if (words.size() > command.most)
        throw WrongUsage{fmt::format("\"{}\" is one argument too many for {}.", words[command.most], command.name)};
}

std::string near_command(const std::vector<Command>& commands, std::string_view word) {
    std::vector<std::string_view> all;
    for (const Command& command : commands) all.push_back(command.name);
    return suggest(word, all);
}

}  // namespace

std::string Arguments::value(const std::string& option) const {
    const auto place = options.find(option);
    return place == options.end() ? "" : place->second;
}

const Option* Command::option(std::string_view wanted) const {
    const auto place = std::ranges::find_if(options, [&](const Option& one) { return one.name == wanted; });
    return place == options.end() ? nullptr : &*place;
}

const Command* find_command(const std::vector<Command>& commands, std::string_view name) {
    const auto place = std::ranges::find_if(commands, [&](const Command& one) { return one.name == name; });
    return place == commands.end() ? nullptr : &*place;
}

const std::vector<Option>& common_options() {
    static const std::vector<Option> options{
        {.name = "help", .value = "", .help = "show this help", .letter = 'h'},
        {.name = "version", .value = "", .help = "show the version"},
        {.name = "no-ask-password", .value = "", .help = "polkit shall not ask for a password"},
        {.name = "no-legend", .value = "", .help = "tables without header and closing line"},
        {.name = "no-pager", .value = "", .help = "nothing changes: there is never a pager"}};
    return options;
}

JsonMode json_mode(const Arguments& arguments) {
    if (!arguments.has("json")) return JsonMode::off;
    const std::string mode = arguments.value("json");
    if (mode == "off") return JsonMode::off;
    if (mode == "short") return JsonMode::plain;
    if (mode == "pretty") return JsonMode::pretty;
    if (!mode.empty()) throw WrongUsage{fmt::format("--json is short, pretty or off, and not \"{}\".", mode)};
    return JsonMode::automatic;
}

Arguments read_arguments(const std::vector<Command>& commands, const std::vector<std::string>& words) {
    Reader reader(commands, words);
    Arguments arguments = reader.read();
    arguments.words = reader.take_plain();
    if (arguments.has("help") || arguments.has("version")) return arguments;
    if (arguments.words.empty())
        throw WrongUsage{reader.unknown().empty()
                             ? "No command given."
                             : fmt::format("No command given, and there is no option {}{}.", reader.unknown().front(),
                                           near(reader.unknown().front(), {}))};
    arguments.command = arguments.words.front();
    arguments.words.erase(arguments.words.begin());
    const Command* command = find_command(commands, arguments.command);
    if (command == nullptr)
        throw WrongUsage{
            fmt::format("Unknown command \"{}\"{}.", arguments.command, near_command(commands, arguments.command))};
    check_options(*command, arguments, reader.unknown());
    check_number(*command, arguments.words);
    json_mode(arguments);
    return arguments;
}

}  // namespace cuda_nspawn::ctl
