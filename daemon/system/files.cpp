#include "system/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <stdexcept>

#include "policy/machine_name.hpp"

namespace cuda_nspawn {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Check, name, result, milliseconds, detail)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Verdict, result, summary, checks, gpu_uuids, milliseconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Instance, unit, leader, since_usec)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DeviceNode, name, major, minor)
// With defaults: the state of an older version is worth as much.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Remembered, instance, revoked, verdict, tested_usec, lent)

namespace {

constexpr std::size_t file_limit = 1 << 20;

Policy read_defaults(const std::filesystem::path& path, std::vector<std::string>& warnings) {
    const auto text = read_file(path);
    if (!text) return {};
    auto parsed = parse_defaults(path.string(), *text);
    if (const auto* policy = std::get_if<Policy>(&parsed)) return *policy;
    for (const Diagnostic& diagnostic : std::get<std::vector<Diagnostic>>(parsed))
        warnings.push_back(to_string(diagnostic));
    return {};
}

std::vector<std::filesystem::path> yaml_files(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error))
        if (entry->path().extension() == ".yaml") paths.push_back(entry->path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

PolicyFile load(const std::filesystem::path& path, const std::string& machine, const Policy& defaults) {
    if (const auto text = read_file(path)) return {machine, parse_policy(path.string(), *text, defaults)};
    return {machine, std::vector{Diagnostic{path, 0, 0, "the file cannot be read, or is larger than 1 MiB"}}};
}

}  // namespace

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

PolicyFiles read_policies(const std::vector<std::filesystem::path>& directories,
                          const std::filesystem::path& defaults_path) {
    PolicyFiles result;
    const Policy defaults = read_defaults(defaults_path, result.warnings);
    std::set<std::string> seen;
    for (const auto& directory : directories)
        for (const auto& path : yaml_files(directory)) {
            const std::string machine = path.stem();
            if (!seen.insert(machine).second) continue;
            if (const auto error = machine_name_error(machine)) {
                result.warnings.push_back(fmt::format("{}: {}", path.string(), *error));
                continue;
            }
            result.files.push_back(load(path, machine, defaults));
        }
    return result;
}

std::optional<PolicyFile> read_policy(const std::vector<std::filesystem::path>& directories,
                                      const std::filesystem::path& defaults_path, const std::string& machine) {
    if (!is_machine_name(machine)) return std::nullopt;
    std::vector<std::string> warnings;  // read_policies() reports them
    std::error_code ignored;
    for (const auto& directory : directories)
        if (const auto path = directory / (machine + ".yaml"); std::filesystem::exists(path, ignored))
            return load(path, machine, read_defaults(defaults_path, warnings));
    return std::nullopt;
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
