#include "guest/bounded_tree.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include <fmt/format.h>

#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_notes = 8;
constexpr std::size_t longest_path = 256;

std::chrono::nanoseconds processor_time() {
    std::timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

class BoundedTree::CountedBytes final : public Bytes {
public:
    CountedBytes(const BoundedTree& tree, std::unique_ptr<Bytes> bytes) : tree_(tree), bytes_(std::move(bytes)) {}
    std::uint64_t size() const override { return bytes_->size(); }
    bool read(std::uint64_t offset, void* to, std::size_t length) const override {
        return tree_.take(tree_.left_.bytes, length) && bytes_->read(offset, to, length);
    }

private:
    const BoundedTree& tree_;
    std::unique_ptr<Bytes> bytes_;
};

BoundedTree::BoundedTree(const GuestTree& tree, const TreeLimits& limits)
    : tree_(tree),
      left_(limits),
      until_(std::chrono::steady_clock::now() + limits.elapsed),
      processor_until_(processor_time() + limits.processor) {}

bool BoundedTree::is_late() const {
    return processor_time() > processor_until_ || std::chrono::steady_clock::now() > until_;
}

bool BoundedTree::take(std::size_t& left, std::size_t count) const {
    if (spent_ || count > left || is_late()) {
        spent_ = true;
        return false;
    }
    left -= count;
    return true;
}

std::optional<std::string> BoundedTree::read(std::string_view path, std::size_t limit) const {
    if (!take(left_.lookups, 1)) return std::nullopt;
    auto content = tree_.read(path, std::min(limit, left_.bytes));
    if (content && (!take(left_.bytes, content->size()) || (left_.bytes == 0 && content->size() < limit)))
        return std::nullopt;
    return content;
}

std::vector<std::string> BoundedTree::list(std::string_view path, std::size_t limit) const {
    if (!take(left_.lists, 1)) return {};
    const std::size_t most = std::min(limit, left_.names);
    std::vector<std::string> names = tree_.list(path, most + 1);
    if (names.size() > most) {
        if (cut_off_.size() < most_notes) cut_off_.insert(printable(path, longest_path));
        names.pop_back();
    }
    return take(left_.names, names.size()) ? names : std::vector<std::string>{};
}

bool BoundedTree::is_file(std::string_view path) const { return take(left_.lookups, 1) && tree_.is_file(path); }

bool BoundedTree::is_directory(std::string_view path) const {
    return take(left_.lookups, 1) && tree_.is_directory(path);
}

std::optional<TreeEntry> BoundedTree::find(std::string_view path) const {
    if (!take(left_.lookups, 1)) return std::nullopt;
    return tree_.find(path);
}

std::unique_ptr<Bytes> BoundedTree::open(std::string_view path) const {
    if (!take(left_.lookups, 1)) return nullptr;
    auto bytes = tree_.open(path);
    return bytes ? std::make_unique<CountedBytes>(*this, std::move(bytes)) : nullptr;
}

std::vector<std::string> BoundedTree::notes() const {
    std::vector<std::string> notes;
    if (spent_)
        notes.emplace_back(
            "There is more in the guest's root file system than is looked at, so what is said of it may "
            "not be all.");
    for (const std::string& directory : cut_off_)
        notes.push_back(fmt::format("{} has so many entries that only some of them were looked at.", directory));
    return notes;
}

}  // namespace cuda_nspawn
