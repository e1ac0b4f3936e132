#include "plan/settings_merge.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

using namespace std::string_view_literals;

// merge_settings(): everything it takes over without asking arg_settings_trusted. BindUser= is left out although those
// versions take it: systemd.nspawn(5) calls it privileged, and a text of ours is trusted whatever the version.
constexpr std::array honoured = {
    "Exec.Boot"sv,       "Exec.DropCapability"sv,   "Exec.Environment"sv, "Exec.Ephemeral"sv,    "Exec.Hostname"sv,
    "Exec.KillSignal"sv, "Exec.NoNewPrivileges"sv,  "Exec.NotifyReady"sv, "Exec.Parameters"sv,   "Exec.Personality"sv,
    "Exec.PivotRoot"sv,  "Exec.ProcessTwo"sv,       "Exec.ResolvConf"sv,  "Exec.SuppressSync"sv, "Exec.Timezone"sv,
    "Exec.User"sv,       "Exec.WorkingDirectory"sv, "Files.ReadOnly"sv,   "Files.Volatile"sv,
};

constexpr std::array privileged = {
    "Exec.AmbientCapability"sv,
    "Exec.CPUAffinity"sv,
    "Exec.Capability"sv,
    "Exec.LinkJournal"sv,
    "Exec.MachineID"sv,
    "Exec.OOMScoreAdjust"sv,
    "Exec.PrivateUsers"sv,
    "Files.Bind"sv,
    "Files.BindReadOnly"sv,
    "Files.BindUser"sv,
    "Files.Inaccessible"sv,
    "Files.Overlay"sv,
    "Files.OverlayReadOnly"sv,
    "Files.PrivateUsersChown"sv,
    "Files.PrivateUsersOwnership"sv,
    "Files.TemporaryFileSystem"sv,
};

template <typename Names>
bool contains(const Names& names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

bool is_syscall_filter(const Setting& setting) {
    return setting.section == "Exec" && setting.key == "SystemCallFilter";
}

// Fields between colons; a backslash takes the meaning from the character after it.
std::vector<std::string> split_fields(std::string_view value) {
    std::vector<std::string> fields(1);
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (value[i] == '\\' && i + 1 < value.size()) {
            fields.back() += value[++i];
        } else if (value[i] == ':') {
            fields.emplace_back();
        } else {
            fields.back() += value[i];
        }
    }
    return fields;
}

// Without "//", "." and ".."; /var/run is the old name of /run.
std::string normalize(std::string_view path) {
    std::vector<std::string_view> parts;
    while (!path.empty()) {
        std::size_t end = std::min(path.find('/'), path.size());
        std::string_view part = path.substr(0, end);
        path.remove_prefix(std::min(end + 1, path.size()));
        if (part == ".." && !parts.empty()) parts.pop_back();
        if (!part.empty() && part != "." && part != "..") parts.push_back(part);
    }
    if (parts.size() >= 2 && parts[0] == "var" && parts[1] == "run") parts.erase(parts.begin());
    std::string result;
    for (std::string_view part : parts) result += fmt::format("/{}", part);
    return result.empty() ? "/" : result;
}

std::string without_plus(std::string_view path) { return std::string(path.starts_with('+') ? path.substr(1) : path); }

}  // namespace

std::optional<bool> parse_boolean(std::string_view text) {
    std::string folded(text);
    for (char& c : folded) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if (contains(std::array{"1"sv, "yes"sv, "y"sv, "true"sv, "t"sv, "on"sv}, folded)) return true;
    if (contains(std::array{"0"sv, "no"sv, "n"sv, "false"sv, "f"sv, "off"sv}, folded)) return false;
    return std::nullopt;
}

UntrustedSetting classify_untrusted(const Setting& setting, const std::vector<Setting>& settings) {
    if (is_syscall_filter(setting)) {
        // With an allow list anywhere in the file nspawn drops the deny lists too.
        bool allows = std::ranges::any_of(settings, [](const Setting& other) {
            return is_syscall_filter(other) && !other.value.empty() && !other.value.starts_with('~');
        });
        return allows ? UntrustedSetting::privileged : UntrustedSetting::honoured;
    }
    std::string name = fmt::format("{}.{}", setting.section, setting.key);
    if (contains(honoured, name)) return UntrustedSetting::honoured;
    bool limit = setting.section == "Exec" && setting.key.starts_with("Limit");
    if (contains(privileged, name) || limit || setting.section == "Network") return UntrustedSetting::privileged;
    return UntrustedSetting::unknown;
}

std::optional<bool> settings_boot(const std::vector<Setting>& settings) {
    enum class Mode { unset, first_process, boot, second_process };
    Mode mode = Mode::unset;
    for (const Setting& setting : settings) {
        bool is_boot = setting.key == "Boot";
        if (setting.section != "Exec" || (!is_boot && setting.key != "ProcessTwo")) continue;
        auto value = parse_boolean(setting.value);
        if (!value) continue;
        Mode wanted = is_boot ? Mode::boot : Mode::second_process;
        Mode other = is_boot ? Mode::second_process : Mode::boot;
        if (*value && mode != other) mode = wanted;
        if (!*value && mode == Mode::unset) mode = Mode::first_process;
    }
    if (mode == Mode::unset) return std::nullopt;
    return mode == Mode::boot;
}

std::vector<std::string> split_words(std::string_view value) {
    std::vector<std::string> words;
    bool in_word = false;
    char quote = 0;
    for (std::size_t i = 0; i < value.size(); ++i) {
        char c = value[i];
        if (quote == 0 && (c == ' ' || c == '\t')) {
            in_word = false;
            continue;
        }
        if (!in_word) words.emplace_back();
        in_word = true;
        if (c == quote) {
            quote = 0;
        } else if (quote == 0 && (c == '"' || c == '\'')) {
            quote = c;
        } else {
            if (c == '\\' && i + 1 < value.size()) words.back() += value[i++];
            words.back() += value[i];
        }
    }
    return words;
}

std::optional<std::string> mount_destination(const Setting& setting) {
    if (setting.section != "Files") return std::nullopt;
    if (setting.key == "Inaccessible") return normalize(setting.value);
    std::vector<std::string> fields = split_fields(setting.value);
    if (setting.key == "TemporaryFileSystem") return normalize(fields[0]);
    if (setting.key == "Bind" || setting.key == "BindReadOnly") {
        return normalize(fields.size() > 1 ? fields[1] : without_plus(fields[0]));
    }
    if (setting.key == "Overlay" || setting.key == "OverlayReadOnly") return normalize(without_plus(fields.back()));
    return std::nullopt;
}

std::string bind_source(const Setting& setting) { return split_fields(setting.value)[0]; }

std::string escape_bind_path(std::string_view path) {
    std::string escaped;
    for (char c : path) {
        if (c == ':' || c == '\\') escaped += '\\';
        escaped += c;
    }
    return escaped;
}

}  // namespace cuda_nspawn
