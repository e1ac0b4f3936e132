#include "guest/rootfs_reader.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {
namespace {

// The kernel gives up with EAGAIN when a rename races with a lookup below RESOLVE_IN_ROOT. A guest can keep that up
// for ever, so ask only so often.
constexpr int lookup_attempts = 32;
constexpr std::size_t chunk = std::size_t{64} * 1024;

// nothing when it cannot be told, which is then treated as "not what is wanted"
std::optional<mode_t> file_type(int fd) {
    struct stat status{};
    if (::fstat(fd, &status) < 0) return std::nullopt;
    return status.st_mode & S_IFMT;
}

// The kernel's own account of where a descriptor's file is: nothing of the guest is asked again. It is only told, or
// looked up through this reader again.
std::string path_of(int fd) {
    std::array<char, PATH_MAX> path;
    ssize_t size = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path.data(), path.size());
    return size <= 0 ? "" : std::string(path.data(), static_cast<std::size_t>(size));
}

// As the guest sees it, of the kernel's account of both.
std::string path_in_root(std::string_view path, std::string_view root) {
    while (root.ends_with('/')) root.remove_suffix(1);
    if (!path.starts_with(root)) return "";
    path.remove_prefix(root.size());
    return path.starts_with('/') ? std::string(path) : path.empty() ? "/" : "";
}

// A descriptor for reading what an O_PATH descriptor holds. The path was looked up once, the file is pinned and known
// to be regular, so nothing of the guest is asked a second time: this leads through the host's own /proc, by number.
int reopen_for_reading(int path_fd) {
    return ::open(fmt::format("/proc/self/fd/{}", path_fd).c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

std::optional<std::string> read_up_to(int fd, std::size_t limit) {
    std::string content;
    while (content.size() < limit) {
        std::size_t have = content.size();
        std::size_t want = std::min(chunk, limit - have);
        content.resize(have + want);
        ssize_t got = ::read(fd, content.data() + have, want);
        content.resize(have + (got > 0 ? static_cast<std::size_t>(got) : 0));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return std::nullopt;
        if (got == 0) break;
    }
    return content;
}

}  // namespace

RootfsReader::RootfsReader(const std::filesystem::path& root, Mounts mounts)
    : enters_mounts_(mounts == Mounts::are_entered), root_(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (root_ < 0) throw std::system_error(errno, std::generic_category(), "cannot open " + root.string());
    root_path_ = path_of(root_);
}

RootfsReader::RootfsReader(int root_fd) : root_(root_fd), root_path_(path_of(root_fd)) {}

RootfsReader::~RootfsReader() {
    if (root_ >= 0) ::close(root_);
}

// RESOLVE_NO_XDEV: no lookup leaves the file system mount that the root lies on. In a running guest's root (seen
// through /proc/PID/root) a FUSE mount of the guest could otherwise keep the host waiting for ever. What is asked for
// lies in / and /usr, and a tree of a machine has both on one mount.
int RootfsReader::lookup(std::string_view path, int flags) const {
    if (path.empty() || path.find('\0') != std::string_view::npos) return -1;
    std::string name(path);
    struct open_how how{};
    how.flags = static_cast<decltype(how.flags)>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    if (!enters_mounts_) how.resolve |= RESOLVE_NO_XDEV;
    for (int attempt = 0; attempt < lookup_attempts; ++attempt) {
        long fd = ::syscall(SYS_openat2, root_, name.c_str(), &how, sizeof how);
        if (fd >= 0) return static_cast<int>(fd);
        if (errno != EAGAIN && errno != EINTR) return -1;
    }
    return -1;
}

std::optional<std::string> RootfsReader::read(std::string_view path, std::size_t limit) const {
    // O_PATH first: opening a fifo, a device or a socket for reading has effects, looking at it has none.
    FileDescriptor found(lookup(path, O_PATH));
    if (!found || file_type(found.get()) != S_IFREG) return std::nullopt;
    FileDescriptor file(reopen_for_reading(found.get()));
    if (!file) return std::nullopt;
    return read_up_to(file.get(), limit);
}

std::vector<std::string> RootfsReader::list(std::string_view path, std::size_t limit) const {
    // O_DIRECTORY is checked before anything is opened, so this cannot hang on a fifo.
    FileDescriptor directory(lookup(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_NOCTTY));
    if (!directory) return {};
    std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
    if (!stream) return {};
    directory.release();
    std::vector<std::string> names;
    while (names.size() < limit) {
        const dirent* entry = ::readdir(stream.get());
        if (entry == nullptr) break;
        std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    std::ranges::sort(names);
    return names;
}

bool RootfsReader::is_file(std::string_view path) const {
    FileDescriptor found(lookup(path, O_PATH));
    if (!found) return false;
    auto type = file_type(found.get());
    return type && *type != S_IFDIR;
}

bool RootfsReader::is_directory(std::string_view path) const {
    FileDescriptor found(lookup(path, O_PATH));
    return found && file_type(found.get()) == S_IFDIR;
}

std::optional<TreeEntry> RootfsReader::find(std::string_view path) const {
    FileDescriptor found(lookup(path, O_PATH));
    struct stat status{};
    if (!found || ::fstat(found.get(), &status) < 0) return std::nullopt;
    const std::string path_on_host = path_of(found.get());
    TreeEntry entry{FileType::other,
                    status.st_dev,
                    status.st_ino,
                    static_cast<std::uint64_t>(status.st_size),
                    path_on_host.substr(path_on_host.rfind('/') + 1),
                    path_in_root(path_on_host, root_path_),
                    status.st_ctim.tv_sec * 1'000'000'000 + status.st_ctim.tv_nsec};
    if (S_ISDIR(status.st_mode)) entry.type = FileType::directory;
    if (S_ISREG(status.st_mode)) entry.type = FileType::regular;
    return entry;
}

namespace {

class OpenFile final : public FileBytes {
public:
    OpenFile(FileDescriptor file, std::uint64_t size) : FileBytes(file.get(), size), file_(std::move(file)) {}

private:
    FileDescriptor file_;
};

}  // namespace

std::unique_ptr<Bytes> RootfsReader::open(std::string_view path) const {
    FileDescriptor found(lookup(path, O_PATH));
    struct stat status{};
    if (!found || ::fstat(found.get(), &status) < 0 || !S_ISREG(status.st_mode)) return nullptr;
    FileDescriptor file(reopen_for_reading(found.get()));
    if (!file) return nullptr;
    return std::make_unique<OpenFile>(std::move(file), static_cast<std::uint64_t>(status.st_size));
}

}  // namespace cuda_nspawn
