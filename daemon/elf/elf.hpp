// What must be known of an ELF file (elf(5), System V gABI), read by a few small reads: a driver's libraries have
// hundreds of megabytes. Everything read may be hostile.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "elf/bytes.hpp"

namespace cuda_nspawn {

struct ElfFile {
    bool is_64bit = false;
    std::uint16_t machine = 0;        // EM_X86_64, EM_386, EM_AARCH64, … of <elf.h>
    std::string soname = {};          // empty: none
    std::string build_id = {};        // hex; empty: none
    std::string interpreter = {};     // PT_INTERP; empty: none
    std::vector<std::string> needed;  // DT_NEEDED, in order, at most 256
    std::string rpath = {};           // DT_RPATH as it stands there; empty: none
    std::string runpath = {};         // DT_RUNPATH
};

// The description, or why the file is no usable ELF file: "it is empty", "it is no ELF file", "it is truncated", …
std::variant<ElfFile, std::string> read_elf(const Bytes& bytes);

// The newest version of glibc that the file needs symbols of (GLIBC_2.34 of .gnu.version_r): "2.34". Empty when it
// needs none, or is no usable ELF file.
std::string needed_glibc(const Bytes& bytes);

// The content of a note of that owner in the section of that name; nothing if there is none.
std::optional<std::string> read_note(const Bytes& bytes, std::string_view section, std::string_view owner);

}  // namespace cuda_nspawn
