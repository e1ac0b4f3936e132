#include "system/policy_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "policy/machine_name.hpp"
#include "system/files.hpp"

namespace cuda_nspawn {

namespace {

std::vector<std::filesystem::path> yaml_files(const std::filesystem::path& directory) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error))
        if (entry->path().extension() == ".yaml") paths.push_back(entry->path());
    std::sort(paths.begin(), paths.end());
    return paths;
}

}  // namespace

PolicyFiles::All PolicyFiles::read_all() {
    All result;
    const Policy defaults = read_defaults(result.warnings);
    texts_.clear();
    std::set<std::string> seen;
    for (const auto& directory : directories_)
        for (const auto& path : yaml_files(directory)) {
            const std::string machine = path.stem();
            if (!seen.insert(machine).second) continue;
            if (const auto error = machine_name_error(machine)) {
                result.warnings.push_back(fmt::format("{}: {}", path.string(), *error));
                continue;
            }
            result.files.push_back(parse(machine, {path, read_file(path)}, defaults));
        }
    return result;
}

std::optional<PolicyFile> PolicyFiles::read(const std::string& machine) {
    std::vector<std::string> warnings;  // read_all() tells them
    const Policy defaults = read_defaults(warnings);
    const std::filesystem::path path = find(machine);
    texts_.erase(machine);
    if (path.empty()) return std::nullopt;
    return parse(machine, {path, read_file(path)}, defaults);
}

bool PolicyFiles::is_as_read(const std::string& machine) const {
    const auto known = texts_.find(machine);
    if (known == texts_.end() || find(machine) != known->second.path) return false;
    return read_file(defaults_) == defaults_text_ && read_file(known->second.path) == known->second.text;
}

std::filesystem::path PolicyFiles::find(const std::string& machine) const {
    if (!is_machine_name(machine)) return {};
    std::error_code ignored;
    for (const auto& directory : directories_)
        if (auto path = directory / (machine + ".yaml"); std::filesystem::exists(path, ignored)) return path;
    return {};
}

PolicyFile PolicyFiles::parse(const std::string& machine, Text text, const Policy& defaults) {
    const Text& kept = texts_[machine] = std::move(text);
    if (kept.text) return {machine, parse_policy(kept.path.string(), *kept.text, defaults)};
    return {machine, std::vector{Diagnostic{kept.path, 0, 0, "the file cannot be read, or is larger than 1 MiB"}}};
}

PolicyResult PolicyFiles::parse_as_if(const std::string& machine, const std::string& text) {
    std::vector<std::string> warnings;  // read_all() tells them
    std::filesystem::path path = find(machine);
    if (path.empty()) path = directories_.front() / (machine + ".yaml");
    return parse_policy(path.string(), text, read_defaults(warnings));
}

Policy PolicyFiles::read_defaults(std::vector<std::string>& warnings) {
    auto text = read_file(defaults_);
    if (text != defaults_text_) texts_.clear();  // what was read of machines was read with others
    defaults_text_ = std::move(text);
    if (!defaults_text_) return {};
    auto parsed = parse_defaults(defaults_.string(), *defaults_text_);
    if (const auto* policy = std::get_if<Policy>(&parsed)) return *policy;
    for (const Diagnostic& diagnostic : std::get<std::vector<Diagnostic>>(parsed))
        warnings.push_back(to_string(diagnostic));
    return {};
}

}  // namespace cuda_nspawn
