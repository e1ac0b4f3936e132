#include "ctl/completion.hpp"

#include <algorithm>
#include <optional>

namespace cuda_nspawn::ctl {

namespace {

using Words = std::vector<std::string>;

const Option* find_option(const Command* command, const std::string& word) {
    const auto fits = [&](const Option& one) {
        return word == "--" + one.name || (one.letter != 0 && word == std::string{'-', one.letter});
    };
    for (const std::vector<Option>* options : {command == nullptr ? nullptr : &command->options, &common_options()}) {
        if (options == nullptr) continue;
        const auto place = std::ranges::find_if(*options, fits);
        if (place != options->end()) return &*place;
    }
    return nullptr;
}

// Of what stands before the cursor: the command, how many operands, and the option whose value is being typed.
struct Before {
    const Command* command = nullptr;
    std::size_t operands = 0;
    const Option* option = nullptr;
    bool options_ended = false;
};

Before read(const std::vector<Command>& commands, const Words& words) {
    Before before;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "=") continue;  // the option keeps waiting
        const bool after_equals = words[i - 1] == "=";
        if (before.option != nullptr && (after_equals || !before.option->value_may_lack)) {
            before.option = nullptr;
        } else if (before.options_ended || !word.starts_with("-") || word == "-") {
            before.option = nullptr;
            if (before.command == nullptr)
                before.command = find_command(commands, word);
            else
                ++before.operands;
        } else {
            before.options_ended = word == "--";
            before.option = find_option(before.command, word);
            if (before.option != nullptr && before.option->value.empty()) before.option = nullptr;
        }
    }
    return before;
}

Words offered(Offer offer, const Names& names) {
    if (offer == Offer::nothing) return {};
    if (offer == Offer::files) return {files_line};
    if (offer == Offer::json_modes) return {"short", "pretty", "off"};
    return names(offer);
}

Words options_of(const Command* command) {
    Words words;
    for (const Option& option : common_options()) words.push_back("--" + option.name);
    if (command != nullptr)
        for (const Option& option : command->options) words.push_back("--" + option.name);
    return words;
}

Words starting_with(const std::string& typed, Words words) {
    std::erase_if(words, [&](const std::string& word) { return !word.starts_with(typed) && word != files_line; });
    return words;
}

}  // namespace

Words complete(const std::vector<Command>& commands, Words words, std::size_t current, const Names& names) {
    words.resize(std::min(words.size(), current + 1));
    if (words.size() < 2) return {};
    std::string typed = words.back();
    words.pop_back();
    // "--json=" is two words, and then the value is the third.
    const bool at_equals = typed == "=";
    if (at_equals) {
        words.push_back(typed);
        typed.clear();
    }
    const Before before = read(commands, words);
    const bool after_equals = words.back() == "=";
    if (before.option != nullptr && (after_equals || !before.option->value_may_lack))
        return starting_with(typed, offered(before.option->offer, names));
    if (!before.options_ended && typed.starts_with("-")) return starting_with(typed, options_of(before.command));
    if (before.command == nullptr) {
        Words all;
        for (const Command& command : commands) all.push_back(command.name);
        return starting_with(typed, all);
    }
    if (before.operands >= before.command->most) return {};
    return starting_with(typed, offered(before.command->offer, names));
}

}  // namespace cuda_nspawn::ctl
