// The policies on the host's disk, and what was read of them last.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.hpp"

namespace cuda_nspawn {

class PolicyFiles {
public:
    // Of files with one name the first directory's wins, as systemd does it.
    PolicyFiles(std::vector<std::filesystem::path> directories, std::filesystem::path defaults)
        : directories_(std::move(directories)), defaults_(std::move(defaults)) {}

    struct All {
        std::vector<PolicyFile> files;
        std::vector<std::string> warnings;  // files whose name is no machine's, and what is wrong with defaults.yaml
    };
    All read_all();
    // Of one machine; nothing if there is no file for it.
    std::optional<PolicyFile> read(const std::string& machine);
    // A text as if it were that machine's file, which need not be there.
    PolicyResult parse_as_if(const std::string& machine, const std::string& text);
    // Whether the files still say what was read of this machine last. Much faster than to read it again, as nothing is
    // parsed; never true by mistake, as the text itself is compared.
    bool is_as_read(const std::string& machine) const;

private:
    struct Text {
        std::filesystem::path path;
        std::optional<std::string> text;  // nothing: it cannot be read, or is larger than 1 MiB
    };
    std::filesystem::path find(const std::string& machine) const;  // empty: there is none
    PolicyFile parse(const std::string& machine, Text text, const Policy& defaults);
    Policy read_defaults(std::vector<std::string>& warnings);

    std::vector<std::filesystem::path> directories_;
    std::filesystem::path defaults_;
    std::optional<std::string> defaults_text_;
    std::map<std::string, Text> texts_;  // by machine
};

}  // namespace cuda_nspawn
