#include <algorithm>

#include <fmt/format.h>

#include "names.hpp"
#include "plan/settings.hpp"
#include "plan/settings_merge.hpp"
#include "policy/suggestion.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::string_view unit_path_variable = "SYSTEMD_UNIT_PATH";

bool is_one_line(std::string_view text) {
    return std::ranges::none_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool is_at_or_below(std::string_view path, std::string_view directory) {
    return path == directory || (path.starts_with(directory) && path.substr(directory.size()).starts_with('/'));
}

Diagnostic at(const AdminSettings& admin, const Setting& setting, std::string message) {
    return {admin.path, setting.line, 0, std::move(message)};
}

// What goes into the text must not be able to end its line.
std::vector<Diagnostic> check_arguments(std::string_view policy_path, const AdminSettings& admin,
                                        std::string_view machine_directory, std::string_view store_directory) {
    std::vector<Diagnostic> errors;
    auto refuse = [&](std::string_view what, std::string_view path) {
        errors.push_back({"", 0, 0,
                          fmt::format("The {} {} cannot be written into a settings file; give it a plain "
                                      "absolute path.",
                                      what, quoted(path))});
    };
    if (!is_one_line(policy_path)) refuse("policy's path", policy_path);
    if (!is_one_line(admin.path)) refuse("settings file's path", admin.path);
    for (std::string_view directory : {machine_directory, store_directory}) {
        if (!is_one_line(directory) || !directory.starts_with('/')) refuse("directory", directory);
    }
    return errors;
}

std::optional<Diagnostic> collision(const AdminSettings& admin, const Setting& setting) {
    if (setting.section == "Exec" && setting.key == "Environment") {
        for (const std::string& word : split_words(setting.value)) {
            if (word.substr(0, word.find('=')) != unit_path_variable) continue;
            return at(admin, setting,
                      "SYSTEMD_UNIT_PATH is set here, and cuda-nspawn needs it to bring its units into the guest; take "
                      "it out and put the units into the guest's /etc/systemd/system.");
        }
    }
    auto destination = mount_destination(setting);
    if (!destination) return std::nullopt;
    for (std::string_view ours : {names::guest_directory, names::guest_store}) {
        if (is_at_or_below(*destination, ours)) {
            return at(admin, setting,
                      fmt::format("{}= mounts something on {}, which is where cuda-nspawn brings the "
                                  "driver in; mount it elsewhere.",
                                  setting.key, *destination));
        }
    }
    return std::nullopt;
}

// Which of the admin's settings nspawn shall see, and what is to be said of the others.
std::vector<Setting> choose_settings(std::string_view machine, const AdminSettings& admin,
                                     const std::vector<Setting>& settings, ComposedSettings& composed) {
    std::vector<Setting> chosen;
    for (const Setting& setting : settings) {
        if (admin.origin == SettingsOrigin::trusted) {
            chosen.push_back(setting);
            continue;
        }
        switch (classify_untrusted(setting, settings)) {
            case UntrustedSetting::honoured:
                chosen.push_back(setting);
                break;
            case UntrustedSetting::privileged:
                composed.notes.push_back(to_string(at(
                    admin, setting,
                    fmt::format("{}= has no effect in a file beside the image, as ever with systemd-nspawn; to have it "
                                "honoured, move it to /etc/systemd/nspawn/{}.nspawn.",
                                setting.key, machine))));
                break;
            case UntrustedSetting::unknown:
                composed.notes.push_back(
                    to_string(at(admin, setting,
                                 fmt::format("{} in section {} is no setting of systemd-nspawn and was left out.",
                                             quoted(setting.key), quoted(setting.section)))));
                break;
        }
    }
    return chosen;
}

std::string write_settings(const std::vector<Setting>& settings) {
    std::string text;
    std::string_view section;
    for (const Setting& setting : settings) {
        if (setting.section != section) text += fmt::format("[{}]\n", setting.section);
        section = setting.section;
        text += fmt::format("{}={}\n", setting.key, setting.value);
    }
    return text;
}

std::string admin_text(const AdminSettings& admin, const std::vector<Setting>& chosen) {
    if (admin.origin == SettingsOrigin::untrusted) return write_settings(chosen);
    std::string_view text = admin.text;
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
    return fmt::format("{}\n", text);
}

std::string our_lines(std::string_view machine_directory, std::string_view store_directory) {
    return fmt::format("[Files]\nBindReadOnly={}:{}\nBindReadOnly={}:{}\n\n[Exec]\nEnvironment={}={}/guest/units:\n",
                       escape_bind_path(machine_directory), names::guest_directory, escape_bind_path(store_directory),
                       names::guest_store, unit_path_variable, names::guest_directory);
}

// The words of the command as the file has them: a later Parameters= adds to those before, an empty one takes them
// back.
std::string command_words(const std::vector<Setting>& settings) {
    std::string words;
    for (const Setting& setting : settings) {
        if (setting.section != "Exec" || setting.key != "Parameters") continue;
        if (setting.value.empty())
            words.clear();
        else
            words += " " + setting.value;
    }
    return words;
}

// A command that runs instead of a systemd needs its GPU at once: it is executed by our set-up.
std::string command_after_set_up(const std::vector<Setting>& settings) {
    const std::string words = command_words(settings);
    return words.empty() ? ""
                         : fmt::format("Parameters=\nParameters={}/guest/setup run{}\n", names::guest_directory, words);
}

// What is to follow our lines.
std::string compose_admin(std::string_view machine, const AdminSettings& admin, ComposedSettings& composed) {
    auto parsed = parse_settings(admin.path, admin.text);
    if (auto* broken = std::get_if<std::vector<Diagnostic>>(&parsed)) {
        composed.errors = std::move(*broken);
        return "";
    }
    auto chosen = choose_settings(machine, admin, std::get<std::vector<Setting>>(parsed), composed);
    for (const Setting& setting : chosen) {
        if (auto error = collision(admin, setting)) composed.errors.push_back(std::move(*error));
    }
    composed.boots = settings_boot(chosen);
    composed.text += fmt::format("# and from {}: a change belongs there.\n", admin.path);
    composed.text += admin_text(admin, chosen);
    return composed.boots == false ? command_after_set_up(chosen) : "";
}

}  // namespace

ComposedSettings compose_settings(std::string_view machine, std::string_view policy_path, const AdminSettings& admin,
                                  std::string_view machine_directory, std::string_view store_directory) {
    ComposedSettings composed;
    composed.errors = check_arguments(policy_path, admin, machine_directory, store_directory);
    if (!composed.errors.empty()) return composed;
    composed.text = fmt::format("{}{}\n", names::generated_mark, policy_path);
    const std::string command = admin.origin == SettingsOrigin::none ? "" : compose_admin(machine, admin, composed);
    // The empty line ends a continuation that the admin's last line may have begun.
    composed.text += fmt::format("\n{}{}", our_lines(machine_directory, store_directory), command);
    if (!composed.errors.empty()) composed.text.clear();
    return composed;
}

}  // namespace cuda_nspawn
