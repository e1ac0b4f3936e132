// A root file system that answers only for so long: whoever made it, and however much is in it, a look at it ends.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

// In all, over the life of a BoundedTree. Ordinary roots take a tenth of it.
struct TreeLimits {
    std::size_t lists = 4096;
    std::size_t names = std::size_t{64} * 1024;  // in these lists
    std::size_t lookups = std::size_t{32} * 1024;
    std::size_t bytes = std::size_t{256} * 1024 * 1024;
    // Of this thread's own time: a lookup through forty links of thousands of components each costs milliseconds. What
    // the disk takes does not count, up to the second one.
    std::chrono::milliseconds processor{400};
    std::chrono::milliseconds elapsed{10000};
};

// When it has been asked too much, everything counts as absent, and notes() says so.
class BoundedTree final : public GuestTree {
public:
    explicit BoundedTree(const GuestTree& tree, const TreeLimits& limits = {});

    std::optional<std::string> read(std::string_view path, std::size_t limit) const override;
    std::vector<std::string> list(std::string_view path, std::size_t limit) const override;
    bool is_file(std::string_view path) const override;
    bool is_directory(std::string_view path) const override;
    std::optional<TreeEntry> find(std::string_view path) const override;
    std::unique_ptr<Bytes> open(std::string_view path) const override;

    bool is_spent() const { return spent_; }
    // Sentences on what was not looked at: printable, at most a handful.
    std::vector<std::string> notes() const;

private:
    class CountedBytes;
    // Takes so many off; false when there are not that many left.
    bool take(std::size_t& left, std::size_t count) const;
    bool is_late() const;

    const GuestTree& tree_;
    mutable TreeLimits left_;
    std::chrono::steady_clock::time_point until_;
    std::chrono::nanoseconds processor_until_;
    mutable bool spent_ = false;
    mutable std::set<std::string> cut_off_;  // directories with more names than were asked for
};

}  // namespace cuda_nspawn
