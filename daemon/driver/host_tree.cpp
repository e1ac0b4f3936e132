#include "driver/host_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>
#include <system_error>

namespace cuda_nspawn {
namespace {

std::optional<std::string> path_of(int fd) {
    std::array<char, PATH_MAX> target{};
    const ssize_t length = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), target.data(), target.size());
    if (length <= 0 || static_cast<std::size_t>(length) == target.size()) return std::nullopt;
    return std::string(target.data(), static_cast<std::size_t>(length));
}

std::int64_t nanoseconds(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }

std::optional<std::string> read_all(int fd, std::size_t limit) {
    std::string text;
    std::array<char, 16384> buffer;
    while (text.size() <= limit) {
        const ssize_t got = ::read(fd, buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return std::nullopt;
        if (got == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return std::nullopt;
}

}  // namespace

HostTree::HostTree(const std::filesystem::path& root) : root_(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (!root_)
        throw std::system_error(errno, std::generic_category(), fmt::format("cannot open the root {}", root.string()));
    const auto path = path_of(root_.get());
    if (!path) throw std::system_error(ENOENT, std::generic_category(), "cannot read /proc/self/fd; is /proc mounted?");
    if (*path != "/") prefix_ = *path;
}

FileDescriptor HostTree::open(const std::string& path, int flags, std::uint64_t resolve) const {
    open_how how{};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_IN_ROOT | resolve;
    for (;;) {
        const long fd = ::syscall(SYS_openat2, root_.get(), path.c_str(), &how, sizeof how);
        // EAGAIN: something was renamed while a ".." was resolved.
        if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return FileDescriptor(static_cast<int>(fd));
    }
}

std::optional<std::string> HostTree::real_path(int fd) const {
    auto path = path_of(fd);
    if (!path || !path->starts_with(prefix_ + "/")) return std::nullopt;
    return path->substr(prefix_.size());
}

std::optional<HostFile> HostTree::find_file(const std::string& path) const {
    const FileDescriptor fd = open(path, O_PATH, 0);
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) < 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    auto real = real_path(fd.get());
    if (!real) return std::nullopt;
    return HostFile{std::move(*real), static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim),
                    (status.st_mode & 0111) != 0};
}

std::optional<HostDirectory> HostTree::list(const std::string& path) const {
    FileDescriptor fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    if (!fd) return std::nullopt;
    auto real = real_path(fd.get());
    if (!real) return std::nullopt;
    const int duplicate = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(duplicate < 0 ? nullptr : ::fdopendir(duplicate), ::closedir);
    if (!stream) {
        if (duplicate >= 0) ::close(duplicate);
        return std::nullopt;
    }
    HostDirectory directory{std::move(*real), {}};
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") directory.names.emplace_back(name);
    }
    std::ranges::sort(directory.names);
    return directory;
}

FileDescriptor HostTree::open_real(const std::string& path) const {
    // O_NONBLOCK: should a FIFO be there now, opening must not wait for a writer.
    FileDescriptor fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, RESOLVE_NO_SYMLINKS);
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) < 0) return FileDescriptor();
    if (!S_ISREG(status.st_mode)) {
        errno = EINVAL;
        return FileDescriptor();
    }
    return fd;
}

std::optional<std::string> HostTree::read_text(const std::string& path, std::size_t limit) const {
    const auto file = find_file(path);
    if (!file) return std::nullopt;
    const FileDescriptor fd = open_real(file->path);
    if (!fd) return std::nullopt;
    return read_all(fd.get(), limit);
}

std::string parent_directory(std::string_view path) {
    const auto slash = path.rfind('/');
    if (slash == std::string_view::npos || slash == 0) return "/";
    return std::string(path.substr(0, slash));
}

std::string_view file_name(std::string_view path) {
    const auto slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace cuda_nspawn
