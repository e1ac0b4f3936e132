#include <fmt/format.h>
#include <fnmatch.h>

#include "driver/catalogue.hpp"
#include "driver/userspace.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t max_conf_size = 65536;
constexpr std::string_view separators = " \t\r,:=";  // "=TYPE" behind a directory is a relic of libc5

// The directories of one ld.so.conf (ldconfig(8)); `include` is not followed, see library_directories().
void add_conf_directories(std::string_view text, std::vector<std::string>& directories) {
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        auto line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        line = line.substr(0, line.find('#'));
        while (!line.empty()) {
            const auto word = line.substr(0, line.find_first_of(separators));
            if (word.starts_with('/')) directories.emplace_back(word);
            if (word == "include" || word == "hwcap") break;
            line.remove_prefix(std::min(word.size() + 1, line.size()));
        }
    }
}

}  // namespace

std::vector<std::string> library_directories(const HostTree& tree) {
    std::vector<std::string> directories;
    // Every distribution's ld.so.conf includes the fragments of this directory and nothing else.
    const auto fragments = tree.list("/etc/ld.so.conf.d");
    for (const auto& name : fragments ? fragments->names : std::vector<std::string>())
        if (name.ends_with(".conf"))
            add_conf_directories(tree.read_text("/etc/ld.so.conf.d/" + name, max_conf_size).value_or(""), directories);
    add_conf_directories(tree.read_text("/etc/ld.so.conf", max_conf_size).value_or(""), directories);
    for (const auto pattern : library_directory_patterns())
        for (auto& directory : expand_directories(tree, pattern)) directories.push_back(std::move(directory));
    return directories;
}

std::vector<std::string> expand_directories(const HostTree& tree, std::string_view pattern) {
    if (pattern.find('*') == std::string_view::npos) return {std::string(pattern)};
    const std::string parent = parent_directory(pattern);
    const std::string name_pattern(file_name(pattern));
    std::vector<std::string> directories;
    if (const auto listing = tree.list(parent))
        for (const auto& name : listing->names)
            if (::fnmatch(name_pattern.c_str(), name.c_str(), FNM_PERIOD) == 0)
                directories.push_back(fmt::format("{}/{}", parent, name));
    return directories;
}

}  // namespace cuda_nspawn
