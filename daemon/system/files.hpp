// Small files of the daemon's own: state and requests. Nothing of a guest is read with these.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "system/log.hpp"

namespace cuda_nspawn {

inline constexpr std::size_t file_limit = 1 << 20;
// At most that; nothing if it cannot be read.
std::optional<std::string> read_file(const std::filesystem::path& path);
// By a temporary name and a rename. Throws std::runtime_error that names the file.
void write_file_atomically(const std::filesystem::path& path, const std::string& text);
// A memory that cannot be written is worth a word, and no more.
template <class Write>
void write_or_warn(const std::filesystem::path& path, Write write) {
    try {
        write(path);
    } catch (const std::runtime_error& error) {
        log(Severity::warning, "", error.what());
    }
}

// Remembered as JSON. An unreadable file counts as absent: it is only a memory.
void write_state(const std::filesystem::path& path, const Remembered& state);
std::map<std::string, Remembered> read_states(const std::filesystem::path& directory);

}  // namespace cuda_nspawn
