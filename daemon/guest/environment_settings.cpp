#include "guest/environment_settings.hpp"

#include <algorithm>
#include <ranges>
#include <set>
#include <utility>

#include "guest/environment_text.hpp"
#include "guest/path_patterns.hpp"
#include "guest/printable.hpp"
#include "guest/unit_files.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_file = std::size_t{64} * 1024;
constexpr std::size_t most_settings = 256;
constexpr std::size_t most_files = 128;  // that a pattern names
constexpr std::size_t longest_path = 256;
constexpr std::string_view login_environment = "/etc/environment";
constexpr std::string_view manager_drop_ins = "/etc/systemd/system.conf.d/*.conf";
constexpr std::string_view manager_file = "/etc/systemd/system.conf";

class SettingsReader {
public:
    explicit SettingsReader(const GuestTree& tree) : tree_(tree) {}

    void read_units() {
        std::vector<EnvironmentSetting> own;    // of one unit, by Environment=
        std::vector<EnvironmentSetting> files;  // and by EnvironmentFile=, which come after them
        std::string unit;
        const auto end_unit = [&] {
            add(std::exchange(own, {}));
            add(std::exchange(files, {}));
        };
        for (const UnitFile& file : find_service_files(tree_)) {
            if (file.unit != unit) end_unit();
            unit = file.unit;
            const auto text = tree_.read(file.path, longest_unit_file);
            if (!text || text->find("Environment") == std::string::npos) continue;
            for (const UnitLine& line : parse_unit(*text, "Service")) {
                if (line.key == "Environment") {
                    if (line.value.empty()) own.clear();
                    append(own, file.path, unit, unit_assignments(line.line, line.value));
                } else if (line.key == "EnvironmentFile") {
                    if (line.value.empty()) files.clear();
                    read_environment_file(line.value, unit, files);
                }
            }
        }
        end_unit();
    }

    void read_manager() {
        std::vector<std::string> paths{std::string(manager_file)};
        const auto drop_ins = expand_pattern(tree_, manager_drop_ins, most_files);
        paths.insert(paths.end(), drop_ins.begin(), drop_ins.end());
        for (const std::string& path : paths)
            for (const UnitLine& line : parse_unit(tree_.read(path, longest_file).value_or(""), "Manager"))
                if (line.key == "DefaultEnvironment")  // ManagerEnvironment= reaches no service
                    append(settings, path, "", unit_assignments(line.line, line.value));
    }

    template <class Parse>
    void read_files(std::string_view pattern, Parse&& parse) {
        for (const std::string& path : expand_pattern(tree_, pattern, most_files))
            if (!of_units_.contains(path))
                if (const auto text = tree_.read(path, longest_file)) append(settings, path, "", parse(*text));
    }

    std::vector<EnvironmentSetting> settings;

private:
    static void append(std::vector<EnvironmentSetting>& to, const std::string& file, const std::string& unit,
                       std::vector<Assignment> assignments) {
        for (Assignment& one : assignments)
            if (to.size() < most_settings)
                to.push_back(
                    {printable(file, longest_path), one.line, unit, std::move(one.name), std::move(one.value)});
    }

    void add(std::vector<EnvironmentSetting> more) {
        for (EnvironmentSetting& one : more)
            if (settings.size() < most_settings) settings.push_back(std::move(one));
    }

    void read_environment_file(std::string_view path, const std::string& unit, std::vector<EnvironmentSetting>& to) {
        if (path.starts_with('-')) path.remove_prefix(1);  // it need not exist
        if (!path.starts_with('/') || path.size() > longest_path || path.find('%') != std::string_view::npos) return;
        for (const std::string& file : expand_pattern(tree_, path, most_files)) {
            const auto text = tree_.read(file, longest_file);
            if (!text) continue;
            of_units_.insert(file);
            append(to, file, unit, environment_file_assignments(*text));
        }
    }

    const GuestTree& tree_;
    std::set<std::string> of_units_;  // files that were told of with their unit
};

// ld.so(8): paths, with white space or colons between; no comments, but shells' are common.
std::vector<Assignment> preload_assignments(std::string_view text) {
    constexpr std::size_t longest = 1024;
    std::vector<Assignment> assignments;
    for (const Line& line : logical_lines(text))
        if (assignments.size() < most_files)
            assignments.push_back({line.number, "LD_PRELOAD", printable(line.text, longest)});
    return assignments;
}

bool applies_to_all_services(const EnvironmentSetting& setting) {
    return setting.unit.empty() &&
           (setting.file.starts_with(manager_file) || setting.file.find("/service.d/") != std::string::npos);
}

}  // namespace

std::vector<EnvironmentSetting> find_environment_settings(const GuestTree& tree) {
    SettingsReader reader(tree);
    reader.read_files("/etc/ld.so.preload", preload_assignments);
    reader.read_units();
    reader.read_manager();
    reader.read_files(login_environment, environment_file_assignments);
    reader.read_files("/etc/environment.d/*.conf", environment_file_assignments);
    reader.read_files("/etc/security/pam_env.conf", pam_assignments);
    for (const std::string_view pattern : {"/etc/default/*", "/etc/profile", "/etc/profile.d/*.sh", "/etc/bash.bashrc",
                                           "/etc/bashrc", "/root/.bashrc", "/root/.profile", "/root/.bash_profile"})
        reader.read_files(pattern, shell_assignments);
    return std::move(reader.settings);
}

std::string library_path_of(const GuestTree& tree, const std::vector<EnvironmentSetting>& settings,
                            std::string_view program) {
    std::vector<const EnvironmentSetting*> paths;
    std::ranges::for_each(settings, [&](const EnvironmentSetting& one) {
        if (one.name == "LD_LIBRARY_PATH") paths.push_back(&one);
    });
    const auto is_of_services = [](const EnvironmentSetting* one) {
        return !one->unit.empty() || applies_to_all_services(*one);
    };
    // Who asks that reads all units.
    if (std::ranges::any_of(paths, is_of_services)) {
        const std::set<std::string> units = units_that_run(tree, program);
        for (const EnvironmentSetting* one : std::views::reverse(paths))
            if (units.contains(one->unit)) return one->value;
        for (const EnvironmentSetting* one : std::views::reverse(paths))
            if (!units.empty() && applies_to_all_services(*one)) return one->value;
    }
    for (const EnvironmentSetting* one : std::views::reverse(paths))
        if (one->file == login_environment) return one->value;
    return "";
}

}  // namespace cuda_nspawn
