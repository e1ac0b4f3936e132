// Which ELF files run on this host.
#pragma once

#include <elf.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "driver/host_tree.hpp"
#include "elf/elf.hpp"

namespace cuda_nspawn {

#if defined(__x86_64__)
inline constexpr std::uint16_t host_machine = EM_X86_64;
inline constexpr std::uint16_t host_machine32 = EM_386;
#elif defined(__aarch64__)
inline constexpr std::uint16_t host_machine = EM_AARCH64;
inline constexpr std::uint16_t host_machine32 = EM_NONE;  // NVIDIA has no 32-bit driver for it
#else
#error "NVIDIA's driver exists for x86-64 and aarch64"
#endif

struct Refusal {
    std::string reason;       // "it is empty"
    bool unreadable = false;  // it is there, and what it is cannot be told
};
// What the file is, or why it cannot be used on this host.
std::variant<ElfFile, Refusal> inspect_elf(const HostTree& tree, const HostFile& file);

// needed_glibc() of a file; empty also when it cannot be opened.
std::string needed_glibc(const HostTree& tree, const HostFile& file);
// Whether a file that a distribution may have built is none for all machines. `newest` is what the driver itself needs.
bool is_too_new_for_guests(const HostTree& tree, const HostFile& file, std::string_view newest);

}  // namespace cuda_nspawn
