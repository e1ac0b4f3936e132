#include "ctl/output.hpp"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include "ctl/diff.hpp"

namespace cuda_nspawn::ctl {

namespace {

constexpr int indentation = 2;

std::string dump(const Json& value, int indent) {
    // Names of files need not be UTF-8.
    return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

bool wants_json(const Arguments& arguments) { return json_mode(arguments) != JsonMode::off; }

std::string one_line(const Json& value) { return dump(value, -1); }

bool print_json(const Arguments& arguments, const Json& value) {
    const JsonMode mode = json_mode(arguments);
    if (mode == JsonMode::off) return false;
    const bool pretty = mode == JsonMode::pretty || (mode == JsonMode::automatic && is_terminal(stdout));
    fmt::print("{}\n", dump(value, pretty ? indentation : -1));
    return true;
}

void print_table(const Arguments& arguments, const Table& table, const std::string& closing) {
    const bool legend = !arguments.has("no-legend");
    const auto width = arguments.has("full") ? std::nullopt : terminal_width(stdout);
    fmt::print("{}", table.text(legend, width));
    if (legend && !closing.empty()) fmt::print("\n{}\n", closing);
}

void print_changes(const Json& changes) {
    for (const Json& change : changes) {
        const std::string type = change["type"];
        const std::string detail = harmless(change["detail"].get<std::string>());
        const Colour colour = type == "remove" || type == "deny" ? Colour::red : Colour::green;
        fmt::print("{} {}{}{}\n", coloured(colour, fmt::format("{:<8}", type)),
                   harmless(change["path"].get<std::string>()), detail.empty() ? "" : "  ", detail);
        fmt::print("{}", coloured_diff(change["diff"].get<std::string>()));
    }
    if (changes.empty()) fmt::print("nothing to change\n");
}

void print_field(const std::string& label, const std::string& text, int width) {
    if (!text.empty()) fmt::print("{:>{}}: {}\n", label, width, text);
}

Colour colour_of_state(const std::string& state, const std::string& verdict) {
    if (state == "attached") return verdict == "none" ? Colour::green : colour_of_verdict(verdict);
    if (state == "failed" || state == "invalid" || state == "blocked") return Colour::red;
    if (state == "preparing" || state == "starting") return Colour::yellow;
    return Colour::none;
}

std::string dot_of_state(const std::string& state) {
    if (!has_unicode()) return "*";
    if (state == "attached") return "●";
    if (state == "failed" || state == "invalid" || state == "blocked") return "×";
    if (state == "preparing" || state == "starting") return "↻";
    return "○";
}

Colour colour_of_verdict(const std::string& verdict) {
    if (verdict == "passed") return Colour::green;
    if (verdict == "failed") return Colour::red;
    if (verdict == "degraded" || verdict == "no-verdict") return Colour::yellow;
    return Colour::none;
}

Colour colour_of_severity(const std::string& severity) {
    return severity == "error" ? Colour::red : severity == "warning" ? Colour::yellow : Colour::cyan;
}

std::string index_ranges(const std::vector<unsigned>& indices) {
    std::string text;
    for (std::size_t i = 0; i < indices.size(); ++i) {
        std::size_t last = i;
        while (last + 1 < indices.size() && indices[last + 1] == indices[last] + 1) ++last;
        if (!text.empty()) text += ',';
        text += last == i ? fmt::format("{}", indices[i]) : fmt::format("{}-{}", indices[i], indices[last]);
        i = last;
    }
    return text.empty() ? "-" : text;
}

void tell_systemd(const std::string& status) { sd_notify(0, fmt::format("STATUS={}", status).c_str()); }

}  // namespace cuda_nspawn::ctl
