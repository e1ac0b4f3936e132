// The worker `examine`: looks into root file systems, for a diagnosis and for the audit of all images. It can read and
// nothing else, but for what it remembers of an audit.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"
#include "worker/diagnosis_protocol.hpp"

namespace cuda_nspawn {

struct ExamineHost {
    std::filesystem::path root = "/";
    std::filesystem::path cache;  // a directory of the worker's own; empty: nothing is remembered
};
ExamineReport examine(const ExamineRequest& request, const ExamineHost& host);

// What stands at paths of a tree, by device, inode, size and ctime, or that nothing does, as one number.
class Stamp {
public:
    void add(const GuestTree& tree, std::string_view path);
    std::string text() const;  // 16 hexadecimal digits

private:
    std::uint64_t sum_ = 0xcbf29ce484222325;
};

// Writes down what is asked of a tree, so that one can tell later whether the answers would be the same: each path, and
// what stood there before the first answer. What changes while a guest is looked into is seen to be changed, then.
class RecordingTree final : public GuestTree {
public:
    explicit RecordingTree(const GuestTree& tree) : tree_(tree) {}
    std::optional<std::string> read(std::string_view path, std::size_t limit) const override;
    std::vector<std::string> list(std::string_view path, std::size_t limit) const override;
    bool is_file(std::string_view path) const override;
    bool is_directory(std::string_view path) const override;
    std::optional<TreeEntry> find(std::string_view path) const override;
    std::unique_ptr<Bytes> open(std::string_view path) const override;

    // In the order in which they were asked for first.
    std::vector<std::string> paths() const;
    std::string stamp() const { return stamp_.text(); }

private:
    void note(std::string_view path) const;
    const GuestTree& tree_;
    mutable Stamp stamp_;
    mutable std::vector<std::string> paths_;
    mutable std::set<std::string, std::less<>> known_;
};

// Of what stands at the paths now.
std::string stamp_of(const GuestTree& tree, const std::vector<std::string>& paths);

}  // namespace cuda_nspawn
