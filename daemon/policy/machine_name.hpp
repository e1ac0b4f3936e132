// Machine names in machined's sense. A name becomes paths and unit names, so it is checked before anything else.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cuda_nspawn {

// Valid as systemd's hostname_is_valid() without a trailing dot: 1 to 64 characters of [A-Za-z0-9.-], no empty
// label, no label that begins or ends with a dash; and never ".host". No underscore: systemd-nspawn refuses it.
// Returns the sentence that says what is wrong, or nothing.
std::optional<std::string> machine_name_error(std::string_view name);
inline bool is_machine_name(std::string_view name) { return !machine_name_error(name); }

// systemd's unit name escaping (unit_name_escape): "my-box" -> "my\x2dbox".
std::string escape_unit_name(std::string_view name);
// sd-bus's object path label escaping (bus_label_escape): "my-box" -> "my_2dbox".
std::string escape_bus_label(std::string_view name);
std::optional<std::string> unescape_bus_label(std::string_view label);

}  // namespace cuda_nspawn
