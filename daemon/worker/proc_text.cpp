#include "worker/proc_text.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cuda_nspawn {

std::string status_field(std::string_view status, std::string_view key) {
    const std::string label = fmt::format("\n{}:\t", key);
    const std::size_t at = status.find(label);
    if (at == std::string_view::npos) return "";
    status.remove_prefix(at + label.size());
    return std::string(status.substr(0, status.find('\n')));
}

std::string unified_cgroup(std::string_view text) {
    constexpr std::string_view label = "0::";
    while (!text.empty()) {
        const std::string_view line = text.substr(0, text.find('\n'));
        if (line.starts_with(label)) return std::string(line.substr(label.size()));
        text.remove_prefix(std::min(text.size(), line.size() + 1));
    }
    return "";
}

}  // namespace cuda_nspawn
