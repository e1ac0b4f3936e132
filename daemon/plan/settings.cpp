#include "plan/settings.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "policy/suggestion.hpp"
#include "policy/text_check.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_line = std::size_t{1024} * 1024;  // systemd's LONG_LINE_MAX
constexpr std::size_t most_diagnostics = 64;
constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
constexpr std::string_view white_space = " \t\r\n";

std::string_view strip(std::string_view text) {
    std::size_t begin = text.find_first_not_of(white_space);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(white_space) - begin + 1);
}

// Lines as systemd's read_line() cuts them: "\n", "\r", and the two in either order as one end of line. A lone "\r"
// begins a new line as well, so nothing can hide behind one in a comment.
class Lines {
public:
    explicit Lines(std::string_view text) : rest_(text) {}

    std::optional<std::string_view> next() {
        if (rest_.empty()) return std::nullopt;
        std::size_t end = std::min(rest_.find_first_of("\r\n"), rest_.size());
        std::string_view line = rest_.substr(0, end);
        std::string_view after = rest_.substr(end);
        std::size_t length = after.starts_with("\r\n") || after.starts_with("\n\r") ? 2 : 1;
        rest_ = after.substr(std::min(length, after.size()));
        return line;
    }

private:
    std::string_view rest_;
};

// An odd number of backslashes at the end.
bool is_continued(std::string_view line) {
    std::size_t last = line.find_last_not_of('\\');
    return (line.size() - (last == std::string_view::npos ? 0 : last + 1)) % 2 == 1;
}

// systemd's config_parse() and parse_line(). Stricter where systemd only warns: a line that it ignores is a mistake of
// its author's, who should hear of it before the machine starts without what it says.
class SettingsParser {
public:
    explicit SettingsParser(std::string_view path) : path_(path) {}

    void parse(std::string_view text) {
        Lines lines(text);
        bool mark_seen = false;
        for (auto line = lines.next(); line && diagnostics_.size() < most_diagnostics; line = lines.next()) {
            ++line_;
            std::string_view content = *line;
            std::string_view visible = strip(content);
            if (visible.starts_with('#') || visible.starts_with(';')) continue;  // within a continuation too
            if (!mark_seen && content.starts_with(byte_order_mark)) {
                mark_seen = true;
                content.remove_prefix(byte_order_mark.size());
            }
            take(content);
        }
        if (!logical_.empty()) finish();
    }

    std::vector<Setting> settings_;
    std::vector<Diagnostic> diagnostics_;

private:
    void take(std::string_view content) {
        if (logical_.empty()) first_line_ = line_;
        if (logical_.size() + content.size() > longest_line) {
            report(fmt::format("The line is longer than the {} bytes systemd reads.", longest_line));
            logical_.clear();
            return;
        }
        logical_ += content;
        if (is_continued(logical_)) {
            logical_.back() = ' ';
        } else {
            finish();
        }
    }

    void finish() {
        std::string text = std::move(logical_);
        logical_.clear();
        std::string_view line = strip(text);
        if (line.empty()) return;
        if (line.front() == '[') {
            take_section(line);
        } else {
            take_assignment(line);
        }
    }

    void take_section(std::string_view line) {
        section_known_ = true;
        section_ = line.substr(1, line.size() - 1);
        if (!section_.ends_with(']') || section_.find_first_of("[\"'\\") != std::string::npos) {
            report(fmt::format("{} is no section header; write it like [Files].", quoted(line)));
            return;
        }
        section_.pop_back();
    }

    void take_assignment(std::string_view line) {
        std::size_t equals = line.find('=');
        if (equals == std::string_view::npos || equals == 0) {
            report(fmt::format("{} is no KEY=VALUE assignment; systemd would ignore the line.", quoted(line)));
        } else if (!section_known_) {
            report(fmt::format("{} stands before the first section; put it under [Exec], [Files] or [Network].",
                               quoted(line)));
        } else {
            settings_.push_back({section_, std::string(strip(line.substr(0, equals))),
                                 std::string(strip(line.substr(equals + 1))), first_line_});
        }
    }

    void report(std::string message) { diagnostics_.push_back({path_, first_line_, 0, std::move(message)}); }

    std::string path_;
    std::string logical_;  // a line and what continues it
    std::string section_;
    bool section_known_ = false;
    unsigned line_ = 0;
    unsigned first_line_ = 0;  // of the logical line
};

}  // namespace

std::variant<std::vector<Setting>, std::vector<Diagnostic>> parse_settings(std::string_view path,
                                                                           std::string_view text) {
    constexpr std::size_t largest_file = 4 * longest_line;
    if (auto wrong = check_text(path, text, largest_file)) return std::vector{std::move(*wrong)};
    SettingsParser parser(path);
    parser.parse(text);
    if (!parser.diagnostics_.empty()) return std::move(parser.diagnostics_);
    return std::move(parser.settings_);
}

}  // namespace cuda_nspawn
