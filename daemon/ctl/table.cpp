#include "ctl/table.hpp"

#include <algorithm>
#include <utility>

namespace cuda_nspawn::ctl {

namespace {

constexpr std::string_view between = "  ";
constexpr std::size_t narrowest = 12;  // that a cut column gets on a narrow terminal

}  // namespace

Table::Table(std::vector<std::string> header, std::vector<std::size_t> right) : right_(std::move(right)) {
    for (std::string& word : header) header_.emplace_back(std::move(word), Colour::bold);
}

std::string Table::line(const std::vector<Cell>& row, const std::vector<std::size_t>& widths,
                        std::optional<std::size_t> width) const {
    std::string line;
    std::size_t used = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
        const bool last = i + 1 == row.size();
        std::string text = row[i].text;
        if (last && width) text = cut(text, std::max(narrowest, *width - std::min(*width, used)));
        const std::string blanks(widths[i] - std::min(widths[i], width_of(text)), ' ');
        const bool right = std::ranges::find(right_, i) != right_.end();
        line += right ? blanks + coloured(row[i].colour, text) : coloured(row[i].colour, text) + blanks;
        if (!last) line += between;
        used += widths[i] + between.size();
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

std::string Table::text(bool with_header, std::optional<std::size_t> width) const {
    std::vector<std::size_t> widths(header_.size(), 0);
    const auto measure = [&](const std::vector<Cell>& row) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i].text));
    };
    if (with_header) measure(header_);
    for (const auto& row : rows_) measure(row);
    std::string all;
    if (with_header) all += line(header_, widths, width);
    for (const auto& row : rows_) all += line(row, widths, width);
    return all;
}

}  // namespace cuda_nspawn::ctl
