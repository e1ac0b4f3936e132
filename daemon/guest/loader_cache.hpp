// A guest's /etc/ld.so.cache. Hostile input.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/ld_cache.hpp"
#include "guest/guest.hpp"

namespace cuda_nspawn {

class LoaderCache {
public:
    // What is no cache, or too large to be one, counts as none.
    explicit LoaderCache(const GuestTree& tree);

    bool is_there() const { return is_there_; }
    // In the cache's order.
    std::vector<std::string> paths_of(std::string_view name, LibraryAbi abi) const;

private:
    std::string content_;
    bool is_there_ = false;
    std::vector<LdCacheEntry> entries_;  // by name, and of one name in the cache's order
};

// In Guest's words.
LibraryAbi abi_of(std::string_view architecture);

// Whether it lies in what the host gives, which a root file system that does not run has not got.
bool is_of_host(std::string_view path);

}  // namespace cuda_nspawn
