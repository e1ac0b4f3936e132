// Options dictionaries (a{sv}): every key a method knows is named, all others are refused.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <map>
#include <optional>
#include <string>

namespace cuda_nspawn::bus {

using Options = std::map<std::string, sdbus::Variant>;

class OptionReader {
public:
    explicit OptionReader(Options options) : options_(std::move(options)) {}

    // Each takes the key out, if it is there. Throws InvalidArgs when the value has another type.
    bool take_bool(const std::string& key, bool fallback = false);
    std::string take_string(const std::string& key, const std::string& fallback);
    std::optional<std::string> take_string(const std::string& key);
    // Throws InvalidArgs that names the keys nobody took and the ones there are.
    void finish() const;

private:
    Options options_;
    std::string known_;
};

}  // namespace cuda_nspawn::bus
