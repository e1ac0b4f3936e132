#include "worker/tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <system_error>

namespace cuda_nspawn {

namespace {

// More are not kept open: a request may be about many machines.
constexpr std::size_t kept_directories = 64;

[[noreturn]] void fail(std::string_view action, const std::string& path) {
    throw std::system_error(errno, std::generic_category(), fmt::format("cannot {} {}", action, path));
}

int open_in_root(int directory, const std::string& path, int flags, std::uint64_t resolve) {
    open_how how{};
    // openat2 refuses flags that O_PATH would ignore.
    const int no_effects = (flags & O_PATH) != 0 ? 0 : O_NOCTTY | O_NONBLOCK;
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | no_effects);
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
    return static_cast<int>(::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how));
}

int open_without_links(int directory, const std::string& path, int flags) {
    return open_in_root(directory, path, flags, RESOLVE_NO_SYMLINKS);
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }
std::string directory_name(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string temporary_name(const std::string& name) { return fmt::format(".{}.new", name); }

void write_all(int fd, const std::string& text, const std::string& path) {
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t step = ::write(fd, text.data() + written, text.size() - written);
        if (step < 0) {
            if (errno == EINTR) continue;
            fail("write", path);
        }
        written += static_cast<std::size_t>(step);
    }
}

void make_file(int parent, const std::string& temporary, const Entry& entry) {
    const FileDescriptor file(
        ::openat(parent, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) fail("create", entry.path);
    write_all(file.get(), entry.content, entry.path);
    if (::fchmod(file.get(), entry.mode) < 0) fail("set the mode of", entry.path);
}

void make_node(int parent, const std::string& temporary, const Entry& entry) {
    const dev_t number = makedev(entry.device.major, entry.device.minor);
    if (::mknodat(parent, temporary.c_str(), S_IFCHR, number) < 0) fail("create the device node", entry.path);
    if (entry.owner != 0 && ::fchownat(parent, temporary.c_str(), entry.owner, entry.owner, AT_SYMLINK_NOFOLLOW) < 0)
        fail("set the owner of", entry.path);
    if (::fchmodat(parent, temporary.c_str(), entry.mode, 0) < 0) fail("set the mode of", entry.path);
}

// Of what cannot be looked at it is one that no file has.
FileStamp stamp_at(int directory, const std::string& path) {
    struct stat status{};
    if (directory < 0 && directory != AT_FDCWD) return {};
    if (::fstatat(directory, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return {};
    return {status.st_dev, status.st_ino, status.st_size,
            std::int64_t{status.st_ctim.tv_sec} * 1'000'000'000 + status.st_ctim.tv_nsec};
}

// The kernel's clock for files ticks every few milliseconds: two changes within one tick leave the same stamp.
bool is_settled(const FileStamp& stamp) {
    const auto now =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch());
    return stamp.inode != 0 && now.count() - stamp.changed_nsec > 1'000'000'000;
}

}  // namespace

Tree::Tree(const std::filesystem::path& root, std::string inside)
    : root_(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), inside_(std::move(inside)) {
    if (root_ < 0) fail("open", root);
}

Tree::~Tree() { ::close(root_); }

int Tree::parent(const std::string& path, bool create) const {
    const std::string directory = directory_name(path);
    if (const auto known = directories_.find(directory); known != directories_.end()) return known->second.get();
    FileDescriptor fd(open_without_links(root_, directory, O_PATH | O_DIRECTORY));
    if (!fd && create && errno == ENOENT) {
        const int above = parent(directory, true);
        if (above < 0) return -1;
        if (::mkdirat(above, base_name(directory).c_str(), 0755) < 0 && errno != EEXIST) return -1;
        fd = FileDescriptor(open_without_links(root_, directory, O_PATH | O_DIRECTORY));
    }
    if (!fd) return -1;
    if (directories_.size() == kept_directories) directories_.clear();
    return (directories_[directory] = std::move(fd)).get();
}

// It was removed, and another may get its name.
void Tree::forget_directory(const std::string& path) const {
    std::erase_if(directories_,
                  [&](const auto& known) { return known.first == path || known.first.starts_with(path + "/"); });
}

std::optional<std::string> Tree::read(const std::string& path, std::size_t limit) const {
    return read_opened(open_without_links(root_, path, O_RDONLY), limit);
}

std::optional<std::string> Tree::read_linked(const std::string& path, std::size_t limit) const {
    return read_opened(open_in_root(root_, path, O_RDONLY, 0), limit);
}

std::optional<std::string> Tree::read_opened(int fd, std::size_t limit) const {
    const FileDescriptor file(fd);
    struct stat status{};
    if (!file || ::fstat(file.get(), &status) < 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    std::string text(std::min(limit, static_cast<std::size_t>(status.st_size)), '\0');
    std::size_t have = 0;
    while (have < text.size()) {
        const ssize_t step = ::read(file.get(), text.data() + have, text.size() - have);
        if (step < 0 && errno == EINTR) continue;
        if (step <= 0) break;
        have += static_cast<std::size_t>(step);
    }
    text.resize(have);
    return text;
}

bool Tree::exists(const std::string& path) const {
    const int above = parent(path, false);
    struct stat status{};
    return above >= 0 && ::fstatat(above, base_name(path).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

bool Tree::is_file(const std::string& path) const {
    const int above = parent(path, false);
    struct stat status{};
    return above >= 0 && ::fstatat(above, base_name(path).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(status.st_mode);
}

bool Tree::holds(const Entry& entry) const {
    const int above = parent(entry.path, false);
    struct stat status{};
    const std::string name = base_name(entry.path);
    if (above < 0 || ::fstatat(above, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) < 0) return false;
    switch (entry.kind) {
        case EntryKind::directory:
            return S_ISDIR(status.st_mode);
        case EntryKind::file:
            return S_ISREG(status.st_mode) && read(entry.path) == entry.content;
        case EntryKind::node:
            return S_ISCHR(status.st_mode) && (status.st_mode & 0777) == entry.mode && status.st_uid == entry.owner &&
                   status.st_gid == entry.owner && status.st_rdev == makedev(entry.device.major, entry.device.minor);
        case EntryKind::link: {
            std::string target(entry.content.size() + 1, '\0');
            const ssize_t length = ::readlinkat(above, name.c_str(), target.data(), target.size());
            return length == static_cast<ssize_t>(entry.content.size()) && target.starts_with(entry.content);
        }
        case EntryKind::shared: {
            const FileDescriptor shared(open_without_links(root_, inside_ + "/" + entry.content, O_PATH));
            struct stat original{};
            return shared && ::fstat(shared.get(), &original) == 0 && original.st_ino == status.st_ino &&
                   original.st_dev == status.st_dev;
        }
    }
    return false;
}

std::vector<std::string> Tree::list(const std::string& directory) const {
    std::vector<std::string> paths;
    const FileDescriptor fd(open_without_links(root_, directory, O_RDONLY | O_DIRECTORY));
    if (!fd) return paths;
    const int copy = ::dup(fd.get());  // closed with the stream
    DIR* stream = copy < 0 ? nullptr : ::fdopendir(copy);
    if (stream == nullptr) return paths;
    while (const dirent* entry = ::readdir(stream)) {
        const std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        const std::string path = directory + "/" + name;
        if (entry->d_type == DT_DIR) {
            const std::vector<std::string> below = list(path);
            paths.insert(paths.end(), below.begin(), below.end());
        }
        paths.push_back(path);
    }
    ::closedir(stream);
    return paths;
}

void Tree::make(const Entry& entry) {
    const int above = parent(entry.path, true);
    if (above < 0) fail("open the directory of", entry.path);
    const std::string name = base_name(entry.path);
    if (entry.kind == EntryKind::directory) {
        if (::mkdirat(above, name.c_str(), 0755) == 0) return;
        // Something else in a directory's place is not ours.
        if (::unlinkat(above, name.c_str(), 0) < 0 || ::mkdirat(above, name.c_str(), 0755) < 0)
            fail("create", entry.path);
        return;
    }
    const std::string temporary = temporary_name(name);
    if (::unlinkat(above, temporary.c_str(), 0) < 0 && errno != ENOENT) fail("remove the leftover of", entry.path);
    if (entry.kind == EntryKind::file) make_file(above, temporary, entry);
    if (entry.kind == EntryKind::node) make_node(above, temporary, entry);
    if (entry.kind == EntryKind::link && ::symlinkat(entry.content.c_str(), above, temporary.c_str()) < 0)
        fail("create", entry.path);
    if (entry.kind == EntryKind::shared) {
        const FileDescriptor inside(
            open_without_links(root_, directory_name(inside_ + "/" + entry.content), O_PATH | O_DIRECTORY));
        if (!inside || ::linkat(inside.get(), base_name(entry.content).c_str(), above, temporary.c_str(), 0) < 0)
            fail("link", entry.path);
    }
    if (::renameat(above, temporary.c_str(), above, name.c_str()) < 0) fail("put in place", entry.path);
}

void Tree::remove(const std::string& path) {
    const int above = parent(path, false);
    if (above < 0) return;
    const std::string name = base_name(path);
    if (::unlinkat(above, name.c_str(), 0) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) fail("remove", path);
    if (::unlinkat(above, name.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT) fail("remove", path);
    forget_directory(path);
}

void Tree::remove_directory_if_empty(const std::string& path) {
    const int above = parent(path, false);
    if (above >= 0 && ::unlinkat(above, base_name(path).c_str(), AT_REMOVEDIR) == 0) forget_directory(path);
}

void Tree::remove_leftover(const std::string& path) {
    const int above = parent(path, false);
    if (above >= 0) ::unlinkat(above, temporary_name(base_name(path)).c_str(), 0);
}

void Tree::write_in_place(const std::string& path, const std::string& text) {
    const FileDescriptor file(open_without_links(root_, path, O_WRONLY));
    struct stat status{};
    const bool fits = file && ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
                      status.st_size == static_cast<off_t>(text.size());
    if (!fits) return make({EntryKind::file, path, text, {}});
    write_all(file.get(), text, path);
}

void Tree::share(const std::filesystem::path& source, const std::string& name, ComparedFiles& compared) {
    // Before they are read: a change meanwhile is one that the next look sees.
    const std::pair stamps(stamp_at(AT_FDCWD, source), stamp_at(parent(inside_ + "/" + name, false), base_name(name)));
    if (const auto known = compared.find(name); known != compared.end() && known->second == stamps) return;
    compared.erase(name);
    std::ifstream stream(source, std::ios::binary);
    std::ostringstream content;
    content << stream.rdbuf();
    if (!stream) fail("read", source);
    const Entry copy{EntryKind::file, inside_ + "/" + name, content.str(), {}};
    if (holds(copy)) {
        if (is_settled(stamps.first) && is_settled(stamps.second)) compared[name] = stamps;
        return;
    }
    make(copy);
    const int above = parent(copy.path, false);
    const bool program = ::access(source.c_str(), X_OK) == 0;
    if (above < 0 || ::fchmodat(above, base_name(copy.path).c_str(), program ? 0755 : 0644, 0) < 0)
        fail("set the mode of", copy.path);
}

}  // namespace cuda_nspawn
