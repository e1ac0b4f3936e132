#include "driver/host_machine.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace cuda_nspawn {

std::variant<ElfFile, std::string> inspect_elf(const HostTree& tree, const HostFile& file) {
    const FileDescriptor fd = tree.open_real(file.path);
    if (!fd) return fmt::format("it cannot be opened ({})", std::generic_category().message(errno));
    auto result = read_elf(fd.get(), file.size);
    if (const auto* elf = std::get_if<ElfFile>(&result))
        if (elf->machine != (elf->is_64bit ? host_machine : host_machine32))
            return fmt::format("it is made for another architecture (ELF machine {})", elf->machine);
    return result;
}

}  // namespace cuda_nspawn
