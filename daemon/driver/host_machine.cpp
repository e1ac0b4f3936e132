#include "driver/host_machine.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "driver/catalogue.hpp"
#include "elf/version.hpp"

namespace cuda_nspawn {

std::variant<ElfFile, Refusal> inspect_elf(const HostTree& tree, const HostFile& file) {
    const FileDescriptor fd = tree.open_real(file.path);
    if (!fd)
        return Refusal{fmt::format("it cannot be opened ({})", std::generic_category().message(errno)),
                       errno != ENOENT && errno != ELOOP && errno != EINVAL};  // these: it was replaced meanwhile
    auto result = read_elf(FileBytes(fd.get(), file.size));
    if (auto* reason = std::get_if<std::string>(&result)) return Refusal{std::move(*reason)};
    auto& elf = std::get<ElfFile>(result);
    if (elf.machine != (elf.is_64bit ? host_machine : host_machine32))
        return Refusal{fmt::format("it is made for another architecture (ELF machine {})", elf.machine)};
    return std::move(elf);
}

std::string needed_glibc(const HostTree& tree, const HostFile& file) {
    const FileDescriptor fd = tree.open_real(file.path);
    return fd ? needed_glibc(FileBytes(fd.get(), file.size)) : std::string();
}

bool is_too_new_for_guests(const HostTree& tree, const HostFile& file, std::string_view newest) {
    const std::string needed = needed_glibc(tree, file);
    return compare_versions(needed, oldest_glibc) > 0 && compare_versions(needed, newest) > 0;
}

}  // namespace cuda_nspawn
