#include "doctor/remedies.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

bool is_plain(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_./+:@%=-").find(c) != std::string_view::npos;
}

// For sed -E between commas.
std::string as_pattern(std::string_view text) {
    std::string pattern;
    for (const char c : text) {
        if (std::string_view(R"(\.[]*^$+?(){}|,)").find(c) != std::string_view::npos) pattern += '\\';
        pattern += c;
    }
    return pattern;
}

std::string edit(const EnvironmentSetting& setting, std::string_view script) {
    if (setting.line == 0 || !can_be_typed(setting.file) || !can_be_typed(setting.unit) || !can_be_typed(script))
        return "";
    std::string command = fmt::format("sed -i -E {} {}", shell_word(script), shell_word(setting.file));
    if (!setting.unit.empty())
        command += fmt::format(" && systemctl daemon-reload && systemctl try-restart {}", shell_word(setting.unit));
    return command;
}

}  // namespace

std::string shell_word(std::string_view text) {
    if (!text.empty() && std::ranges::all_of(text, is_plain)) return std::string(text);
    std::string word = "'";
    for (const char c : text) {
        if (c == '\'')
            word += R"('\'')";
        else
            word += c;
    }
    return word + "'";
}

bool can_be_typed(std::string_view text) { return printable(text, text.size()) == text; }

std::string remove_libraries(const std::vector<std::string>& paths) {
    std::vector<std::string> words;
    for (const std::string& path : paths) {
        if (!path.starts_with('/') || !can_be_typed(path)) return "";
        words.push_back(shell_word(path));
    }
    if (words.empty()) return "";
    if (words.size() == 1) return fmt::format("rm -f \"$(readlink -f {0})\" {0} && ldconfig", words.front());
    return fmt::format("for file in {}; do rm -f \"$(readlink -f \"$file\")\" \"$file\"; done; ldconfig",
                       fmt::join(words, " "));
}

std::string take_out(const EnvironmentSetting& setting, std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    if (path.empty() || path == "/") return "";
    // The path between two separators, however often; then none of those is left at the beginning (also of the idiom
    // ${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}), doubled or at the end, where it would mean the directory that a program
    // is started in. \x27 is a single quote.
    return edit(setting, fmt::format(R"({0}{{:a;s,(^|["\x27=: ]){1}/*(["\x27: ;&$]|$),\1\2,;ta;)"
                                     R"(s,({2}=["\x27]?(\$\{{{2}:\+)?):+,\1,g;s,::+,:,g;s,:+(["\x27 ;&]|$),\1,g}})",
                                     setting.line, as_pattern(path), setting.name));
}

std::string set_to(const EnvironmentSetting& setting, std::string_view value) {
    if (value.empty()) return edit(setting, fmt::format("{}s/^/#/", setting.line));
    return edit(setting,
                fmt::format(R"({}s/{}=("[^"]*"|[^" ;&]*)/{}={}/)", setting.line, setting.name, setting.name, value));
}

std::string take_out_of_loader(std::string_view directory) {
    if (!directory.starts_with('/') || !can_be_typed(directory)) return "";
    return fmt::format("grep -rlxF {} /etc/ld.so.conf /etc/ld.so.conf.d | xargs -r sed -i -E {} && ldconfig",
                       shell_word(directory), shell_word(fmt::format("\\,^{}$,d", as_pattern(directory))));
}

std::string one_after_the_other(const std::vector<std::string>& commands) {
    std::vector<std::string> each;
    for (const std::string& command : commands) {
        if (command.empty()) return "";
        if (std::ranges::find(each, command) == each.end()) each.push_back(command);
    }
    return fmt::format("{}", fmt::join(each, " && "));
}

void mend_in_machine(Finding& finding, std::string command, std::string_view otherwise) {
    finding.where = command.empty() ? FixPlace::none : FixPlace::machine;
    finding.fix = command.empty() ? std::string(otherwise) : std::move(command);
}

}  // namespace cuda_nspawn
