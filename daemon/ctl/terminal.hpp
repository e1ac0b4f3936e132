// What is fit for a terminal: colours, its width, and text of others made harmless.
#pragma once

#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

namespace cuda_nspawn::ctl {

enum class Colour { none, bold, grey, red, green, yellow, cyan };

// Whether a stream gets colours: SYSTEMD_COLORS= decides where it is set; else a terminal does, unless NO_COLOR= is set
// and not empty (no-color.org), or TERM= is "dumb".
bool has_colours(std::FILE* stream);
// Pure: what the environment says. nullptr: not set.
bool wants_colours(const char* systemd_colors, const char* no_color, const char* term, bool is_terminal);

// For standard output; the text as it is where there are no colours.
std::string coloured(Colour colour, std::string_view text);

bool is_terminal(std::FILE* stream);
// Columns of the terminal behind a stream; nothing: it is none.
std::optional<std::size_t> terminal_width(std::FILE* stream);
// Whether the locale can show more than ASCII. Sets the process's locale up, so that widths are known; called once.
void set_up_locale();
bool has_unicode();

// Columns that a text takes; sequences for colours take none.
std::size_t width_of(std::string_view text);
// At most so many columns; where something is cut off, an ellipsis tells it. Without colours.
std::string cut(std::string_view text, std::size_t columns);
// One line without control characters, whatever it came from.
std::string harmless(std::string_view text);

}  // namespace cuda_nspawn::ctl
