#include "elf/version.hpp"

#include <algorithm>

namespace cuda_nspawn {
namespace {

std::string_view take_number(std::string_view& text) {
    const auto dot = std::min(text.find('.'), text.size());
    auto number = text.substr(0, dot);
    text.remove_prefix(std::min(dot + 1, text.size()));
    while (number.starts_with('0')) number.remove_prefix(1);
    return number;
}

}  // namespace

std::strong_ordering compare_versions(std::string_view left, std::string_view right) {
    while (!left.empty() || !right.empty()) {
        const auto a = take_number(left);
        const auto b = take_number(right);
        if (const auto order = a.size() <=> b.size(); order != 0) return order;
        if (const auto order = a <=> b; order != 0) return order;
    }
    return std::strong_ordering::equal;
}

}  // namespace cuda_nspawn
