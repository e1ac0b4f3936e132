#include "worker/unified_diff.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <vector>

namespace cuda_nspawn {

namespace {

constexpr std::size_t context = 3;
constexpr int most_edits = 512;  // memory and time grow with their square

using Lines = std::vector<std::string_view>;  // each with its newline, the last one maybe without

struct Line {
    char mark = ' ';  // '-', '+' or ' '
    std::string_view text;
};

Lines split(std::string_view text) {
    Lines lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        lines.push_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    return lines;
}

std::size_t index(int number) { return static_cast<std::size_t>(number); }

// How far one comes with so many edits, on each diagonal (Myers, "An O(ND) Difference Algorithm", 1986).
class Paths {
public:
    Paths(const Lines& before, const Lines& after) : before_(before), after_(after) {}

    // The marks in reverse; nothing when there are too many edits.
    std::optional<std::vector<Line>> find() {
        const int most = std::min(size(before_) + size(after_), most_edits);
        std::vector<int> reach(index(2 * most + 3), 0);
        const auto at = [&](int diagonal) -> int& { return reach[index(diagonal + most + 1)]; };
        for (int edits = 0; edits <= most; ++edits) {
            for (int diagonal = -edits; diagonal <= edits; diagonal += 2) {
                const bool down = goes_down(diagonal, edits, at(diagonal - 1), at(diagonal + 1));
                int x = down ? at(diagonal + 1) : at(diagonal - 1) + 1;
                while (is_equal(x, x - diagonal)) ++x;
                at(diagonal) = x;
            }
            history_.push_back(reach);
            if (std::abs(size(before_) - size(after_)) <= edits && at(size(before_) - size(after_)) >= size(before_))
                return trace(edits, most);
        }
        return std::nullopt;
    }

private:
    static int size(const Lines& lines) { return static_cast<int>(lines.size()); }
    static bool goes_down(int diagonal, int edits, int left, int right) {
        return diagonal == -edits || (diagonal != edits && left < right);
    }
    bool is_equal(int x, int y) const {
        return x >= 0 && y >= 0 && x < size(before_) && y < size(after_) && before_[index(x)] == after_[index(y)];
    }

    std::vector<Line> trace(int edits, int most) const {
        std::vector<Line> marks;
        int x = size(before_), y = size(after_);
        for (; edits > 0; --edits) {
            const std::vector<int>& reach = history_[index(edits) - 1];
            const auto at = [&](int diagonal) { return reach[index(diagonal + most + 1)]; };
            const int diagonal = x - y;
            const bool down = goes_down(diagonal, edits, at(diagonal - 1), at(diagonal + 1));
            const int from_x = down ? at(diagonal + 1) : at(diagonal - 1);
            const int from_y = from_x - (down ? diagonal + 1 : diagonal - 1);
            const int corner = down ? from_x : from_x + 1;
            for (; x > corner; --x, --y) marks.push_back({' ', before_[index(x) - 1]});
            if (down)
                marks.push_back({'+', after_[index(from_y)]});
            else
                marks.push_back({'-', before_[index(from_x)]});
            x = from_x;
            y = from_y;
        }
        for (; x > 0; --x) marks.push_back({' ', before_[index(x) - 1]});
        return marks;
    }

    const Lines& before_;
    const Lines& after_;
    std::vector<std::vector<int>> history_;
};

std::vector<Line> compare(Lines before, Lines after) {
    std::vector<Line> lines;
    const auto ends = std::mismatch(before.begin(), before.end(), after.begin(), after.end());
    for (auto line = before.begin(); line != ends.first; ++line) lines.push_back({' ', *line});
    after.erase(after.begin(), ends.second);
    before.erase(before.begin(), ends.first);
    Lines tail;
    for (; !before.empty() && !after.empty() && before.back() == after.back(); before.pop_back(), after.pop_back())
        tail.push_back(before.back());
    if (auto marks = Paths(before, after).find()) {
        lines.insert(lines.end(), marks->rbegin(), marks->rend());
    } else {
        for (const std::string_view line : before) lines.push_back({'-', line});
        for (const std::string_view line : after) lines.push_back({'+', line});
    }
    for (auto line = tail.rbegin(); line != tail.rend(); ++line) lines.push_back({' ', *line});
    return lines;
}

// "12,3"; "12" of a single line; "11,0" where there is none after the 11th.
std::string range(std::size_t lines_before, std::size_t count) {
    if (count == 1) return fmt::format("{}", lines_before + 1);
    return fmt::format("{},{}", count == 0 ? lines_before : lines_before + 1, count);
}

std::size_t next_change(const std::vector<Line>& lines, std::size_t from) {
    while (from < lines.size() && lines[from].mark == ' ') ++from;
    return from;
}

// Behind the last line of the hunk whose first change is there: changes that share context are one.
std::size_t hunk_end(const std::vector<Line>& lines, std::size_t change) {
    for (;;) {
        while (change < lines.size() && lines[change].mark != ' ') ++change;
        const std::size_t next = next_change(lines, change);
        if (next == lines.size() || next - change > 2 * context) return std::min(change + context, lines.size());
        change = next;
    }
}

}  // namespace

bool is_text(std::string_view content) { return content.find('\0') == std::string_view::npos; }

std::string unified_diff(const std::string& path, const std::optional<std::string>& before,
                         const std::optional<std::string>& after) {
    const std::string old_text = before.value_or(""), new_text = after.value_or("");  // the lines are parts of them
    const std::vector<Line> lines = compare(split(old_text), split(new_text));
    std::string text;
    std::size_t at = 0, old_lines = 0, new_lines = 0;
    const auto pass = [&](std::size_t end, std::string* into) {
        for (; at < end; ++at) {
            old_lines += lines[at].mark != '+' ? 1 : 0;
            new_lines += lines[at].mark != '-' ? 1 : 0;
            if (into == nullptr) continue;
            *into += lines[at].mark;
            *into += lines[at].text;
            if (!lines[at].text.ends_with('\n')) *into += "\n\\ No newline at end of file\n";
        }
    };
    for (std::size_t change = next_change(lines, 0); change < lines.size(); change = next_change(lines, at)) {
        pass(change - std::min(change - at, context), nullptr);
        const std::size_t old_begin = old_lines, new_begin = new_lines;
        std::string hunk;
        pass(hunk_end(lines, change), &hunk);
        text += fmt::format("@@ -{} +{} @@\n{}", range(old_begin, old_lines - old_begin),
                            range(new_begin, new_lines - new_begin), hunk);
    }
    if (text.empty()) return "";
    return fmt::format("--- {}\n+++ {}\n{}", before ? path : "/dev/null", after ? path : "/dev/null", text);
}

}  // namespace cuda_nspawn
