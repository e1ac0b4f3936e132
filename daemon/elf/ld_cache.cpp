#include "elf/ld_cache.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cuda_nspawn {
namespace {

constexpr std::string_view old_magic = "ld.so-1.7.0";
constexpr std::size_t old_header_size = 16;  // magic, padding, count
constexpr std::size_t old_entry_size = 12;
constexpr std::string_view new_magic = "glibc-ld.so.cache1.1";
constexpr std::size_t new_header_size = 48;  // magic, count, length of strings, flags, extension offset, unused
constexpr std::size_t new_entry_size = 24;   // flags, name, path, OS version, hardware capabilities
constexpr std::size_t new_alignment = 8;
// Entries may share a string: without a limit, many that name a long one cost minutes.
constexpr std::size_t longest_string = 4096;  // PATH_MAX

std::uint32_t number_at(std::string_view bytes, std::size_t offset) {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

std::optional<std::string_view> string_at(std::string_view bytes, std::size_t offset) {
    if (offset >= bytes.size()) return std::nullopt;
    const auto text = bytes.substr(offset, longest_string);
    const auto end = text.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    return text.substr(0, end);
}

// FLAG_ELF_LIBC6 and one of the architectures of dl-cache.h.
LibraryAbi abi_of(std::uint32_t flags) {
    switch (flags) {
        case 0x0303:
            return LibraryAbi::x86_64;
        case 0x0a03:
            return LibraryAbi::aarch64;
        case 0x0003:
            return LibraryAbi::elf32;
        default:
            return LibraryAbi::other;
    }
}

// The part in the new format, which is what its string offsets count from.
std::optional<std::string_view> new_format(std::string_view bytes) {
    if (bytes.starts_with(old_magic)) {
        if (bytes.size() < old_header_size) return std::nullopt;
        const std::uint64_t end = old_header_size + std::uint64_t{number_at(bytes, 12)} * old_entry_size;
        const std::uint64_t aligned = (end + new_alignment - 1) / new_alignment * new_alignment;
        if (aligned >= bytes.size()) return std::nullopt;
        bytes.remove_prefix(static_cast<std::size_t>(aligned));
    }
    if (!bytes.starts_with(new_magic) || bytes.size() < new_header_size) return std::nullopt;
    return bytes;
}

}  // namespace

std::optional<std::vector<LdCacheEntry>> parse_ld_cache(std::string_view bytes) {
    const auto cache = new_format(bytes);
    if (!cache) return std::nullopt;
    const std::size_t count = number_at(*cache, 20);
    if (count > (cache->size() - new_header_size) / new_entry_size) return std::nullopt;

    std::vector<LdCacheEntry> entries;
    entries.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = new_header_size + i * new_entry_size;
        const auto name = string_at(*cache, number_at(*cache, at + 4));
        const auto path = string_at(*cache, number_at(*cache, at + 8));
        if (name && path) entries.push_back({*name, *path, abi_of(number_at(*cache, at))});
    }
    return entries;
}

}  // namespace cuda_nspawn
