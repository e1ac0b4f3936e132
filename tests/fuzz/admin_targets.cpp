// What an admin writes: policies, settings files, units; and names.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <variant>
#include <vector>

#include "plan/nspawn_options.hpp"
#include "plan/settings.hpp"
#include "plan/settings_merge.hpp"
#include "policy/gpu_selector.hpp"
#include "policy/machine_name.hpp"
#include "policy/policy.hpp"
#include "policy/text_check.hpp"
#include "targets.hpp"

namespace cuda_nspawn::fuzz {

namespace {

void require_places(const std::vector<Diagnostic>& diagnostics, std::string_view path, std::string_view text) {
    require(!diagnostics.empty(), "what is refused is told why");
    const auto lines = static_cast<unsigned>(std::count(text.begin(), text.end(), '\n') + 1);
    for (const Diagnostic& one : diagnostics) {
        require(one.path == path, "a diagnostic names the file");
        // YAML ends a line at a carriage return too.
        const auto returns = static_cast<unsigned>(std::count(text.begin(), text.end(), '\r'));
        require(one.line <= lines + returns, "a diagnostic's line is one of the file");
        require(!one.message.empty() && one.message.size() < 4096, "a diagnostic is a sentence");
        require(!find_invalid_utf8(one.message), "a diagnostic can go over the bus");
        require(one.message.find('\n') == std::string::npos, "a diagnostic is one line");
    }
}

void require_policy(const Policy& policy) {
    require(std::is_sorted(policy.capabilities.begin(), policy.capabilities.end()), "capabilities are sorted");
    require(std::adjacent_find(policy.capabilities.begin(), policy.capabilities.end()) == policy.capabilities.end(),
            "capabilities are unique");
    require(!(policy.all_gpus && !policy.gpus.empty()), "all GPUs or some");
    for (const GpuSelector& gpu : policy.gpus) {
        const auto again = parse_gpu_selector(to_string(gpu));
        require(std::holds_alternative<GpuSelector>(again) && std::get<GpuSelector>(again) == gpu,
                "a selector's text is the selector");
    }
}

constexpr const char* our_machine_directory = "/run/cuda-nspawn/machines/box";
constexpr const char* our_store = "/var/lib/cuda-nspawn/driver";

}  // namespace

void fuzz_policy(std::string_view text) {
    constexpr const char* path = "/etc/cuda-nspawn/machines/box.yaml";
    const PolicyResult result = parse_policy(path, text);
    if (const auto* diagnostics = std::get_if<1>(&result)) return require_places(*diagnostics, path, text);
    require(std::get<0>(result).machine == "box" && std::get<0>(result).path == path, "a policy knows its file");
    require_policy(std::get<0>(result));
}

void fuzz_defaults(std::string_view text) {
    constexpr const char* path = "/etc/cuda-nspawn/defaults.yaml";
    const auto result = parse_defaults(path, text);
    if (const auto* diagnostics = std::get_if<1>(&result)) return require_places(*diagnostics, path, text);
    require_policy(std::get<0>(result));
}

void fuzz_names(std::string_view text) {
    const auto error = machine_name_error(text);
    if (error) require(!error->empty() && !find_invalid_utf8(*error), "an error can go over the bus");
    if (!error) {
        require(text.find_first_of("/_%\\ \n@:") == std::string_view::npos,
                "a machine's name is no path and no option");
        require(text != "." && text != "..", "a machine's name is no directory's");
    }
    require(unescape_bus_label(escape_bus_label(text)) == std::string(text), "a label can be taken back");
    for (const char c : escape_bus_label(text))
        require(std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_', "a label is one of a path");
    if (const auto name = unescape_bus_label(text))
        require(name->size() <= text.size(), "no name is longer than its label");
    require(escape_unit_name(text).find_first_of("/ \n%@") == std::string::npos,
            "an escaped name stays within its unit's");
    parse_gpu_selector(text);
}

// The first part: what is composed from an untrusted file must never become trusted. The second is read as a trusted
// one.
void fuzz_settings(std::string_view text) {
    for (const SettingsOrigin origin : {SettingsOrigin::untrusted, SettingsOrigin::trusted}) {
        const AdminSettings admin{origin, "/var/lib/machines/box.nspawn", std::string(text)};
        const ComposedSettings composed =
            compose_settings("box", "/etc/cuda-nspawn/machines/box.yaml", admin, our_machine_directory, our_store);
        if (!composed.errors.empty()) {
            require_places(composed.errors, admin.path, text);
            continue;
        }
        const auto again = parse_settings("composed", composed.text);
        require(std::holds_alternative<std::vector<Setting>>(again), "what is composed can be read");
        const auto& settings = std::get<std::vector<Setting>>(again);
        const auto ours = std::count_if(settings.begin(), settings.end(), [](const Setting& one) {
            return one.section == "Files" && one.key == "BindReadOnly" && one.value.starts_with(our_machine_directory);
        });
        require(ours == 1, "the composed settings have our mount, once");
        if (origin == SettingsOrigin::untrusted)
            for (const Setting& one : settings) {
                const bool is_ours = one.value.find("/run/cuda-nspawn") != std::string::npos;
                require(is_ours || classify_untrusted(one, settings) != UntrustedSetting::privileged,
                        "nothing privileged comes from an untrusted file");
            }
    }
    for (std::size_t begin = 0; begin < std::min<std::size_t>(text.size(), 64); ++begin)
        split_words(text.substr(begin));
}

// Words of a command line, a line each.
void fuzz_exec_start(std::string_view text) {
    std::vector<std::string> argv;
    while (!text.empty() && argv.size() < 256) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        argv.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    const NspawnCommand command = parse_nspawn_command(argv);
    require(command.options.size() + command.parameters.size() <= 64 + argv.size() * 64,
            "no more options than were written");
    for (const std::string& problem : read_exec_start("box", argv, {"/etc/systemd/system/x.conf"}).problems)
        require(!problem.empty(), "a problem is a sentence");
    for (const std::string& word : argv) {
        parse_boolean(word);
        split_words(word);
        const std::string escaped = escape_bind_path(word);
        require(escaped.size() <= 2 * word.size(), "escaping adds a character at most");
    }
}

}  // namespace cuda_nspawn::fuzz
