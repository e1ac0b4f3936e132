#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "plan/nspawn_options.hpp"
#include "plan/settings.hpp"
#include "plan/settings_merge.hpp"
#include "policy/suggestion.hpp"

namespace cuda_nspawn {
namespace {

// Options of the command line that a settings file of ours meets: where they belong in such a file.
struct Counterpart {
    std::string_view option;
    std::string_view section;
    std::string_view key;
};
constexpr std::array counterparts = {
    Counterpart{"bind", "Files", "Bind"},
    Counterpart{"bind-ro", "Files", "BindReadOnly"},
    Counterpart{"tmpfs", "Files", "TemporaryFileSystem"},
    Counterpart{"overlay", "Files", "Overlay"},
    Counterpart{"overlay-ro", "Files", "OverlayReadOnly"},
    Counterpart{"inaccessible", "Files", "Inaccessible"},
    Counterpart{"setenv", "Exec", "Environment"},
};

// parse_argv() of nspawn: --settings=. Without the option it is "yes".
enum class SettingsMode { ignored, command_line_first, file_first };

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string setting_line(const Counterpart& counterpart, const std::string& value) {
    if (counterpart.option != "setenv") return fmt::format("{}={}", counterpart.key, value);
    std::string assignment = value.find('=') == std::string::npos ? value + "=VALUE" : value;
    if (assignment.find_first_of(" \t'") == std::string::npos) return fmt::format("Environment={}", assignment);
    return fmt::format("Environment=\"{}\"", assignment);
}

class ExecStartReader {
public:
    ExecStartReader(std::string_view machine, const std::vector<std::string>& argv,
                    const std::vector<std::string>& drop_in_paths)
        : machine_(machine), unit_(fmt::format("systemd-nspawn@{}.service", machine)), argv_(argv) {
        if (drop_in_paths.empty()) return;
        unit_ += " (see ";
        for (std::size_t i = 0; i < drop_in_paths.size(); ++i) unit_ += (i ? ", " : "") + drop_in_paths[i];
        unit_ += ")";
    }

    ExecStart read(std::optional<bool> settings_boot) {
        // The program may be started through another one (env, nice), which we follow as far as its name is seen.
        auto program =
            std::ranges::find_if(argv_, [](const std::string& word) { return file_name(word) == "systemd-nspawn"; });
        if (program == argv_.end()) {
            problem("runs {} and not systemd-nspawn, so no settings file is read: let ExecStart= be systemd-nspawn's.",
                    argv_.empty() ? "nothing" : quoted(argv_.front()));
            return std::move(result_);
        }
        command_ = parse_nspawn_command({program, argv_.end()});
        SettingsMode mode = check_settings_mode();
        if (mode == SettingsMode::ignored) return std::move(result_);
        check_counterparts(mode);
        check_machine();
        check_registration();
        result_.boots = boots(mode, settings_boot);
        return std::move(result_);
    }

private:
    template <typename... Args>
    void problem(fmt::format_string<Args...> format, Args&&... args) {
        result_.problems.push_back(fmt::format("{} {}", unit_, fmt::format(format, std::forward<Args>(args)...)));
    }

    SettingsMode check_settings_mode() {
        if (auto bundle = command_.value("oci-bundle")) {
            problem(
                "runs the OCI bundle {}, for which systemd-nspawn reads no settings file: take --oci-bundle= out "
                "and let it boot a directory.",
                quoted(*bundle));
            return SettingsMode::ignored;
        }
        auto value = command_.value("settings");
        if (!value || *value == "trusted") return SettingsMode::command_line_first;
        if (*value == "override") return SettingsMode::file_first;
        auto boolean = parse_boolean(*value);
        if (boolean == true) return SettingsMode::command_line_first;
        problem(
            "passes --settings={}, so the settings file that brings the driver in is never read: write "
            "--settings=override.",
            *value);
        return SettingsMode::ignored;
    }

    // nspawn merges nothing. Of each kind (mounts, variables) either the file's count or the command line's.
    void check_counterparts(SettingsMode mode) {
        for (const NspawnOption& option : command_.options) {
            auto found = std::ranges::find(counterparts, option.name, &Counterpart::option);
            if (found == counterparts.end()) continue;
            std::string line = setting_line(*found, option.value);
            std::string_view kind = found->section == "Files" ? "mounts" : "variables";
            if (mode == SettingsMode::file_first) {
                problem(
                    "passes {}, which systemd-nspawn drops because the settings file has {} too: write '{}' under "
                    "[{}] in /etc/systemd/nspawn/{}.nspawn instead.",
                    quoted(option.text), kind, line, found->section, machine_);
            } else {
                problem(
                    "passes {} without --settings=override, so systemd-nspawn drops the {} of the settings file, "
                    "and the driver with them: pass --settings=override, and write '{}' under [{}] in "
                    "/etc/systemd/nspawn/{}.nspawn instead.",
                    quoted(option.text), kind, line, found->section, machine_);
            }
        }
    }

    // The settings file's name comes from the machine's, and that from the image's when it is not given.
    void check_machine() {
        auto name = command_.value("machine");
        if (name && !name->empty()) {
            if (*name != machine_) {
                problem("passes --machine={}, so another machine's settings file is read: write --machine={}.", *name,
                        machine_);
            }
            return;
        }
        for (std::string_view option : {"directory", "image"}) {
            auto path = command_.value(option);
            if (!path) continue;
            std::string_view from_path = *path;
            while (from_path.size() > 1 && from_path.ends_with('/')) from_path.remove_suffix(1);
            from_path = file_name(from_path);
            if (option == "image" && from_path.ends_with(".raw")) from_path.remove_suffix(4);
            if (from_path == machine_) return;
        }
        problem("does not pass --machine={}, so the settings file is not found: add it.", machine_);
    }

    bool boots(SettingsMode mode, std::optional<bool> settings_boot) const {
        bool given = command_.has("boot") || command_.has("as-pid2") || !command_.parameters.empty();
        bool file_decides = settings_boot && (mode == SettingsMode::file_first || !given);
        return file_decides ? *settings_boot : command_.has("boot");
    }

    void check_registration() {
        auto value = command_.value("register");
        if (!value || parse_boolean(*value) != false) return;
        problem(
            "passes --register={}, so systemd-machined does not know the machine and nobody can see it start: take "
            "it out.",
            *value);
    }

    std::string machine_;
    std::string unit_;
    const std::vector<std::string>& argv_;
    NspawnCommand command_;
    ExecStart result_;
};

}  // namespace

ExecStart read_exec_start(std::string_view machine, const std::vector<std::string>& argv,
                          const std::vector<std::string>& drop_in_paths, std::optional<bool> settings_boot) {
    return ExecStartReader(machine, argv, drop_in_paths).read(settings_boot);
}

}  // namespace cuda_nspawn
