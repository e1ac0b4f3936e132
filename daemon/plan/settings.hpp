// systemd-nspawn settings files (systemd.nspawn(5)): reading the admin's, and composing it with ours. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "policy/policy.hpp"

namespace cuda_nspawn {

struct Setting {
    std::string section;  // "Exec", "Files", "Network"
    std::string key;
    std::string value;  // continuation lines joined as systemd does
    unsigned line = 0;  // where it begins
    bool operator==(const Setting&) const = default;
};

// Settings in order, or what is broken, each with its line (no section header, no '=', a NUL, too long, …).
std::variant<std::vector<Setting>, std::vector<Diagnostic>> parse_settings(std::string_view path,
                                                                           std::string_view text);

enum class SettingsOrigin {
    none,       // no file of the admin's
    trusted,    // in /etc/systemd/nspawn, or a foreign one in /run/systemd/nspawn
    untrusted,  // beside the image: nspawn ignores its privileged settings, so must what we compose from it
};

struct AdminSettings {
    SettingsOrigin origin = SettingsOrigin::none;
    std::string path;
    std::string text;
    bool operator==(const AdminSettings&) const = default;
};

// The text of the file nspawn shall read: header, the admin's (whole when trusted; only what nspawn honours from an
// untrusted file otherwise), then our three lines. A command that it runs instead of booting comes after our set-up.
// `notes` names what was left out, with its line and why. `errors`: broken file, or a setting that collides with ours
// (a mount on /run/cuda-nspawn[-store], SYSTEMD_UNIT_PATH=).
struct ComposedSettings {
    std::string text;
    std::vector<std::string> notes;
    std::vector<Diagnostic> errors;  // not empty: nothing is to be written
    std::optional<bool> boots;       // what the text's Boot= and ProcessTwo= say; nothing when they are absent
};
ComposedSettings compose_settings(std::string_view machine, std::string_view policy_path, const AdminSettings& admin,
                                  std::string_view machine_directory, std::string_view store_directory);

// What an ExecStart of systemd-nspawn@NAME.service does.
struct ExecStart {
    // What would make our settings file useless, or our settings file do to it (the file's binds replace those of the
    // command line). One sentence each with the line to write instead.
    std::vector<std::string> problems;
    bool boots = true;
};
// settings_boot: ComposedSettings::boots, since the file may switch booting on or off.
ExecStart read_exec_start(std::string_view machine, const std::vector<std::string>& argv,
                          const std::vector<std::string>& drop_in_paths, std::optional<bool> settings_boot = {});

}  // namespace cuda_nspawn
