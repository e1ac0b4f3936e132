// How the types that several protocols share are written as JSON. Only for *protocol.cpp.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "driver/driver.hpp"
#include "guest/guest.hpp"
#include "plan/plan.hpp"

// An optional member is absent where it has no value.
template <class T>
struct nlohmann::adl_serializer<std::optional<T>> {
    static void to_json(nlohmann::json& json, const std::optional<T>& value) {
        json = value ? nlohmann::json(*value) : nlohmann::json();
    }
    static void from_json(const nlohmann::json& json, std::optional<T>& value) {
        value = json.is_null() ? std::optional<T>() : std::optional<T>(json.get<T>());
    }
};

namespace cuda_nspawn {

// nlohmann-json finds these by name, next to the types.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceNode, name, major, minor)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BundledLibrary, path, version, kind)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Toolkit, path, version)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Guest, os_id, os_name, libc, libc_version, architecture, has_systemd, has_ldconfig,
                                   library_directories, before_fragment, bundled, toolkits)

template <class T>
std::string dump(const T& value) {
    // What the machine's files say may be no UTF-8; it is not worth a failure.
    return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

template <class T>
T parse(std::string_view text, std::string_view what) {
    try {
        return nlohmann::json::parse(text).get<T>();
    } catch (const nlohmann::json::exception& error) {
        throw std::runtime_error(fmt::format("{} cannot be read: {}", what, error.what()));
    }
}

}  // namespace cuda_nspawn
