// Tables: columns as wide as what is in them, no blanks at the end of a line.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "ctl/terminal.hpp"

namespace cuda_nspawn::ctl {

struct Cell {
    Cell(std::string cell_text, Colour cell_colour = Colour::none) : text(std::move(cell_text)), colour(cell_colour) {}
    std::string text;
    Colour colour;
};

class Table {
public:
    // Columns whose number is in `right` end at their right edge, as numbers do.
    explicit Table(std::vector<std::string> header, std::vector<std::size_t> right = {});
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }

    // All lines. With a width, the last column is cut where a line would be longer.
    std::string text(bool with_header, std::optional<std::size_t> width = {}) const;
    std::size_t size() const { return rows_.size(); }

private:
    std::string line(const std::vector<Cell>& row, const std::vector<std::size_t>& widths,
                     std::optional<std::size_t> width) const;

    std::vector<Cell> header_;
    std::vector<std::size_t> right_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace cuda_nspawn::ctl
