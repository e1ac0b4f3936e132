#include "guest/environment_text.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>

#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_value = 1024;
constexpr std::size_t most_assignments = 64;  // of one text
constexpr std::size_t most_directories = 64;
constexpr std::string_view blanks = " \t\r\n\v\f";
constexpr std::array<std::string_view, 4> variables = {"LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES",
                                                       "NVIDIA_VISIBLE_DEVICES"};

std::string_view trim(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

void add(std::vector<Assignment>& assignments, unsigned line, std::string_view name, std::string_view value) {
    if (assignments.size() < most_assignments)
        assignments.push_back({line, std::string(name), printable(value, longest_value)});
}

// The part of a shell's line before its comment.
std::string_view without_comment(std::string_view line) {
    char quote = 0;
    for (std::size_t at = 0; at < line.size(); ++at) {
        const char c = line[at];
        if (quote != 0)
            quote = c == quote ? '\0' : quote;
        else if (c == '\'' || c == '"')
            quote = c;
        else if (c == '\\')
            ++at;
        else if (c == '#' && (at == 0 || blanks.find(line[at - 1]) != std::string_view::npos))
            return line.substr(0, at);
    }
    return line;
}

// Where its value begins, of the last assignment to that name on the line.
std::optional<std::size_t> assigned_at(std::string_view line, std::string_view name) {
    const std::string wanted = fmt::format("{}=", name);
    for (std::size_t at = line.rfind(wanted); at != std::string_view::npos;) {
        if (at == 0 || std::string_view(" \t;&|({\"'").find(line[at - 1]) != std::string_view::npos)
            return at + wanted.size();
        at = line.rfind(wanted, at - 1);
    }
    return std::nullopt;
}

}  // namespace

std::vector<Line> logical_lines(std::string_view text) {
    std::vector<Line> lines;
    bool goes_on = false;
    for (unsigned number = 1; !text.empty(); ++number) {
        std::string_view line = trim(text.substr(0, text.find('\n')));
        text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
        if (line.starts_with('#') || line.starts_with(';')) continue;
        if (line.empty()) {
            goes_on = false;
            continue;
        }
        const bool joins = line.ends_with('\\');
        if (joins) line.remove_suffix(1);
        if (goes_on)
            lines.back().text.append(" ").append(line);
        else
            lines.push_back({number, std::string(line)});
        goes_on = joins;
    }
    return lines;
}

std::string take_word(std::string_view& text, std::string_view ends) {
    std::string word;
    char quote = 0;
    while (!text.empty()) {
        const char c = text.front();
        if (quote == 0 && ends.find(c) != std::string_view::npos) break;
        text.remove_prefix(1);
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
        } else if (quote != 0 && c == quote) {
            quote = 0;
        } else if (c == '\\' && quote != '\'' && !text.empty()) {
            word += text.front();
            text.remove_prefix(1);
        } else {
            word += c;
        }
    }
    return word;
}

bool decides_on_cuda(std::string_view name) { return std::ranges::find(variables, name) != variables.end(); }

bool mentions_cuda_variables(std::string_view text) {
    return std::ranges::any_of(variables, [&](auto name) { return text.find(name) != std::string_view::npos; });
}

std::vector<Assignment> shell_assignments(std::string_view text) {
    std::vector<Assignment> assignments;
    if (!mentions_cuda_variables(text)) return assignments;
    for (const Line& line : logical_lines(text)) {
        const std::string_view code = without_comment(line.text);
        for (const std::string_view name : variables) {
            const auto begin = assigned_at(code, name);
            if (!begin) continue;
            std::string_view rest = code.substr(*begin);
            add(assignments, line.number, name, take_word(rest, " \t;&|)<>"));
        }
    }
    return assignments;
}

std::vector<Assignment> environment_file_assignments(std::string_view text) {
    std::vector<Assignment> assignments;
    if (!mentions_cuda_variables(text)) return assignments;
    for (const Line& line : logical_lines(text)) {
        std::string_view rest = line.text;
        if (rest.starts_with("export ")) rest = trim(rest.substr(7));  // PAM and shells take it
        const std::string_view name = trim(rest.substr(0, rest.find('=')));
        if (name.size() == rest.size() || !decides_on_cuda(name)) continue;
        rest = trim(rest.substr(rest.find('=') + 1));
        add(assignments, line.number, name, take_word(rest, ""));
    }
    return assignments;
}

std::vector<Assignment> pam_assignments(std::string_view text) {
    std::vector<Assignment> assignments;
    for (const Line& line : logical_lines(text)) {
        std::string_view rest = line.text;
        const std::string name = take_word(rest, blanks);
        if (!decides_on_cuda(name)) continue;
        for (const std::string_view key : {"OVERRIDE=", "DEFAULT="}) {
            const std::size_t at = rest.find(key);
            if (at == std::string_view::npos) continue;
            std::string_view value = rest.substr(at + key.size());
            add(assignments, line.number, name, take_word(value, blanks));
            break;
        }
    }
    return assignments;
}

std::vector<Assignment> unit_assignments(unsigned line, std::string_view value) {
    std::vector<Assignment> assignments;
    for (value = trim(value); !value.empty(); value = trim(value)) {
        const std::string word = take_word(value, blanks);
        const std::size_t equals = word.find('=');
        if (equals == std::string::npos || !decides_on_cuda(word.substr(0, equals))) continue;
        std::string content = word.substr(equals + 1, longest_value);
        for (std::size_t at = content.find("%%"); at != std::string::npos; at = content.find("%%", at + 1))
            content.erase(at, 1);
        add(assignments, line, word.substr(0, equals), content);
    }
    return assignments;
}

std::vector<std::string> library_path_directories(std::string_view value) {
    constexpr std::string_view itself = "LD_LIBRARY_PATH";
    std::vector<std::string> directories;
    while (!value.empty() && directories.size() < most_directories) {
        std::string_view part = value.substr(0, value.find_first_of(":;"));
        value.remove_prefix(std::min(part.size() + 1, value.size()));
        // "/opt/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}", "/opt/lib$LD_LIBRARY_PATH"
        for (const std::string_view begin : {"${", "$"})
            if (const auto at = part.find(fmt::format("{}{}", begin, itself)); at != std::string_view::npos)
                part = part.substr(0, at);
        if (part.starts_with('/')) directories.emplace_back(part);
    }
    return directories;
}

}  // namespace cuda_nspawn
