#include "guest/path_patterns.hpp"

#include <algorithm>
#include <utility>

#include <fnmatch.h>

#include <fmt/format.h>

#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_names = 4096;  // read of a directory
constexpr std::size_t longest_name = 128;
constexpr std::size_t most_paths = 1024;

std::vector<std::string> matching(const GuestTree& tree, const std::string& directory, const std::string& pattern,
                                  std::size_t most) {
    if (pattern.find_first_of("*?[") == std::string::npos) return {pattern};
    std::vector<std::string> names = list_shown(tree, directory.empty() ? "/" : directory, most_names);
    std::erase_if(names,
                  [&](const std::string& name) { return ::fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD) != 0; });
    if (names.size() > most) names.resize(most);
    return names;
}

}  // namespace

std::vector<std::string> list_shown(const GuestTree& tree, const std::string& directory, std::size_t most) {
    std::vector<std::string> names = tree.list(directory, most_names);
    std::erase_if(names, [](const std::string& name) { return printable(name, longest_name) != name; });
    if (names.size() > most) names.resize(most);
    return names;
}

std::vector<std::string> expand_pattern(const GuestTree& tree, std::string_view pattern, std::size_t most) {
    std::vector<std::string> paths{""};
    while (!pattern.empty()) {
        pattern.remove_prefix(1);  // the slash
        const std::string component(pattern.substr(0, pattern.find('/')));
        pattern.remove_prefix(component.size());
        std::vector<std::string> longer;
        for (const std::string& path : paths)
            for (const std::string& name : matching(tree, path, component, most))
                if (longer.size() < most_paths) longer.push_back(fmt::format("{}/{}", path, name));
        paths = std::move(longer);
    }
    return paths;
}

}  // namespace cuda_nspawn
