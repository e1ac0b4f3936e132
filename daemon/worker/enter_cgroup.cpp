#include "worker/enter_cgroup.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

namespace cuda_nspawn {
namespace {

constexpr std::string_view prefix = "cuda-nspawn-worker";
constexpr int most_leftovers = 16;
constexpr int removal_milliseconds = 2000;

FileDescriptor open_at(int directory, const char* name, int flags) {
    return FileDescriptor(::openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW));
}

void kill_all(int directory) {
    const FileDescriptor control = open_at(directory, "cgroup.kill", O_WRONLY);
    if (control && ::write(control.get(), "1", 1) < 0) return;  // gone already
}

bool is_populated(int events) {
    char text[256];
    const ssize_t length = ::pread(events, text, sizeof text - 1, 0);
    if (length <= 0) return false;
    text[length] = '\0';
    return std::strstr(text, "populated 1") != nullptr;
}

// cgroup.events changes when the last process is gone, and says so by POLLPRI.
void wait_until_empty(int directory) {
    const FileDescriptor events = open_at(directory, "cgroup.events", O_RDONLY);
    if (!events) return;
    for (int tries = 0; tries < 4 && is_populated(events.get()); ++tries) {
        pollfd wait{events.get(), POLLPRI, 0};
        ::poll(&wait, 1, removal_milliseconds / 4);
    }
}

bool remove(int parent, const std::string& name) {
    const FileDescriptor directory = open_at(parent, name.c_str(), O_RDONLY | O_DIRECTORY);
    if (!directory) return errno == ENOENT;
    kill_all(directory.get());
    wait_until_empty(directory.get());
    return ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
}

// Only what the host's root made: a guest may make cgroups of any name here.
void remove_leftovers(int parent) {
    const int copy = ::openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(copy < 0 ? nullptr : ::fdopendir(copy), ::closedir);
    std::vector<std::string> names;
    while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
        struct stat status{};
        if (std::string_view(entry->d_name).starts_with(prefix) && names.size() < most_leftovers &&
            ::fstatat(parent, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_uid == 0)
            names.emplace_back(entry->d_name);
    }
    for (const std::string& name : names) remove(parent, name);
}

}  // namespace

// Processes may not be where controllers are given to children, so it has to be a leaf; systemd-nspawn keeps the guest
// in `payload`, and its own supervisor beside it.
LeafCgroup::LeafCgroup(const std::filesystem::path& root, const std::string& machine_cgroup)
    : name_(fmt::format("{}-{}", prefix, ::getpid())) {
    const std::string own = root.string() + machine_cgroup;
    parent_ = FileDescriptor(::open((own + "/payload").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!parent_) parent_ = FileDescriptor(::open(own.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!parent_) throw std::runtime_error(fmt::format("cannot open the cgroup {}: {}", own, std::strerror(errno)));
    remove_leftovers(parent_.get());
    if (::mkdirat(parent_.get(), name_.c_str(), 0755) < 0)
        throw std::runtime_error(fmt::format("cannot make a cgroup below {}: {}", own, std::strerror(errno)));
    directory_ = open_at(parent_.get(), name_.c_str(), O_RDONLY | O_DIRECTORY);
    struct stat status{};
    // A guest can replace our directory by its own, and freeze what is in its own.
    if (!directory_ || ::fstat(directory_.get(), &status) < 0 || status.st_uid != ::geteuid())
        throw std::runtime_error(fmt::format("the guest interferes with the cgroup {}/{}", own, name_));
    procs_ = open_at(directory_.get(), "cgroup.procs", O_WRONLY);
    if (!procs_)
        throw std::runtime_error(fmt::format("cannot enter the cgroup {}/{}: {}", own, name_, std::strerror(errno)));
}

LeafCgroup::~LeafCgroup() {
    procs_ = FileDescriptor();
    directory_ = FileDescriptor();
    remove(parent_.get(), name_);
}

void LeafCgroup::kill() const { kill_all(directory_.get()); }

}  // namespace cuda_nspawn
