// The host's files as the expose worker changes them: every path is walked without following any link, files appear
// whole or not at all. Guests without user namespaces can write into what is mounted into them, so no path is trusted.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "plan/plan.hpp"

namespace cuda_nspawn {

class Tree {
public:
    // `root` is "/" but in tests. `inside` holds the files that machine directories share by hard links.
    Tree(const std::filesystem::path& root, std::string inside);
    ~Tree();
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;

    bool holds(const Entry& entry) const;        // exactly this is there
    bool exists(const std::string& path) const;  // anything is there
    std::optional<std::string> read(const std::string& path, std::size_t limit = 1 << 20) const;  // regular files only
    // The same where links may lead elsewhere on the host, as an admin may like it: /etc and the images' directories.
    std::optional<std::string> read_linked(const std::string& path, std::size_t limit = 1 << 20) const;
    std::vector<std::string> list(const std::string& directory) const;  // all paths below, children before parents

    // Each throws std::system_error that names the path.
    void make(const Entry& entry);         // replaces what is there by a rename
    void remove(const std::string& path);  // a file, link, node or empty directory; absent is fine
    void remove_directory_if_empty(const std::string& path);
    void remove_leftover(const std::string& path);                          // of a make() that was killed
    void write_in_place(const std::string& path, const std::string& text);  // same length: seen whole through inotify
    // Makes INSIDE/name a copy of the file `source` unless it is one already.
    void share(const std::filesystem::path& source, const std::string& name);

private:
    std::optional<std::string> read_opened(int file, std::size_t limit) const;
    int parent(const std::string& path, bool create) const;
    int root_;
    std::string inside_;
};

}  // namespace cuda_nspawn
