// Which ELF files run on this host.
#pragma once

#include <elf.h>

#include <cstdint>
#include <string>
#include <variant>

#include "driver/elf.hpp"
#include "driver/host_tree.hpp"

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

// What the file is, or why it cannot be used on this host.
std::variant<ElfFile, std::string> inspect_elf(const HostTree& tree, const HostFile& file);

}  // namespace cuda_nspawn
