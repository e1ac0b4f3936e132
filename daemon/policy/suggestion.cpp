#include "policy/suggestion.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_quote = 80;

char fold(char c) {
    if (c == '-' || c == ' ') return '_';
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// How many characters must be inserted, deleted, replaced or swapped with their neighbour.
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
    std::iota(last.begin(), last.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            std::size_t replaced = last[j - 1] + (fold(a[i - 1]) == fold(b[j - 1]) ? 0 : 1);
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, replaced});
            bool swapped = i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]);
            if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
        }
        std::swap(before, last);
        std::swap(last, row);
    }
    return last[b.size()];
}

}  // namespace

std::string suggest(std::string_view text, std::span<const std::string_view> words) {
    std::string_view best;
    std::size_t best_distance = 3;  // two slips are a typing mistake, three are another word
    for (std::string_view word : words) {
        if (text.size() > word.size() + 2) continue;
        std::size_t distance = edit_distance(text, word);
        if (distance < best_distance && distance < word.size() / 2 + 1) {
            best = word;
            best_distance = distance;
        }
    }
    return best.empty() ? "" : fmt::format(" (did you mean '{}'?)", best);
}

std::string enumerate(std::span<const std::string_view> words, std::string_view last_separator) {
    std::string text;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) text += i + 1 == words.size() ? last_separator : ", ";
        text += words[i];
    }
    return text;
}

std::string quoted(std::string_view text) {
    std::string result = "'";
    for (char c : text.substr(0, longest_quote)) result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    if (text.size() > longest_quote) {
        while (!result.empty() && (static_cast<unsigned char>(result.back()) & 0xc0) == 0x80) result.pop_back();
        if (static_cast<unsigned char>(result.back()) >= 0xc0) result.pop_back();
        result += "…";
    }
    return result + "'";
}

}  // namespace cuda_nspawn
