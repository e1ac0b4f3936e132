// What discovery must know of an ELF file (elf(5), System V gABI), read by a few small preads: a driver's libraries
// have hundreds of megabytes.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace cuda_nspawn {

struct ElfFile {
    bool is_64bit = false;
    std::uint16_t machine = 0;  // EM_X86_64, EM_386, EM_AARCH64, … of <elf.h>
    std::string soname;         // empty: none
    std::string build_id;       // hex; empty: none
};

// The description, or why the file is no usable ELF file: "it is empty", "it is no ELF file", "it is truncated", …
std::variant<ElfFile, std::string> read_elf(int fd, std::uint64_t size);

// The newest version of glibc that the file needs symbols of (GLIBC_2.34 of .gnu.version_r): "2.34". Empty when it
// needs none, or is no usable ELF file.
std::string needed_glibc(int fd, std::uint64_t size);

}  // namespace cuda_nspawn
