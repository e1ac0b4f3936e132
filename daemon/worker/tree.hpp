// The host's files as the expose worker changes them: every path is walked without following any link, files appear
// whole or not at all. Guests without user namespaces can write into what is mounted into them, so no path is trusted.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "elf/file_descriptor.hpp"
#include "plan/plan.hpp"

namespace cuda_nspawn {

// A file as it was: whoever writes into it, or puts another in its place, changes one of these.
struct FileStamp {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    std::int64_t changed_nsec = 0;  // its ctime
    bool operator==(const FileStamp&) const = default;
};
// Files that were compared with their copies and were the same, by the copy's name.
using ComparedFiles = std::map<std::string, std::pair<FileStamp, FileStamp>>;

class Tree {
public:
    // `root` is "/" but in tests. `inside` holds the files that machine directories share by hard links.
    Tree(const std::filesystem::path& root, std::string inside);
    ~Tree();
    Tree(const Tree&) = delete;
    Tree& operator=(const Tree&) = delete;

    bool holds(const Entry& entry) const;         // exactly this is there
    bool exists(const std::string& path) const;   // anything is there
    bool is_file(const std::string& path) const;  // a regular one
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
    // Makes INSIDE/name a copy of the file `source` unless it is one already. What `compared` has is not read again.
    void share(const std::filesystem::path& source, const std::string& name, ComparedFiles& compared);

private:
    std::optional<std::string> read_opened(int file, std::size_t limit) const;
    int parent(const std::string& path, bool create) const;  // kept open; -1 and errno if there is none
    void forget_directory(const std::string& path) const;
    int root_;
    mutable std::map<std::string, FileDescriptor> directories_;  // those that were walked to, by path
    std::string inside_;
};

}  // namespace cuda_nspawn
