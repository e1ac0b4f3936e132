// What systemd-nspawn does with settings, as far as we must foresee it (systemd 252 to 257: merge_settings(),
// config_parse_boot(), config_parse_strv(), bind_mount_parse() and their neighbours in src/nspawn).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plan/settings.hpp"

namespace cuda_nspawn {

// systemd's parse_boolean().
std::optional<bool> parse_boolean(std::string_view text);

enum class UntrustedSetting {
    honoured,    // has its effect from an untrusted file too
    privileged,  // ignored there
    unknown,     // ignored everywhere
};
// `settings`: the whole file, since one SystemCallFilter= that allows something makes all of them privileged.
UntrustedSetting classify_untrusted(const Setting& setting, const std::vector<Setting>& settings);

// Whether the file makes the machine boot; nothing when it does not say.
std::optional<bool> settings_boot(const std::vector<Setting>& settings);

// Words of a value with quotes taken off.
std::vector<std::string> split_words(std::string_view value);

// Where a setting mounts something in the guest, normalized ("/run/x"); nothing when it mounts nothing.
std::optional<std::string> mount_destination(const Setting& setting);

// What a Bind= or BindReadOnly= mounts, as it stands there: "+…" lies in the image, "" is made for the purpose.
std::string bind_source(const Setting& setting);

// A path as one field of a Bind= value: ':' and '\' are escaped. ('%' means nothing in these files.)
std::string escape_bind_path(std::string_view path);

}  // namespace cuda_nspawn
