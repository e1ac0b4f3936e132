#include "guest/unit_files.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "guest/environment_text.hpp"
#include "guest/path_patterns.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_names = 1024;
constexpr std::size_t most_drop_ins = 32;  // in a directory
constexpr std::string_view suffix = ".service";
constexpr std::string_view drop_in_directory = ".service.d";
// The first that has a file of a name hides the others'.
constexpr std::array<std::string_view, 4> directories = {"/etc/systemd/system", "/usr/local/lib/systemd/system",
                                                         "/usr/lib/systemd/system", "/lib/systemd/system"};

using Files = std::map<std::string, std::string>;  // name → path

// Drop-ins of a unit, by name, since that is how they apply.
void add_drop_ins(const GuestTree& tree, const std::string& directory, Files& files) {
    for (const std::string& name : list_shown(tree, directory, most_drop_ins))
        if (name.ends_with(".conf")) files.emplace(name, fmt::format("{}/{}", directory, name));
}

struct Services {
    Files units;
    std::map<std::string, Files> drop_ins;  // by unit; "": all
};

void add_services(const GuestTree& tree, std::string_view directory, Services& services) {
    for (const std::string& name : list_shown(tree, std::string(directory), most_names)) {
        std::string path = fmt::format("{}/{}", directory, name);
        if (name.ends_with(suffix))
            services.units.emplace(name, std::move(path));
        else if (name == drop_in_directory.substr(1))
            add_drop_ins(tree, path, services.drop_ins[""]);
        else if (name.ends_with(drop_in_directory))
            add_drop_ins(tree, path, services.drop_ins[name.substr(0, name.size() - 2)]);
    }
}

// A unit's own name, and its template's: worker@1.service has the drop-ins of worker@.service too.
std::string template_of(std::string_view unit) {
    const std::size_t at = unit.find('@');
    return at == std::string_view::npos ? std::string(unit) : fmt::format("{}{}", unit.substr(0, at + 1), suffix);
}

bool names_path(std::string_view command, std::string_view path) {
    command.remove_prefix(std::min(command.find_first_not_of("@-:+!| \t"), command.size()));
    while (!command.empty()) {
        if (take_word(command, " \t") == path) return true;
        command.remove_prefix(std::min(command.find_first_not_of(" \t"), command.size()));
    }
    return false;
}

}  // namespace

std::vector<UnitFile> find_service_files(const GuestTree& tree) {
    Services services;
    std::set<std::pair<std::uint64_t, std::uint64_t>> known;
    for (const std::string_view directory : directories) {
        const auto entry = tree.find(directory);  // /lib is most often a link to /usr/lib
        if (entry && known.insert({entry->device, entry->inode}).second) add_services(tree, directory, services);
    }
    std::set<std::string> units{""};
    for (const auto& [unit, path] : services.units) units.insert(unit);
    for (const auto& [unit, paths] : services.drop_ins) units.insert(unit);
    std::vector<UnitFile> files;
    for (const std::string& unit : units) {
        if (const auto own = services.units.find(unit); own != services.units.end())
            files.push_back({unit, own->second});
        Files drop_ins = services.drop_ins[unit];
        if (!unit.empty()) drop_ins.merge(Files(services.drop_ins[template_of(unit)]));
        for (const auto& [name, path] : drop_ins) files.push_back({unit, path});
    }
    return files;
}

std::vector<UnitLine> parse_unit(std::string_view text, std::string_view section) {
    std::vector<UnitLine> found;
    bool is_inside = false;
    const std::string heading = fmt::format("[{}]", section);
    for (const Line& line : logical_lines(text)) {
        if (line.text.starts_with('[')) is_inside = line.text == heading;
        const std::size_t equals = line.text.find('=');
        if (!is_inside || equals == std::string::npos) continue;
        const auto trimmed = [](std::string_view part) {
            part.remove_prefix(std::min(part.find_first_not_of(" \t"), part.size()));
            return std::string(part.substr(0, part.find_last_not_of(" \t") + 1));
        };
        const std::string_view whole = line.text;
        found.push_back({line.number, trimmed(whole.substr(0, equals)), trimmed(whole.substr(equals + 1))});
    }
    return found;
}

std::set<std::string> units_that_run(const GuestTree& tree, std::string_view path) {
    std::set<std::string> units;
    for (const UnitFile& file : find_service_files(tree)) {
        const auto text = tree.read(file.path, longest_unit_file);
        if (!text || text->find(path) == std::string::npos) continue;
        for (const UnitLine& line : parse_unit(*text, "Service"))
            if (line.key.starts_with("ExecStart") && names_path(line.value, path)) units.insert(file.unit);
    }
    return units;
}

}  // namespace cuda_nspawn
