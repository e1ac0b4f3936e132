#include "guest/printable.hpp"

#include <algorithm>
#include <cstdint>

namespace cuda_nspawn {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD

struct Decoded {
    std::uint32_t character = 0;
    std::size_t length = 0;  // 0: no valid sequence
};

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
Decoded decode(std::string_view text) {
    auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    unsigned first = byte(0);
    if (first < 0x80) return {first, 1};
    std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return {};
    std::uint32_t character = first & (0xffu >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return {};
        character = character << 6 | (byte(i) & 0x3f);
    }
    constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = character >= 0xd800 && character <= 0xdfff;
    if (character < smallest[length] || surrogate || character > 0x10ffff) return {};
    return {character, length};
}

bool is_harmful(std::uint32_t c) {
    bool control = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029;
    bool direction =
        c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return control || direction || c == 0xfeff || (c & 0xfffe) == 0xfffe;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
    std::string result;
    result.reserve(std::min(text.size(), limit));
    while (!text.empty()) {
        Decoded decoded = decode(text);
        std::string_view next = text.substr(0, std::max<std::size_t>(decoded.length, 1));
        text.remove_prefix(next.size());
        bool space = next == "\n" || next == "\t" || next == "\r";
        if (space) next = " ";
        if (decoded.length == 0 || (!space && is_harmful(decoded.character))) next = replacement;
        if (result.size() + next.size() > limit) break;
        result += next;
    }
    return result;
}

}  // namespace cuda_nspawn
