#include "system/files.hpp"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace cuda_nspawn {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Check, name, result, milliseconds, detail)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Verdict, result, summary, checks, gpu_uuids, capabilities, milliseconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Instance, unit, leader, since_usec)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceNode, name, major, minor)
// With defaults: the state of an older version is worth as much.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Remembered, instance, revoked, verdict, tested_usec, lent)

std::optional<std::string> read_file(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    std::string text;
    std::array<char, 8192> piece;
    while (stream && text.size() < file_limit) {
        stream.read(piece.data(), piece.size());
        text.append(piece.data(), static_cast<std::size_t>(stream.gcount()));
    }
    if (!stream.eof()) return std::nullopt;
    return text;
}

void write_file_atomically(const std::filesystem::path& path, const std::string& text) {
    const std::filesystem::path temporary = path.parent_path() / fmt::format(".{}.new", path.filename().string());
    std::ofstream stream(temporary, std::ios::binary | std::ios::trunc);
    stream << text;
    stream.close();
    std::error_code error;
    if (stream) std::filesystem::rename(temporary, path, error);
    if (!stream || error) {
        std::filesystem::remove(temporary, error);
        throw std::runtime_error(fmt::format("cannot write {}", path.string()));
    }
}

void write_state(const std::filesystem::path& path, const Remembered& state) {
    write_file_atomically(path, nlohmann::json(state).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::map<std::string, Remembered> read_states(const std::filesystem::path& directory) {
    std::map<std::string, Remembered> states;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
        if (entry->path().extension() != ".json") continue;
        const auto text = read_file(entry->path());
        const auto json = nlohmann::json::parse(text.value_or(""), nullptr, false);
        if (json.is_discarded()) continue;
        try {
            states[entry->path().stem()] = json.get<Remembered>();
        } catch (const nlohmann::json::exception&) {
            continue;  // of another version: only a memory
        }
    }
    return states;
}

}  // namespace cuda_nspawn
