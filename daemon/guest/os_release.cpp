#include "guest/os_release.hpp"

#include <algorithm>
#include <optional>

namespace cuda_nspawn {
namespace {

constexpr std::string_view white_space = " \t\r";
constexpr std::size_t most_keys = 256;

std::string_view trim(std::string_view text) {
    std::size_t begin = text.find_first_not_of(white_space);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(white_space) - begin + 1);
}

bool is_key(std::string_view key) {
    return !key.empty() && std::ranges::all_of(key, [](char c) {
        return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
}

// A shell's rules for one word: in double quotes a backslash escapes only ", $, \ and `.
// Nothing when a quote is not closed.
std::optional<std::string> unquote(std::string_view value) {
    std::string result;
    char quote = 0;
    for (std::size_t i = 0; i < value.size(); ++i) {
        char c = value[i];
        if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
        } else if (quote != 0 && c == quote) {
            quote = 0;
        } else if (c == '\\' && quote != '\'' && i + 1 < value.size()) {
            char next = value[++i];
            bool escapes = quote == 0 || next == '"' || next == '$' || next == '\\' || next == '`';
            if (!escapes) result += c;
            result += next;
        } else {
            result += c;
        }
    }
    if (quote != 0) return std::nullopt;
    return result;
}

}  // namespace

std::map<std::string, std::string> parse_os_release(std::string_view text) {
    std::map<std::string, std::string> assignments;
    while (!text.empty() && assignments.size() < most_keys) {
        std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        std::size_t equals = line.find('=');
        if (line.starts_with('#') || equals == std::string_view::npos) continue;
        std::string_view key = line.substr(0, equals);
        if (!is_key(key)) continue;
        if (auto value = unquote(line.substr(equals + 1))) assignments[std::string(key)] = std::move(*value);
    }
    return assignments;
}

}  // namespace cuda_nspawn
