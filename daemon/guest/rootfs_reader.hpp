// The one way from the host into a root file system that a guest controls: openat2 with RESOLVE_IN_ROOT and
// RESOLVE_NO_MAGICLINKS, O_NONBLOCK|O_NOCTTY|O_CLOEXEC, regular files only, size caps. No lookup enters another mount
// below the root (RESOLVE_NO_XDEV), unless it is told to: what lies there counts as absent. (Linux: openat2(2))
#pragma once

#include <filesystem>
#include <string>

#include "guest/guest.hpp"

namespace cuda_nspawn {

class RootfsReader final : public GuestTree {
public:
    // Opens the directory itself (following the host's links to it). Throws std::system_error.
    explicit RootfsReader(const std::filesystem::path& root) : RootfsReader(root, Mounts::are_absent) {}
    // Of an image that was mounted for the look, with its partitions: in there nobody else mounts anything.
    enum class Mounts { are_absent, are_entered };
    RootfsReader(const std::filesystem::path& root, Mounts mounts);
    explicit RootfsReader(int root_fd);  // takes the descriptor
    ~RootfsReader() override;
    RootfsReader(const RootfsReader&) = delete;
    RootfsReader& operator=(const RootfsReader&) = delete;

    std::optional<std::string> read(std::string_view path, std::size_t limit) const override;
    std::vector<std::string> list(std::string_view path, std::size_t limit) const override;
    bool is_file(std::string_view path) const override;
    bool is_directory(std::string_view path) const override;
    std::optional<TreeEntry> find(std::string_view path) const override;
    std::unique_ptr<Bytes> open(std::string_view path) const override;

private:
    int lookup(std::string_view path, int flags) const;  // -1 when it cannot be looked up safely
    bool enters_mounts_ = false;
    int root_;
    std::string root_path_;  // the kernel's own name for it, which begins the names of all that is in it
};

}  // namespace cuda_nspawn
