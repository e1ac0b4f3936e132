#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>

#include "policy/gpu_selector.hpp"
#include "policy/machine_name.hpp"
#include "policy/policy.hpp"
#include "policy/suggestion.hpp"
#include "policy/yaml_tree.hpp"

namespace cuda_nspawn {
namespace {

using namespace std::string_view_literals;
using Kind = YamlNode::Kind;

constexpr std::array keys = {"gpus"sv, "capabilities"sv, "self_test"sv, "on_failure"sv, "sockets"sv};
constexpr std::array later_keys = {"require"sv, "features"sv};
constexpr std::array capabilities = {"compute"sv, "utility"sv, "graphics"sv, "video"sv,
                                     "display"sv, "ngx"sv,     "compat32"sv};
constexpr std::array host_sockets = {"persistenced"sv, "fabricmanager"sv};
constexpr std::array self_test_levels = {"off"sv, "quick"sv, "full"sv};
constexpr std::array failure_actions = {"warn"sv, "detach"sv, "stop"sv};

std::string_view describe(Kind kind) {
    switch (kind) {
        case Kind::null:
            return "nothing";
        case Kind::scalar:
            return "a single value";
        case Kind::list:
            return "a list";
        case Kind::map:
            return "a map";
    }
    return "";
}

// Reads one map of settings into a policy and collects every mistake on the way.
class PolicyReader {
public:
    PolicyReader(std::string_view path, Policy& policy) : path_(path), policy_(policy) {}

    // Whether `gpus` was there.
    bool read(const YamlNode& root) {
        if (root.kind == Kind::null) return false;
        if (root.kind != Kind::map) {
            report(root, fmt::format("The file holds {}; it must hold lines like 'gpus: all'.", describe(root.kind)));
            return true;
        }
        std::set<std::string> seen;
        for (const auto& [key, value] : root.entries) {
            if (key.kind != Kind::scalar) {
                report(key, fmt::format("A key must be a word; here it is {}.", describe(key.kind)));
            } else if (!seen.insert(key.text).second) {
                report(key, fmt::format("{} is given twice; keep one of the two.", quoted(key.text)));
            } else {
                read_entry(key, value);
            }
        }
        return seen.contains("gpus");
    }

    void report(const YamlNode& node, std::string message) {
        diagnostics_.push_back({path_, node.line, node.column, std::move(message)});
    }

    std::vector<Diagnostic> take_diagnostics() { return std::move(diagnostics_); }

private:
    void read_entry(const YamlNode& key, const YamlNode& value) {
        if (key.text == "gpus") {
            read_gpus(value);
        } else if (key.text == "capabilities") {
            read_capabilities(value);
        } else if (key.text == "self_test") {
            if (auto i = read_word(key, value, self_test_levels)) policy_.self_test = static_cast<SelfTestLevel>(*i);
        } else if (key.text == "on_failure") {
            if (auto i = read_word(key, value, failure_actions)) policy_.on_failure = static_cast<OnFailure>(*i);
        } else if (key.text == "sockets") {
            read_sockets(key, value);
        } else if (std::ranges::find(later_keys, key.text) != later_keys.end()) {
            report(key, fmt::format("'{}' is not supported by this version; take the key out.", key.text));
        } else {
            report(key, fmt::format("{} is no key of a policy{}; the keys are {}.", quoted(key.text),
                                    suggest(key.text, keys), enumerate(keys)));
        }
    }

    std::optional<std::size_t> read_word(const YamlNode& key, const YamlNode& value,
                                         std::span<const std::string_view> words) {
        if (value.kind != Kind::scalar) {
            report(value.kind == Kind::null ? key : value,
                   fmt::format("'{}' has {} where it needs one of {}.", key.text, describe(value.kind),
                               enumerate(words, " or ")));
            return std::nullopt;
        }
        auto found = std::ranges::find(words, value.text);
        if (found == words.end()) {
            report(value, fmt::format("'{}' cannot be {}{}; it is one of {}.", key.text, quoted(value.text),
                                      suggest(value.text, words), enumerate(words, " or ")));
            return std::nullopt;
        }
        return static_cast<std::size_t>(found - words.begin());
    }

    void read_gpus(const YamlNode& value) {
        policy_.all_gpus = false;
        policy_.gpus.clear();
        if (value.kind == Kind::scalar && value.text == "all") {
            policy_.all_gpus = true;
        } else if (value.kind == Kind::scalar && value.text != "none") {
            read_gpu(value);
        } else if (value.kind == Kind::list) {
            for (const YamlNode& item : value.items) read_gpu(item);
        } else if (value.kind == Kind::map) {
            report_choice_by_model(value);
        } else if (value.kind == Kind::null) {
            report(value, "'gpus' has no value: write 'all', 'none' or a list of GPUs.");
        }
    }

    void read_gpu(const YamlNode& item) {
        if (item.kind == Kind::map) return report_choice_by_model(item);
        if (item.kind != Kind::scalar) {
            report(item, fmt::format("An entry of 'gpus' is an index, a UUID or a PCI address; here it is {}.",
                                     describe(item.kind)));
            return;
        }
        auto parsed = parse_gpu_selector(item.text);
        if (auto* problem = std::get_if<std::string>(&parsed)) return report(item, std::move(*problem));
        auto& selector = std::get<GpuSelector>(parsed);
        if (std::ranges::find(policy_.gpus, selector) != policy_.gpus.end()) {
            report(item, fmt::format("GPU {} is listed twice; keep one of the two.", to_string(selector)));
            return;
        }
        policy_.gpus.push_back(std::move(selector));
    }

    void report_choice_by_model(const YamlNode& node) {
        report(node,
               "A choice by model and count is not supported by this version; name the GPUs by index, UUID or "
               "PCI address.");
    }

    void read_capabilities(const YamlNode& value) {
        if (value.kind != Kind::list || value.items.empty()) {
            report(value, fmt::format("'capabilities' is {}; write a list such as [compute, utility], or leave the key "
                                      "out.",
                                      value.kind == Kind::list ? "an empty list" : describe(value.kind)));
            return;
        }
        std::vector<Capability> wanted;
        for (const YamlNode& item : value.items) {
            auto capability = item.kind == Kind::scalar ? parse_capability(item.text) : std::nullopt;
            if (!capability) {
                report(item, fmt::format("{} is no capability{}; they are {}.",
                                         item.kind == Kind::scalar ? quoted(item.text) : describe(item.kind),
                                         suggest(item.text, capabilities), enumerate(capabilities)));
            } else if (std::ranges::find(wanted, *capability) != wanted.end()) {
                report(item, fmt::format("Capability '{}' is listed twice; keep one of the two.", item.text));
            } else {
                wanted.push_back(*capability);
            }
        }
        std::ranges::sort(wanted);
        policy_.capabilities = std::move(wanted);
    }

    void read_sockets(const YamlNode& key, const YamlNode& value) {
        if (value.kind != Kind::list) {
            report(value.kind == Kind::null ? key : value,
                   fmt::format("'sockets' is {}; write a list such as [persistenced], or leave the key out.",
                               describe(value.kind)));
            return;
        }
        policy_.sockets.clear();
        for (const YamlNode& item : value.items) {
            if (item.kind == Kind::scalar && item.text == "mps") {
                report(item,
                       "'mps' cannot be given to a machine: MPS shares memory (/dev/shm) and the user with a program "
                       "that computes, and a machine has its own; run that program on the host.");
                continue;
            }
            const auto found = read_word(key, item, host_sockets);
            if (!found) continue;
            const auto socket = static_cast<HostSocket>(*found);
            if (std::ranges::find(policy_.sockets, socket) != policy_.sockets.end())
                report(item, fmt::format("Socket '{}' is listed twice; keep one of the two.", item.text));
            else
                policy_.sockets.push_back(socket);
        }
        std::ranges::sort(policy_.sockets);
    }

    std::string path_;
    Policy& policy_;
    std::vector<Diagnostic> diagnostics_;
};

// The machine's name from /…/NAME.yaml.
std::variant<std::string, std::string_view> name_from_path(std::string_view path) {
    constexpr std::string_view suffix = ".yaml";
    std::string_view file = path.substr(path.rfind('/') + 1);  // npos + 1 is 0
    if (!file.ends_with(suffix)) return fmt::format("A policy's file name is NAME.yaml; {} is not.", quoted(file));
    file.remove_suffix(suffix.size());
    if (auto error = machine_name_error(file)) {
        return fmt::format("The file must be named after its machine. {}", *error);
    }
    return file;
}

}  // namespace

PolicyResult parse_policy(std::string_view path, std::string_view text, const Policy& defaults) {
    Policy policy = defaults;
    policy.path = path;
    YamlTree tree = read_yaml(path, text);
    PolicyReader reader(path, policy);
    bool has_gpus = tree.diagnostics.empty() && reader.read(tree.root);

    std::vector<Diagnostic> diagnostics;
    auto name = name_from_path(path);
    if (auto* wrong = std::get_if<std::string>(&name)) {
        diagnostics.push_back({policy.path, 0, 0, std::move(*wrong)});
    } else {
        policy.machine = std::get<std::string_view>(name);
    }
    if (tree.diagnostics.empty() && !has_gpus && !defaults.wants_gpus()) {
        diagnostics.push_back({policy.path, 0, 0,
                               "The policy names no GPUs: write 'gpus: all', 'gpus: none' or a list "
                               "of GPUs."});
    }
    std::ranges::move(tree.diagnostics, std::back_inserter(diagnostics));
    std::ranges::move(reader.take_diagnostics(), std::back_inserter(diagnostics));
    if (!diagnostics.empty()) return diagnostics;
    return policy;
}

std::variant<Policy, std::vector<Diagnostic>> parse_defaults(std::string_view path, std::string_view text) {
    Policy policy;
    policy.path = path;
    YamlTree tree = read_yaml(path, text);
    if (!tree.diagnostics.empty()) return std::move(tree.diagnostics);
    PolicyReader reader(path, policy);
    reader.read(tree.root);
    auto diagnostics = reader.take_diagnostics();
    if (!diagnostics.empty()) return diagnostics;
    return policy;
}

}  // namespace cuda_nspawn
