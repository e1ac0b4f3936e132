// A host's file system below one root, as discovery and the building of a generation read it. Every link, absolute ones
// too, is resolved inside that root by the kernel (openat2, RESOLVE_IN_ROOT). Paths begin with a slash and are seen
// from the root.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {

// A regular file, found through whatever links lead to it.
struct HostFile {
    std::string path;  // without links
    std::uint64_t size = 0;
    std::int64_t mtime_ns = 0;
    bool executable = false;
};

struct HostDirectory {
    std::string path;                // without links
    std::vector<std::string> names;  // sorted, without . and ..
};

class HostTree {
public:
    // Throws std::system_error when there is no such directory.
    explicit HostTree(const std::filesystem::path& root);

    std::optional<HostFile> find_file(const std::string& path) const;
    std::optional<HostDirectory> list(const std::string& path) const;

    // Opens a path that leads through no link, for reading; invalid with errno set when it is gone, a link or no
    // regular file.
    FileDescriptor open_real(const std::string& path) const;

    // The text of a regular file; nothing when there is none or it is longer than `limit` bytes.
    std::optional<std::string> read_text(const std::string& path, std::size_t limit) const;

private:
    FileDescriptor open(const std::string& path, int flags, std::uint64_t resolve) const;
    std::optional<std::string> real_path(int fd) const;

    FileDescriptor root_;
    std::string prefix_;  // of the root as the process sees it; empty for /
};

std::string parent_directory(std::string_view path);  // "/a/b" -> "/a", "/a" -> "/"
std::string_view file_name(std::string_view path);    // "/a/b" -> "b"

}  // namespace cuda_nspawn
