#include "ctl/diff.hpp"

namespace cuda_nspawn::ctl {

Colour colour_of_diff_line(std::string_view line) {
    if (line.starts_with("--- ") || line.starts_with("+++ ")) return Colour::bold;
    if (line.starts_with("@@")) return Colour::cyan;
    if (line.starts_with("+")) return Colour::green;
    if (line.starts_with("-")) return Colour::red;
    return Colour::none;
}

std::string coloured_diff(std::string_view diff) {
    std::string all;
    while (!diff.empty()) {
        const std::size_t end = diff.find('\n');
        const std::string_view line = diff.substr(0, end);
        all += coloured(colour_of_diff_line(line), harmless(line)) + "\n";
        diff.remove_prefix(end == std::string_view::npos ? diff.size() : end + 1);
    }
    return all;
}

}  // namespace cuda_nspawn::ctl
