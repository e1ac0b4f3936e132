// What an audit found in an image, until something of it changes: NAME.json in a directory of the worker's own.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "worker/examine.hpp"

namespace cuda_nspawn {

class ExaminedCache {
public:
    explicit ExaminedCache(std::filesystem::path directory) : directory_(std::move(directory)) {}

    // What was found then, if nothing that was asked for has changed.
    std::optional<Examined> find(const std::string& machine, const std::string& image, const GuestTree& tree) const;
    // Best effort: an audit that cannot be remembered is made again.
    void keep(const std::string& machine, const Examined& examined, const RecordingTree& asked) const;
    // All but these.
    void forget_others(const std::vector<std::string>& machines) const;

private:
    std::filesystem::path file_of(const std::string& machine) const { return directory_ / (machine + ".json"); }
    std::filesystem::path directory_;
};

}  // namespace cuda_nspawn
