#include "guest/libc_evidence.hpp"

#include <array>
#include <optional>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

constexpr std::size_t header_size = 64;
// libc.so.6 has about 2 MB; its banner lies before any symbol table.
constexpr std::size_t libc_limit = std::size_t{4} * 1024 * 1024;

constexpr std::array loader_directories = {"/lib64", "/usr/lib64", "/lib", "/usr/lib"};
// In the order of what a root with several of them runs natively.
constexpr std::array glibc_loaders = {"ld-linux-x86-64.so.2",
                                      "ld-linux-aarch64.so.1",
                                      "ld-linux.so.2",
                                      "ld-linux-armhf.so.3",
                                      "ld64.so.2",
                                      "ld64.so.1",
                                      "ld-linux-riscv64-lp64d.so.1"};
constexpr std::array musl_loaders = {"ld-musl-x86_64.so.1", "ld-musl-aarch64.so.1", "ld-musl-i386.so.1",
                                     "ld-musl-armhf.so.1"};
constexpr std::array libc_directories = {"/lib/x86_64-linux-gnu",
                                         "/usr/lib/x86_64-linux-gnu",
                                         "/lib/aarch64-linux-gnu",
                                         "/usr/lib/aarch64-linux-gnu",
                                         "/lib/i386-linux-gnu",
                                         "/usr/lib/i386-linux-gnu",
                                         "/lib64",
                                         "/usr/lib64",
                                         "/lib",
                                         "/usr/lib"};

std::optional<std::string> architecture_of(const GuestTree& tree, const std::string& path) {
    auto header = tree.read(path, header_size);
    if (!header) return std::nullopt;
    std::string architecture = elf_architecture(*header);
    if (architecture.empty()) return std::nullopt;
    return architecture;
}

// Debian's multiarch directories need no search of their own: the loader's place is fixed in every program's ELF
// interpreter field, and only the directories above occur there.
template <typename Names>
std::optional<std::string> find_loader(const GuestTree& tree, const Names& names) {
    for (const char* name : names) {
        for (const char* directory : loader_directories) {
            if (auto architecture = architecture_of(tree, fmt::format("{}/{}", directory, name))) return architecture;
        }
    }
    return std::nullopt;
}

std::string find_glibc_version(const GuestTree& tree, const std::string& architecture) {
    for (const char* directory : libc_directories) {
        std::string path = fmt::format("{}/libc.so.6", directory);
        if (architecture_of(tree, path) != architecture) continue;
        auto content = tree.read(path, libc_limit);
        if (!content) continue;
        if (std::string version = glibc_version(*content); !version.empty()) return version;
    }
    return "";
}

}  // namespace

std::string elf_architecture(std::string_view content) {
    using namespace std::string_view_literals;
    if (content.size() < 20 || !content.starts_with("\x7f"
                                                    "ELF"sv))
        return "";
    bool is_64_bit = content[4] == 2;
    bool little_endian = content[5] == 1;
    auto machine = static_cast<unsigned>(static_cast<unsigned char>(content[18]));
    if (!little_endian || content[19] != 0) return "other";
    if (machine == 62 && is_64_bit) return "x86-64";  // EM_X86_64; its 32-bit form is x32
    if (machine == 183 && is_64_bit) return "aarch64";
    if (machine == 3 && !is_64_bit) return "x86";
    return "other";
}

std::string glibc_version(std::string_view content) {
    constexpr std::size_t longest_banner = 200;
    constexpr std::size_t longest_version = 16;
    constexpr std::string_view mark = "release version ";
    for (std::size_t at = content.find("GNU C Library"); at != std::string_view::npos;
         at = content.find("GNU C Library", at + 1)) {
        std::string_view banner = content.substr(at, longest_banner);
        banner = banner.substr(0, banner.find_first_of(std::string_view("\n\0", 2)));
        std::size_t begin = banner.find(mark);
        if (begin == std::string_view::npos) continue;
        std::string_view version = banner.substr(begin + mark.size());
        version = version.substr(0, version.find_first_not_of("0123456789."));
        while (version.ends_with('.')) version.remove_suffix(1);
        if (!version.empty() && version.size() <= longest_version) return std::string(version);
    }
    return "";
}

LibcEvidence find_libc(const GuestTree& tree) {
    auto glibc = find_loader(tree, glibc_loaders);
    auto musl = find_loader(tree, musl_loaders);
    std::string version = glibc ? find_glibc_version(tree, *glibc) : "";
    // Alpine's gcompat puts a loader of its own under glibc's name: only a real libc.so.6 tells them apart. And a
    // glibc system may have musl's loader installed beside its own.
    if (glibc && (!musl || !version.empty())) return {Libc::glibc, version, *glibc};
    if (musl) return {Libc::musl, "", *musl};
    return {};
}

}  // namespace cuda_nspawn
