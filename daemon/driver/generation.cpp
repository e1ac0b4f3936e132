#include "driver/generation.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

#include "driver/host_tree.hpp"
#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t copy_buffer_size = std::size_t{1} << 20;

[[noreturn]] void throw_errno(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// Names of directories in the making: .NAME.XXXXXX
bool is_temporary_name(std::string_view name) {
    constexpr std::size_t suffix = 7;
    return name.size() > suffix + 1 && name[0] == '.' && name[name.size() - suffix] == '.' &&
           is_generation_name(name.substr(1, name.size() - 1 - suffix));
}

fs::path make_temporary(const fs::path& store, std::string_view name) {
    std::string path = (store / fmt::format(".{}.XXXXXX", name)).string();
    if (!::mkdtemp(path.data())) throw_errno(fmt::format("cannot make a directory in {}", store.string()));
    return path;
}

FileDescriptor lock_store(const fs::path& store) {
    const std::string path = store.string() + ".lock";
    FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) throw_errno(fmt::format("cannot open {}", path));
    while (::flock(fd.get(), LOCK_EX) < 0)
        if (errno != EINTR) throw_errno(fmt::format("cannot lock {}", path));
    return fd;
}

fs::path without_trailing_slash(const fs::path& path) { return path.has_filename() ? path : path.parent_path(); }

// Under the store's lock nobody builds: whatever has a temporary name was left by a build that did not end.
void remove_leftovers(const fs::path& store) {
    for (const auto& entry : fs::directory_iterator(store))
        if (is_temporary_name(entry.path().filename().string())) fs::remove_all(entry.path());
}

void write_all(int fd, std::string_view text, const std::string& path) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) throw_errno(fmt::format("cannot write {}", path));
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

// The device's writing errors arrive here at the latest.
void finish_file(int fd, mode_t mode, const std::string& path) {
    if (::fchmod(fd, mode) < 0) throw_errno(fmt::format("cannot set the mode of {}", path));
    if (::fsync(fd) < 0) throw_errno(fmt::format("cannot write {} to disk", path));
}

FileDescriptor create_file(const std::string& path) {
    FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) throw_errno(fmt::format("cannot create {}", path));
    return fd;
}

void write_file(const std::string& path, std::string_view text, mode_t mode) {
    const auto fd = create_file(path);
    write_all(fd.get(), text, path);
    finish_file(fd.get(), mode, path);
}

void sync_directory(const fs::path& path) {
    const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) < 0) throw_errno(fmt::format("cannot write {} to disk", path.string()));
}

// A package may be upgrading while the generation is built: a mixture must not get the digest of either.
void check_unchanged(int fd, const DriverFile& file) {
    struct stat status{};
    if (::fstat(fd, &status) < 0) throw_errno(fmt::format("cannot stat {}", file.source));
    const auto mtime_ns = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (static_cast<std::uint64_t>(status.st_size) != file.size || mtime_ns != file.mtime_ns)
        throw std::runtime_error(fmt::format(
            "{} has changed since the driver was looked for (is it being upgraded?): try again", file.source));
}

void copy_bytes(int from, int to, std::uint64_t size, const std::string& source, const std::string& target) {
    off_t at = 0;
    off_t end = 0;
    const auto total = static_cast<off_t>(size);
    // Not between all file systems; whatever is wrong, the loop below says it.
    while (at < total && ::copy_file_range(from, &at, to, &end, static_cast<std::size_t>(total - at), 0) > 0) {}
    if (at < total && ::lseek(to, at, SEEK_SET) < 0) throw_errno(fmt::format("cannot write {}", target));
    std::string buffer(at < total ? copy_buffer_size : 0, '\0');
    while (at < total) {
        const ssize_t got = ::pread(from, buffer.data(), buffer.size(), at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw_errno(fmt::format("cannot read {}", source));
        if (got == 0) throw std::runtime_error(fmt::format("{} became shorter while it was copied: try again", source));
        write_all(to, {buffer.data(), static_cast<std::size_t>(got)}, target);
        at += got;
    }
}

void copy_source(const HostTree& tree, const DriverFile& file, const std::string& target, mode_t mode) {
    const auto from = tree.open_real(file.source);
    if (!from)
        throw_errno(
            fmt::format("cannot open {} as a regular file (is the driver being upgraded? try again)", file.source));
    check_unchanged(from.get(), file);
    const auto to = create_file(target);
    if (::ioctl(to.get(), FICLONE, from.get()) < 0) copy_bytes(from.get(), to.get(), file.size, file.source, target);
    check_unchanged(from.get(), file);
    finish_file(to.get(), mode, target);
}

void make_link(const fs::path& path, const std::string& target) {
    fs::create_directories(path.parent_path());
    fs::create_symlink(target, path);
}

// Everything below `directory` that is a directory, and itself: readable for guests whatever our umask, and on disk.
void finish_directories(const fs::path& directory) {
    for (const auto& entry : fs::directory_iterator(directory))
        if (entry.is_directory() && !entry.is_symlink()) finish_directories(entry.path());
    if (::chmod(directory.c_str(), 0755) < 0) throw_errno(fmt::format("cannot set the mode of {}", directory.string()));
    sync_directory(directory);
}

void fill(const Driver& driver, std::string_view name, const fs::path& directory, const fs::path& host_root) {
    const HostTree tree(host_root);
    for (const auto& file : driver.files) {
        const fs::path target = directory / generation_path(file);
        const mode_t mode = file.kind == FileKind::program ? 0755 : 0644;
        fs::create_directories(target.parent_path());
        if (file.text.empty())
            copy_source(tree, file, target.string(), mode);
        else
            write_file(target.string(), file.text, mode);
        const fs::path folder = directory / to_string(file.capability) / generation_folder(file.kind);
        for (const auto& link : file.links) make_link(folder / link, link_target(file, link));
    }
    write_file((directory / manifest_name).string(), manifest_text(driver, name), 0644);
    finish_directories(directory);
}

// Removes a temporary directory at the end, however it comes.
class TemporaryDirectory {
public:
    TemporaryDirectory(const fs::path& store, std::string_view name) : path_(make_temporary(store, name)) {}
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;  // what stays is a leftover, which the next build removes
        fs::remove_all(path_, ignored);
    }
    const fs::path& path() const { return path_; }

private:
    fs::path path_;
};

// A damaged generation of that name changes places with the new one, so that guests always find one of the two; under
// the temporary name it is removed.
void put_in_place(const fs::path& directory, const fs::path& target) {
    const unsigned flags = fs::exists(fs::symlink_status(target)) ? RENAME_EXCHANGE : 0;
    if (::renameat2(AT_FDCWD, directory.c_str(), AT_FDCWD, target.c_str(), flags) < 0)
        throw_errno(fmt::format("cannot put {} in its place", target.string()));
}

// Whether there was anything to do.
bool build(const Driver& driver, std::string_view name, const fs::path& store_path, const fs::path& host_root,
           bool leave_complete) {
    const fs::path store = without_trailing_slash(store_path);
    if (!is_generation_name(name)) throw std::runtime_error(fmt::format("\"{}\" is no name of a generation", name));
    if (driver.files.empty()) throw std::runtime_error("there are no driver files to build a generation from");
    check_layout(driver.files);
    fs::create_directories(store);

    const auto lock = lock_store(store);
    remove_leftovers(store);
    if (leave_complete && generation_is_complete(name, store)) return false;
    const TemporaryDirectory temporary(store, name);
    fill(driver, name, temporary.path(), host_root);
    put_in_place(temporary.path(), store / name);
    sync_directory(store);
    return true;
}

}  // namespace

bool build_generation(const Driver& driver, std::string_view name, const fs::path& store, const fs::path& host_root) {
    return build(driver, name, store, host_root, true);
}

void rebuild_generation(const Driver& driver, std::string_view name, const fs::path& store, const fs::path& host_root) {
    build(driver, name, store, host_root, false);
}

std::vector<std::string> collect_generations(const fs::path& store_path, const std::vector<std::string>& keep) {
    const fs::path store = without_trailing_slash(store_path);
    std::vector<std::string> removed;
    if (!fs::exists(store)) return removed;
    const auto lock = lock_store(store);
    remove_leftovers(store);
    for (const auto& entry : fs::directory_iterator(store)) {
        const std::string name = entry.path().filename().string();
        if (!is_generation_name(name) || entry.is_symlink() || std::ranges::find(keep, name) != keep.end()) continue;
        // An admin's own directory may have such a name too.
        if (!fs::is_regular_file(fs::symlink_status(entry.path() / manifest_name))) continue;
        removed.push_back(name);
    }
    for (const auto& name : removed) {
        // Renamed first, so that it is gone at once; what is only half removed after a crash is a leftover.
        const TemporaryDirectory temporary(store, name);
        fs::rename(store / name, temporary.path());
    }
    std::ranges::sort(removed);
    return removed;
}

}  // namespace cuda_nspawn
