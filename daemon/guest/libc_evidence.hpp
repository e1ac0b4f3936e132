// Which libc a root file system has, from its dynamic loaders and libc.so.6. Everything read is hostile input.
#pragma once

#include <string>
#include <string_view>

#include "guest/guest.hpp"

namespace cuda_nspawn {

// "x86-64", "aarch64", "x86" or "other" from an ELF header (elf(5): e_ident, e_machine), "" when it is none.
std::string elf_architecture(std::string_view content);

// "2.36" from the banner in glibc's libc.so.6, "" when there is none.
std::string glibc_version(std::string_view content);

struct LibcEvidence {
    Libc libc = Libc::none;
    std::string version;
    std::string architecture;
};

LibcEvidence find_libc(const GuestTree& tree);

}  // namespace cuda_nspawn
