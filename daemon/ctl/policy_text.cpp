#include "ctl/policy_text.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <utility>

#include "names.hpp"

namespace cuda_nspawn::ctl {

namespace {

constexpr std::size_t largest = std::size_t{1024} * 1024;  // as the daemon's

std::string read(std::istream& stream) {
    std::string text(largest + 1, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(stream.gcount()));
    return text;
}

}  // namespace

std::variant<std::string, Diagnostic> read_policy_text(const std::string& path) {
    const auto unreadable = [&](const char* why) {
        return Diagnostic{path, 0, 0, fmt::format("the file cannot be read: {}", why)};
    };
    std::string text;
    if (path == "-") {
        text = read(std::cin);
    } else {
        std::ifstream file(path, std::ios::binary);
        if (!file) return unreadable(std::strerror(errno));
        text = read(file);
        if (file.bad()) return unreadable("it is no file");
    }
    if (text.size() > largest) return unreadable("it is larger than 1 MiB");
    return text;
}

Policy host_defaults() {
    const std::string path = std::string(names::config_directory) + "/defaults.yaml";
    const auto text = read_policy_text(path);
    if (!std::holds_alternative<std::string>(text)) return {};
    auto parsed = parse_defaults(path, std::get<std::string>(text));
    auto* defaults = std::get_if<Policy>(&parsed);
    return defaults == nullptr ? Policy{} : std::move(*defaults);
}

PolicyResult parse_policy_of(const std::string& path, const std::string& text, const std::string& machine,
                             const Policy& defaults) {
    if (machine.empty()) return parse_policy(path, text, defaults);
    auto result = parse_policy(machine + ".yaml", text, defaults);
    if (auto* diagnostics = std::get_if<std::vector<Diagnostic>>(&result))
        for (Diagnostic& diagnostic : *diagnostics) diagnostic.path = path;
    return result;
}

}  // namespace cuda_nspawn::ctl
