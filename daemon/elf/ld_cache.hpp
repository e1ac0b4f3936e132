// The loader's cache, /etc/ld.so.cache, as ldconfig of glibc writes it (elf/cache.c, sysdeps/generic/dl-cache.h): the
// format "glibc-ld.so.cache1.1", alone or behind the older "ld.so-1.7.0" one in the same file.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

enum class LibraryAbi { x86_64, aarch64, elf32, other };

struct LdCacheEntry {
    std::string_view name;  // the SONAME, or the file's name
    std::string_view path;
    LibraryAbi abi = LibraryAbi::other;
};

// The entries in the cache's order, as views into `bytes`. Nothing when it is no such cache or a header points outside
// the file; a single entry that does is left out.
std::optional<std::vector<LdCacheEntry>> parse_ld_cache(std::string_view bytes);

}  // namespace cuda_nspawn
