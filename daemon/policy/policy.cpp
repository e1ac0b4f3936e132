#include "policy/policy.hpp"

#include <array>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

constexpr std::array<std::string_view, 7> capability_names = {"compute", "utility", "graphics", "video",
                                                              "display", "ngx",     "compat32"};
constexpr std::array<std::string_view, 2> socket_names = {"persistenced", "fabricmanager"};

template <class Value, std::size_t Count>
std::optional<Value> find_name(const std::array<std::string_view, Count>& names, std::string_view text) {
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i] == text) return static_cast<Value>(i);
    }
    return std::nullopt;
}

}  // namespace

std::string_view to_string(Capability value) { return capability_names.at(static_cast<std::size_t>(value)); }

std::string_view to_string(HostSocket value) { return socket_names.at(static_cast<std::size_t>(value)); }

std::string_view to_string(SelfTestLevel value) {
    switch (value) {
        case SelfTestLevel::off:
            return "off";
        case SelfTestLevel::quick:
            return "quick";
        case SelfTestLevel::full:
            return "full";
    }
    return "";
}

std::string_view to_string(OnFailure value) {
    switch (value) {
        case OnFailure::warn:
            return "warn";
        case OnFailure::detach:
            return "detach";
        case OnFailure::stop:
            return "stop";
    }
    return "";
}

std::optional<Capability> parse_capability(std::string_view text) {
    return find_name<Capability>(capability_names, text);
}

std::optional<HostSocket> parse_host_socket(std::string_view text) { return find_name<HostSocket>(socket_names, text); }

std::string to_string(const GpuSelector& selector) {
    if (const auto* index = std::get_if<GpuIndex>(&selector)) return std::to_string(index->value);
    if (const auto* uuid = std::get_if<GpuUuid>(&selector)) return uuid->value;
    return std::get<GpuPciAddress>(selector).value;
}

std::string to_string(const Diagnostic& diagnostic) {
    std::string place = diagnostic.path;
    if (diagnostic.line > 0) place += fmt::format(":{}", diagnostic.line);
    if (diagnostic.line > 0 && diagnostic.column > 0) place += fmt::format(":{}", diagnostic.column);
    return place.empty() ? diagnostic.message : fmt::format("{}: {}", place, diagnostic.message);
}

}  // namespace cuda_nspawn
