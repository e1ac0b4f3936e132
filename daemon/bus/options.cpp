#include "bus/options.hpp"

#include <fmt/format.h>

#include "bus/errors.hpp"

namespace cuda_nspawn::bus {

namespace {

template <class T>
std::optional<T> take(Options& options, std::string& known, const std::string& key, const char* type) {
    known += (known.empty() ? "" : ", ") + key;
    const auto place = options.find(key);
    if (place == options.end()) return std::nullopt;
    if (!place->second.containsValueOfType<T>())
        throw error("InvalidArgs",
                    fmt::format("Option \"{}\" must be of type {}, not {}.", key, type, place->second.peekValueType()));
    T value = place->second.get<T>();
    options.erase(place);
    return value;
}

}  // namespace

bool OptionReader::take_bool(const std::string& key, bool fallback) {
    return take<bool>(options_, known_, key, "b").value_or(fallback);
}

std::string OptionReader::take_string(const std::string& key, const std::string& fallback) {
    return take_string(key).value_or(fallback);
}

std::optional<std::string> OptionReader::take_string(const std::string& key) {
    return take<std::string>(options_, known_, key, "s");
}

void OptionReader::finish() const {
    if (options_.empty()) return;
    throw error("InvalidArgs", fmt::format("Unknown option \"{}\": {}.", options_.begin()->first,
                                           known_.empty() ? "this method has none" : "known are " + known_));
}

}  // namespace cuda_nspawn::bus
