#include "policy/text_check.hpp"

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

// Length of the sequence that begins the text, 0 if it is none (RFC 3629: no overlong forms, no surrogates).
std::size_t utf8_sequence(std::string_view text) {
    auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    unsigned first = byte(0);
    if (first < 0x80) return 1;
    unsigned low = 0x80, high = 0xbf;  // bounds of the second byte
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    std::size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                         : first >= 0xe0 && first <= 0xef ? 3
                         : first >= 0xf0 && first <= 0xf4 ? 4
                                                          : 0;
    if (length == 0 || byte(1) < low || byte(1) > high) return 0;
    for (std::size_t i = 2; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
    }
    return length;
}

Diagnostic at_offset(std::string_view path, std::string_view text, std::size_t offset, std::string message) {
    std::string_view before = text.substr(0, offset);
    auto line = static_cast<unsigned>(std::ranges::count(before, '\n'));
    std::size_t newline = before.rfind('\n');
    std::size_t column = newline == std::string_view::npos ? offset : offset - newline - 1;
    return {std::string(path), line + 1, static_cast<unsigned>(column) + 1, std::move(message)};
}

bool is_control(char c) {
    auto byte = static_cast<unsigned char>(c);
    return byte == 0x7f || (byte < 0x20 && c != '\t' && c != '\n' && c != '\r');
}

}  // namespace

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        std::size_t length = utf8_sequence(text.substr(i));
        if (length == 0) return i;
        i += length;
    }
    return std::nullopt;
}

std::optional<Diagnostic> check_text(std::string_view path, std::string_view text, std::size_t size_limit) {
    if (text.size() > size_limit) {
        return Diagnostic{std::string(path), 0, 0,
                          fmt::format("The file has {} bytes, {} are allowed.", text.size(), size_limit)};
    }
    if (auto control = std::ranges::find_if(text, is_control); control != text.end()) {
        auto offset = static_cast<std::size_t>(control - text.begin());
        return at_offset(path, text, offset,
                         fmt::format("The byte 0x{:02x} belongs in no text file; take it out.",
                                     static_cast<unsigned char>(*control)));
    }
    if (auto offset = find_invalid_utf8(text)) {
        return at_offset(path, text, *offset,
                         fmt::format("The byte 0x{:02x} is not UTF-8 here; save the file as UTF-8.",
                                     static_cast<unsigned char>(text[*offset])));
    }
    return std::nullopt;
}

}  // namespace cuda_nspawn
