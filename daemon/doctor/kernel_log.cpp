#include "doctor/kernel_log.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace cuda_nspawn {

namespace {

bool has(std::string_view line, std::string_view part) { return line.find(part) != std::string_view::npos; }

// Of the numbers that a host with borrowed GPUs meets; in NVIDIA's words, shortened.
constexpr std::array meanings{std::pair(13u, "a program did what the GPU cannot do"),
                              std::pair(31u, "a program used memory of the GPU that it does not have"),
                              std::pair(43u, "the GPU stopped processing a program"),
                              std::pair(45u, "work was given up after an earlier error"),
                              std::pair(48u, "a memory error that could not be corrected"),
                              std::pair(62u, "the GPU's own controller halted"),
                              std::pair(63u, "a page of memory was retired or a row remapped"),
                              std::pair(64u, "a page of memory could not be retired or remapped"),
                              std::pair(74u, "NVLink error"),
                              std::pair(79u, "the GPU has fallen off the bus"),
                              std::pair(94u, "a contained memory error"),
                              std::pair(95u, "a memory error that was not contained"),
                              std::pair(119u, "the GPU's system processor (GSP) did not answer"),
                              std::pair(120u, "error of the GPU's system processor (GSP)")};

bool is_refusal(std::string_view line) {
    return (has(line, "Loading of") && has(line, "is rejected")) ||
           has(line, "unsigned module loading is restricted") || has(line, "not signed with a trusted key") ||
           has(line, "Key was rejected by service");
}

}  // namespace

bool is_of_interest(std::string_view line) {
    return has(line, "NVRM") || has(line, "nvidia") || has(line, "nouveau") || is_refusal(line);
}

std::vector<XidLine> find_xids(std::span<const std::string> log) {
    constexpr std::string_view mark = "Xid (PCI:";
    std::vector<XidLine> found;
    for (const std::string& line : log) {
        const std::size_t begin = line.find(mark);
        const std::size_t end = begin == std::string::npos ? begin : line.find("): ", begin);
        if (end == std::string::npos || !has(line, "NVRM")) continue;
        XidLine xid;
        xid.address = line.substr(begin + mark.size(), end - begin - mark.size());
        const char* number = line.data() + end + 3;
        if (std::from_chars(number, line.data() + line.size(), xid.number).ec != std::errc{}) continue;
        const auto meaning = std::ranges::find(meanings, xid.number, &std::pair<unsigned, const char*>::first);
        if (meaning != meanings.end()) xid.meaning = meaning->second;
        xid.line = line;
        std::erase_if(found,
                      [&](const XidLine& other) { return other.number == xid.number && other.address == xid.address; });
        found.push_back(std::move(xid));
    }
    return found;
}

std::optional<std::string> find_refused_module(std::span<const std::string> log) {
    for (const std::string& line : log)
        if (is_refusal(line)) return line;
    return std::nullopt;
}

}  // namespace cuda_nspawn
