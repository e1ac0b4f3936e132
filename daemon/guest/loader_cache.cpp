#include "guest/loader_cache.hpp"

#include <algorithm>
#include <utility>

#include "guest/printable.hpp"
#include "names.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_cache = std::size_t{2} * 1024 * 1024;
constexpr std::size_t longest_path = 256;
constexpr std::size_t longest_name = 255;  // NAME_MAX
constexpr std::size_t most_paths = 16;

}  // namespace

LoaderCache::LoaderCache(const GuestTree& tree) {
    auto content = tree.read("/etc/ld.so.cache", longest_cache);
    if (!content) return;
    content_ = std::move(*content);
    auto entries = parse_ld_cache(content_);
    if (!entries) return;
    is_there_ = true;
    entries_ = std::move(*entries);
    std::erase_if(entries_, [](const LdCacheEntry& entry) { return entry.name.size() > longest_name; });
    std::ranges::stable_sort(entries_, {}, &LdCacheEntry::name);
}

std::vector<std::string> LoaderCache::paths_of(std::string_view name, LibraryAbi abi) const {
    std::vector<std::string> paths;
    for (const LdCacheEntry& entry : std::ranges::equal_range(entries_, name, {}, &LdCacheEntry::name))
        if (entry.abi == abi && paths.size() < most_paths && entry.path.starts_with('/'))
            paths.push_back(printable(entry.path, longest_path));
    return paths;
}

LibraryAbi abi_of(std::string_view architecture) {
    if (architecture == "x86-64") return LibraryAbi::x86_64;
    if (architecture == "aarch64") return LibraryAbi::aarch64;
    return architecture == "x86" ? LibraryAbi::elf32 : LibraryAbi::other;
}

bool is_of_host(std::string_view path) {
    return path.starts_with(std::string(names::guest_directory) + '/') ||
           path.starts_with(std::string(names::guest_store) + '/');
}

}  // namespace cuda_nspawn
