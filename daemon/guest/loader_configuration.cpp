#include "guest/loader_configuration.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <utility>

#include <fnmatch.h>

#include <fmt/format.h>

#include "guest/printable.hpp"
#include "names.hpp"

namespace cuda_nspawn {
namespace {

// Real ones have ten files of some lines. What is beyond these limits is left out: it is the guest's own loss.
constexpr std::size_t longest_file = std::size_t{16} * 1024;
constexpr std::size_t longest_path = 256;
constexpr std::size_t most_files = 64;
constexpr std::size_t most_names = 1024;      // in a directory that a pattern is matched with
constexpr std::size_t most_lists = 64;        // of such directories
constexpr std::size_t most_lookups = 512;     // of directories that a line names
constexpr std::size_t most_directories = 64;  // kept
constexpr unsigned deepest = 16;              // an include in an include

constexpr std::string_view main_file = "/etc/ld.so.conf";

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of(separators), text.size());
        if (end > 0) parts.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

// What follows the directive, if the line is one: "include PATTERN", "hwcap …".
std::optional<std::string_view> after_word(std::string_view line, std::string_view word) {
    if (!line.starts_with(word) || line.size() == word.size() || !is_blank(line[word.size()])) return std::nullopt;
    return line.substr(word.size());
}

class Reader {
public:
    Reader(const GuestTree& tree, LoaderConfiguration& found) : tree_(tree), found_(found) {}

    void read_file(const std::string& path, unsigned depth) {
        if (path == names::loader_fragment) {
            if (!fragment_) fragment_ = found_.directories.size();
            return;
        }
        // A file that is named twice names nothing new: so a circle ends.
        if (depth > deepest || files_.size() >= most_files || !files_.insert(path).second) return;
        const auto text = tree_.read(path, longest_file);
        if (!text) return;
        std::string_view lines = *text;
        if (lines.size() == longest_file) lines = lines.substr(0, lines.rfind('\n'));  // the last may be cut off
        for (const std::string_view line : split(lines, "\n")) read_line(line, path, depth);
    }

    void add(std::string_view path) {
        while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
        if (!path.starts_with('/') || path.size() > longest_path || printable(path, longest_path) != path) return;
        if (lookups_++ >= most_lookups || found_.directories.size() >= most_directories) return;
        const auto entry = tree_.find(path);
        if (entry && entry->type == FileType::directory && known_.insert({entry->device, entry->inode}).second)
            found_.directories.emplace_back(path);
    }

    std::size_t before_fragment() const { return fragment_.value_or(0); }
    bool reads_fragment() const { return fragment_.has_value(); }

private:
    void read_line(std::string_view line, const std::string& file, unsigned depth) {
        line = trim(line.substr(0, line.find_first_of(std::string_view("#\0", 2))));
        if (line.empty()) return;
        if (const auto patterns = after_word(line, "include")) {
            for (const std::string_view pattern : split(*patterns, " \t"))
                for (const std::string& path : expand(pattern, file)) read_file(path, depth + 1);
            return;
        }
        std::string word(line.substr(0, 5));
        std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
        if (word == "hwcap" && line.size() > word.size() && is_blank(line[word.size()])) return;
        add(line);
    }

    // As glob(3). A relative one counts from the directory of the file that it stands in.
    std::vector<std::string> expand(std::string_view pattern, const std::string& file) {
        std::string whole(pattern);
        if (!pattern.starts_with('/')) whole = fmt::format("{}/{}", file.substr(0, file.rfind('/')), pattern);
        if (whole.size() > longest_path) return {};
        std::vector<std::string> paths{""};
        for (const std::string_view component : split(whole, "/")) {
            std::vector<std::string> longer;
            for (const std::string& path : paths)
                for (const std::string& name : matching(path, std::string(component)))
                    if (longer.size() < most_files) longer.push_back(fmt::format("{}/{}", path, name));
            paths = std::move(longer);
        }
        return paths;
    }

    std::vector<std::string> matching(const std::string& directory, const std::string& pattern) {
        if (pattern.find_first_of("*?[") == std::string::npos) return {pattern};
        if (lists_++ >= most_lists) return {};
        std::vector<std::string> names = tree_.list(directory.empty() ? "/" : directory, most_names);
        // Ours is there when it matters, and would be read in its turn.
        const std::string_view fragment = names::loader_fragment;
        const std::size_t slash = fragment.rfind('/');
        if (directory == fragment.substr(0, slash)) {
            const std::string ours(fragment.substr(slash + 1));
            const auto place = std::ranges::lower_bound(names, ours);
            if (place == names.end() || *place != ours) names.insert(place, ours);
        }
        std::erase_if(
            names, [&](const std::string& name) { return ::fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD) != 0; });
        return names;
    }

    const GuestTree& tree_;
    LoaderConfiguration& found_;
    std::set<std::string> files_;
    std::set<std::pair<std::uint64_t, std::uint64_t>> known_;
    std::optional<std::size_t> fragment_;
    std::size_t lookups_ = 0;
    std::size_t lists_ = 0;
};

}  // namespace

std::vector<std::string> built_in_directories(std::string_view architecture) {
    std::vector<std::string> directories;
    for (const auto& [name, triplet] : {std::pair("x86-64", "x86_64-linux-gnu"),
                                        std::pair("aarch64", "aarch64-linux-gnu"), std::pair("x86", "i386-linux-gnu")})
        if (architecture == name) directories = {fmt::format("/lib/{}", triplet), fmt::format("/usr/lib/{}", triplet)};
    directories.insert(directories.end(), {"/lib64", "/usr/lib64", "/lib", "/usr/lib"});
    return directories;
}

LoaderConfiguration read_loader_configuration(const GuestTree& tree, std::string_view architecture) {
    LoaderConfiguration found;
    Reader reader(tree, found);
    reader.read_file(std::string(main_file), 0);
    // Where nothing includes it, the set-up makes a cache in which it comes first all the same.
    found.before_fragment = reader.before_fragment();
    found.reads_fragments = reader.reads_fragment();
    for (const std::string& directory : built_in_directories(architecture)) reader.add(directory);
    return found;
}

}  // namespace cuda_nspawn
