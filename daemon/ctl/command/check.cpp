// cuda-nspawnctl check
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/policy_text.hpp"

namespace cuda_nspawn::ctl {

namespace {

using Diagnostics = std::vector<Diagnostic>;

bool is_defaults(const std::string& path) { return std::filesystem::path(path).filename() == "defaults.yaml"; }

// The policy may be for another host, so this is no error.
Json missing_gpus(const Policy& policy, const Objects& objects) {
    auto warnings = Json::array();
    if (objects.all("Gpu").empty()) return warnings;
    for (const GpuSelector& selector : policy.gpus)
        if (std::ranges::none_of(objects.all("Gpu"),
                                 [&](const auto& entry) { return selects(selector, *entry.second); }))
            warnings.push_back(
                fmt::format("This host has no GPU {}: cuda-nspawnctl gpus shows what it has.", to_string(selector)));
    return warnings;
}

PolicyResult parse(const std::string& path, const std::string& machine, const Policy& defaults) {
    const auto read = read_policy_text(path);
    if (const auto* unreadable = std::get_if<Diagnostic>(&read)) return Diagnostics{*unreadable};
    const auto& text = std::get<std::string>(read);
    if (machine.empty() && is_defaults(path)) return parse_defaults(path, text);
    // Standard input has no name that could be wrong.
    return parse_policy_of(path, text, machine.empty() && path == "-" ? "machine" : machine, defaults);
}

Json check_file(const std::string& path, const std::string& machine, const Policy& defaults, const Objects& objects) {
    const PolicyResult result = parse(path, machine, defaults);
    auto errors = Json::array();
    if (const auto* diagnostics = std::get_if<Diagnostics>(&result))
        for (const Diagnostic& one : *diagnostics)
            errors.push_back({{"line", one.line}, {"column", one.column}, {"message", one.message}});
    const auto* policy = std::get_if<Policy>(&result);
    return {{"file", path},
            {"valid", policy != nullptr},
            {"errors", errors},
            {"warnings", policy == nullptr ? Json::array() : missing_gpus(*policy, objects)}};
}

void print_checked(const Json& file) {
    const std::string path = file["file"];
    for (const Json& error : file["errors"])
        fmt::print("{}\n", to_string(Diagnostic{path, error["line"], error["column"], error["message"]}));
    for (const Json& warning : file["warnings"])
        fmt::print("{}: {}\n", path, coloured(Colour::yellow, "warning: " + warning.get<std::string>()));
    if (file["valid"].get<bool>() && file["warnings"].empty()) fmt::print("{}: valid\n", path);
}

Objects gpus_of_this_host() {
    try {
        Bus bus;
        return objects_of_running(bus);
    } catch (const BusError&) {
        return Objects(Value::object());
    }
}

}  // namespace

int check(const Arguments& arguments) {
    const std::string machine = arguments.value("machine");
    if (!machine.empty() && arguments.words.size() > 1)
        throw WrongUsage{"--machine is for one file: two policies of one machine say nothing."};
    const Objects objects = gpus_of_this_host();
    const Policy defaults = host_defaults();
    auto list = Json::array();
    for (const std::string& path : arguments.words) list.push_back(check_file(path, machine, defaults, objects));
    if (!print_json(arguments, list))
        for (const Json& file : list) print_checked(file);
    return std::ranges::all_of(list, [](const Json& file) { return file["valid"].get<bool>(); }) ? 0 : 1;
}

}  // namespace cuda_nspawn::ctl
