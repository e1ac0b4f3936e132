// The pure part of a generation: its names, its layout and its manifest.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "driver/generation.hpp"

namespace cuda_nspawn {
namespace {

using Json = nlohmann::ordered_json;

constexpr int manifest_format = 1;
constexpr std::size_t max_generation_name = 128;

constexpr std::array<std::pair<FileKind, std::string_view>, 5> kind_names{{{FileKind::library, "library"},
                                                                           {FileKind::library32, "library32"},
                                                                           {FileKind::program, "program"},
                                                                           {FileKind::data, "data"},
                                                                           {FileKind::firmware, "firmware"}}};

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); }

// A relative path that stays where it is put.
bool is_safe_path(std::string_view path) {
    if (path.size() > 512) return false;
    for (bool more = true; more;) {
        const auto slash = path.find('/');
        const auto part = path.substr(0, slash);
        more = slash != std::string_view::npos;
        if (more) path.remove_prefix(slash + 1);
        const auto is_plain = [](char c) {
            return is_alphanumeric(c) || std::string_view("._+-").find(c) != std::string_view::npos;
        };
        if (part.empty() || part.size() > 255 || part == "." || part == ".." || !std::ranges::all_of(part, is_plain))
            return false;
    }
    return true;
}

std::string_view to_string(FileKind kind) {
    return std::ranges::find(kind_names, kind, &std::pair<FileKind, std::string_view>::first)->second;
}

FileKind parse_kind(const std::string& text) {
    const auto found = std::ranges::find(kind_names, text, &std::pair<FileKind, std::string_view>::second);
    if (found == kind_names.end()) throw std::runtime_error(fmt::format("unknown kind \"{}\"", text));
    return found->first;
}

DriverFile parse_file(const Json& json) {
    DriverFile file;
    const auto capability_name = json.at("capability").get<std::string>();
    const auto capability = parse_capability(capability_name);
    if (!capability) throw std::runtime_error(fmt::format("unknown capability \"{}\"", capability_name));
    file.capability = *capability;
    file.kind = parse_kind(json.at("kind").get<std::string>());
    file.source = json.at("source").get<std::string>();
    file.name = json.at("name").get<std::string>();
    file.links = json.at("links").get<std::vector<std::string>>();
    file.size = json.at("size").get<std::uint64_t>();
    file.mtime_ns = json.at("mtime_ns").get<std::int64_t>();
    file.build_id = json.at("build_id").get<std::string>();
    return file;
}

}  // namespace

std::string_view generation_folder(FileKind kind) {
    switch (kind) {
        case FileKind::library:
            return "lib";
        case FileKind::library32:
            return "lib32";
        case FileKind::program:
            return "bin";
        case FileKind::data:
            return "share";
        case FileKind::firmware:
            return "firmware";
    }
    return "lib";
}

std::string generation_path(const DriverFile& file) {
    return fmt::format("{}/{}/{}", to_string(file.capability), generation_folder(file.kind), file.name);
}

std::string link_target(const DriverFile& file, std::string_view link) {
    std::string target;
    for (auto depth = std::ranges::count(link, '/'); depth > 0; --depth) target += "../";
    return target + file.name;
}

bool is_generation_name(std::string_view name) {
    const auto is_allowed = [](char c) { return is_alphanumeric(c) || c == '.' || c == '-'; };
    return !name.empty() && name.size() <= max_generation_name && name[0] != '.' &&
           std::ranges::all_of(name, is_allowed);
}

void check_layout(const std::vector<DriverFile>& files) {
    std::set<std::string> paths;
    const auto add = [&paths](const DriverFile& file, const std::string& name) {
        if (!is_safe_path(name))
            throw std::runtime_error(fmt::format("\"{}\" cannot be a file name in a generation", name));
        if (!paths.insert(fmt::format("{}/{}/{}", to_string(file.capability), generation_folder(file.kind), name))
                 .second)
            throw std::runtime_error(fmt::format("two files of a generation have the name {} ({})", name, file.source));
    };
    for (const auto& file : files) {
        add(file, file.name);
        for (const auto& link : file.links) add(file, link);
    }
}

std::string manifest_text(const Driver& driver, std::string_view name) {
    Json files = Json::array();
    for (const auto& file : driver.files)
        files.push_back({{"capability", to_string(file.capability)},
                         {"kind", to_string(file.kind)},
                         {"source", file.source},
                         {"name", file.name},
                         {"links", file.links},
                         {"size", file.text.empty() ? file.size : file.text.size()},
                         {"mtime_ns", file.mtime_ns},
                         {"build_id", file.build_id}});
    const Json manifest{{"format", manifest_format},
                        {"name", name},
                        {"version", driver.userspace_version},
                        {"files", std::move(files)}};
    return manifest.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::vector<DriverFile> parse_manifest(std::string_view text) {
    try {
        const auto manifest = Json::parse(text);
        const auto format = manifest.at("format").get<int>();
        if (format != manifest_format)
            throw std::runtime_error(fmt::format("its format is {}, known is {}", format, manifest_format));
        std::vector<DriverFile> files;
        for (const auto& file : manifest.at("files")) files.push_back(parse_file(file));
        check_layout(files);
        return files;
    } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("the manifest of a generation is damaged: {}", error.what()));
    }
}

}  // namespace cuda_nspawn
