// The machine's settings file, as a diagnosis wants it: where it lies, what it binds, what of it has no effect.
#include <fmt/format.h>

#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <utility>
#include <variant>

#include "plan/settings_merge.hpp"
#include "worker/images.hpp"
#include "worker/survey.hpp"

namespace cuda_nspawn {

namespace {

// Of what nspawn looks up on the host; "+…" is in the image, and "" is a directory of nspawn's own.
void add_bind(const SurveyHost& host, const Setting& setting, MachineEvidence& evidence) {
    if (setting.section != "Files" || (setting.key != "Bind" && setting.key != "BindReadOnly")) return;
    const auto destination = mount_destination(setting);
    const std::string source = bind_source(setting);
    if (!destination || !source.starts_with('/')) return;
    SettingsBind bind{setting.line, source, *destination};
    struct stat status{};
    const bool is_seen = ::stat((host.root / source.substr(1)).c_str(), &status) == 0;
    bind.is_there = is_seen || (errno != ENOENT && errno != ENOTDIR);  // what may not be looked at is there
    bind.is_directory = is_seen && S_ISDIR(status.st_mode);
    evidence.binds.push_back(std::move(bind));
}

}  // namespace

void survey_settings(const SurveyHost& host, const std::string& machine, MachineEvidence& evidence) {
    const std::string image = find_image(host.root, machine);
    evidence.settings = read_admin_settings(Tree(host.root, ""), machine, image);
    const std::string text = std::exchange(evidence.settings.text, "");
    if (evidence.settings.origin == SettingsOrigin::none) return;
    auto parsed = parse_settings(evidence.settings.path, text);
    const auto* settings = std::get_if<std::vector<Setting>>(&parsed);
    if (settings == nullptr) return;  // the composing says so, with its line
    evidence.settings_lines = *settings;
    for (const Setting& setting : *settings) {
        if (evidence.settings.origin == SettingsOrigin::trusted)
            add_bind(host, setting, evidence);
        else if (classify_untrusted(setting, *settings) == UntrustedSetting::privileged)
            evidence.settings_notes.push_back(
                fmt::format("{}:{}: {}= has no effect in a file beside the image, as ever with systemd-nspawn.",
                            evidence.settings.path, setting.line, setting.key));
    }
}

}  // namespace cuda_nspawn
