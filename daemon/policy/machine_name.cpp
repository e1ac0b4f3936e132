#include "policy/machine_name.hpp"

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_name = 64;  // HOST_NAME_MAX

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool is_printable_ascii(char c) { return c >= 0x20 && c < 0x7f; }

// A name that failed the check may hold anything: what goes into the message must not.
std::string quote(std::string_view name) {
    std::string quoted;
    for (char c : name.substr(0, longest_name)) {
        if (is_printable_ascii(c)) {
            quoted += c;
        } else {
            quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return fmt::format("'{}{}'", quoted, name.size() > longest_name ? "…" : "");
}

std::optional<std::string> label_error(std::string_view name, std::string_view label) {
    if (label.empty()) return fmt::format("{} is no machine name: it has an empty part beside a dot.", quote(name));
    if (label.front() == '-' || label.back() == '-') {
        return fmt::format("{} is no machine name: no part of it may begin or end with a dash.", quote(name));
    }
    return std::nullopt;
}

}  // namespace

std::optional<std::string> machine_name_error(std::string_view name) {
    if (name.empty()) return "An empty text is no machine name.";
    if (name == ".host") return "'.host' is machined's name for the host itself and no machine of its own.";
    for (char c : name) {
        if (!is_letter_or_digit(c) && c != '-' && c != '.') {
            return fmt::format("{} is no machine name: only the letters a-z and A-Z, digits, '-' and '.' may be used.",
                               quote(name));
        }
    }
    if (name.size() > longest_name) {
        return fmt::format("{} is no machine name: it has {} characters, {} are allowed.", quote(name), name.size(),
                           longest_name);
    }
    for (std::size_t begin = 0; begin <= name.size();) {
        std::size_t end = std::min(name.find('.', begin), name.size());
        if (auto error = label_error(name, name.substr(begin, end - begin))) return error;
        begin = end + 1;
    }
    return std::nullopt;
}

std::string escape_unit_name(std::string_view name) {
    std::string escaped;
    for (std::size_t i = 0; i < name.size(); ++i) {
        char c = name[i];
        if (c == '/') {
            escaped += '-';
        } else if (is_letter_or_digit(c) || c == ':' || c == '_' || (c == '.' && i > 0)) {
            escaped += c;
        } else {
            escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return escaped;
}

std::string escape_bus_label(std::string_view name) {
    if (name.empty()) return "_";
    std::string label;
    for (std::size_t i = 0; i < name.size(); ++i) {
        char c = name[i];
        bool leading_digit = i == 0 && c >= '0' && c <= '9';
        if (is_letter_or_digit(c) && !leading_digit) {
            label += c;
        } else {
            label += fmt::format("_{:02x}", static_cast<unsigned char>(c));
        }
    }
    return label;
}

namespace {

std::optional<unsigned> hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return std::nullopt;
}

}  // namespace

std::optional<std::string> unescape_bus_label(std::string_view label) {
    if (label == "_") return "";
    std::string name;
    for (std::size_t i = 0; i < label.size(); ++i) {
        if (label[i] != '_') {
            name += label[i];
            continue;
        }
        if (i + 2 >= label.size()) return std::nullopt;
        auto high = hex_digit(label[i + 1]);
        auto low = hex_digit(label[i + 2]);
        if (!high || !low) return std::nullopt;
        name += static_cast<char>(*high << 4 | *low);
        i += 2;
    }
    // One name has one label: what another spelling would decode to is no object of ours.
    if (escape_bus_label(name) != label) return std::nullopt;
    return name;
}

}  // namespace cuda_nspawn
