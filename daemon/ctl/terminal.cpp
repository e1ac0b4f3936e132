#include "ctl/terminal.hpp"

#include <fmt/format.h>
#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <cstdlib>
#include <cwchar>

#include "guest/printable.hpp"

namespace cuda_nspawn::ctl {

namespace {

bool unicode = false;

std::string_view sequence_of(Colour colour) {
    constexpr std::array<std::string_view, 7> sequences{"",           "\x1b[1m",    "\x1b[90m",  "\x1b[1;31m",
                                                        "\x1b[1;32m", "\x1b[1;33m", "\x1b[1;36m"};
    return sequences.at(static_cast<std::size_t>(colour));
}

// The next character of a text: its bytes and its columns.
struct Character {
    std::size_t bytes = 1;
    std::size_t columns = 1;
};

Character first_of(std::string_view text) {
    if (text.starts_with("\x1b[")) {
        const std::size_t end = text.find('m');
        if (end != std::string_view::npos) return {end + 1, 0};
    }
    wchar_t wide = 0;
    std::mbstate_t state{};
    const std::size_t bytes = std::mbrtowc(&wide, text.data(), text.size(), &state);
    if (bytes == 0 || bytes > text.size()) return {};  // no character of the locale
    const int columns = ::wcwidth(wide);
    return {bytes, columns < 0 ? 1 : static_cast<std::size_t>(columns)};
}

}  // namespace

bool wants_colours(const char* systemd_colors, const char* no_color, const char* term, bool is_terminal) {
    const std::string_view wish = systemd_colors == nullptr ? "" : systemd_colors;
    if (wish == "0" || wish == "no" || wish == "false" || wish == "off" || wish == "n" || wish == "f") return false;
    if (!wish.empty() && !wish.starts_with("auto")) return true;
    return is_terminal && (no_color == nullptr || *no_color == '\0') &&
           (term == nullptr || std::string_view(term) != "dumb");
}

bool is_terminal(std::FILE* stream) { return ::isatty(::fileno(stream)) == 1; }

bool has_colours(std::FILE* stream) {
    return wants_colours(std::getenv("SYSTEMD_COLORS"), std::getenv("NO_COLOR"), std::getenv("TERM"),
                         is_terminal(stream));
}

std::string coloured(Colour colour, std::string_view text) {
    static const bool colours = has_colours(stdout);
    if (!colours || colour == Colour::none || text.empty()) return std::string(text);
    return fmt::format("{}{}\x1b[0m", sequence_of(colour), text);
}

std::optional<std::size_t> terminal_width(std::FILE* stream) {
    winsize size{};
    if (::ioctl(::fileno(stream), TIOCGWINSZ, &size) != 0) return std::nullopt;
    constexpr std::size_t usual = 80;  // of one that does not know
    return size.ws_col == 0 ? usual : size.ws_col;
}

void set_up_locale() {
    std::setlocale(LC_CTYPE, "");
    unicode = std::string_view(::nl_langinfo(CODESET)) == "UTF-8";
    // What comes over the bus is UTF-8 whatever the locale.
    if (!unicode) std::setlocale(LC_CTYPE, "C.UTF-8");
}

bool has_unicode() { return unicode; }

std::size_t width_of(std::string_view text) {
    std::size_t columns = 0;
    while (!text.empty()) {
        const Character next = first_of(text);
        columns += next.columns;
        text.remove_prefix(next.bytes);
    }
    return columns;
}

std::string cut(std::string_view text, std::size_t columns) {
    if (width_of(text) <= columns) return std::string(text);
    const std::string_view ellipsis = has_unicode() ? "…" : "...";
    const std::size_t kept = columns - std::min(columns, width_of(ellipsis));
    std::string result;
    for (std::size_t used = 0; !text.empty();) {
        const Character next = first_of(text);
        used += next.columns;
        if (used > kept) break;
        result += text.substr(0, next.bytes);
        text.remove_prefix(next.bytes);
    }
    return result.append(ellipsis);
}

std::string harmless(std::string_view text) { return printable(text, std::string::npos); }

}  // namespace cuda_nspawn::ctl
