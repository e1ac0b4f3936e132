// Hosts made of temporary files: tiny ELF files, loader caches and directory trees, written by the tests themselves.
#pragma once

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "driver/driver.hpp"

namespace cuda_nspawn::testing {

class TemporaryTree {
public:
    TemporaryTree() {
        std::string path = (std::filesystem::temp_directory_path() / "cuda-nspawn-test.XXXXXX").string();
        if (!::mkdtemp(path.data())) throw std::runtime_error("mkdtemp");
        // Where /tmp is a link, discovery answers with the path behind it.
        path_ = std::filesystem::canonical(path);
    }
    TemporaryTree(const TemporaryTree&) = delete;
    TemporaryTree& operator=(const TemporaryTree&) = delete;
    ~TemporaryTree() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::filesystem::path& path() const { return path_; }
    // `inside` begins with a slash.
    std::filesystem::path at(std::string_view inside) const { return path_ / inside.substr(1); }

    void write(std::string_view inside, std::string_view contents) const {
        std::filesystem::create_directories(at(inside).parent_path());
        std::ofstream file(at(inside), std::ios::binary | std::ios::trunc);
        file << contents;
        if (!file.flush()) throw std::runtime_error("cannot write " + at(inside).string());
    }
    void write_program(std::string_view inside, std::string_view contents) const {
        write(inside, contents);
        if (::chmod(at(inside).c_str(), 0755) != 0) throw std::runtime_error("chmod");
    }
    void link(std::string_view inside, std::string_view target) const {
        std::filesystem::create_directories(at(inside).parent_path());
        std::filesystem::remove(at(inside));
        std::filesystem::create_symlink(target, at(inside));
    }
    std::string read(std::string_view inside) const {
        std::ifstream file(at(inside), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

private:
    std::filesystem::path path_;
};

struct ElfSpec {
    std::string soname;
    bool is_64bit = true;
    std::uint16_t machine = EM_X86_64;
    std::string build_id = "\x01\x02\xab";  // bytes
    std::vector<std::string> needs = {};    // versions of libc.so.6: "GLIBC_2.34"
};

template <class Value>
void append_bytes(std::string& bytes, const Value& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class Header, class Program, class Dynamic, class Section>
std::string make_elf_of(const ElfSpec& spec) {
    constexpr std::size_t base = 0x10000;  // of the addresses, so that they differ from the offsets
    std::string strings = std::string(1, '\0') + spec.soname + '\0';
    std::string needs;  // one library, and its versions behind it
    if (!spec.needs.empty())
        append_bytes(needs, Elf64_Verneed{1, static_cast<Elf64_Half>(spec.needs.size()), 0, sizeof(Elf64_Verneed), 0});
    for (const std::string& name : spec.needs) {
        const Elf64_Word next = &name == &spec.needs.back() ? 0 : sizeof(Elf64_Vernaux);
        append_bytes(needs, Elf64_Vernaux{0, 0, 0, static_cast<Elf64_Word>(strings.size()), next});
        strings += name + '\0';
    }
    std::string note;
    append_bytes(note, Elf64_Nhdr{4, static_cast<Elf64_Word>(spec.build_id.size()), NT_GNU_BUILD_ID});
    note += std::string("GNU\0", 4) + spec.build_id;
    note.resize((note.size() + 3) / 4 * 4);

    const std::size_t dynamic_at = sizeof(Header) + 3 * sizeof(Program);
    const std::size_t note_at = dynamic_at + 5 * sizeof(Dynamic);
    const std::size_t needs_at = note_at + note.size();
    const std::size_t strings_at = needs_at + needs.size();
    const std::size_t sections_at = (strings_at + strings.size() + 7) / 8 * 8;

    Header header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = spec.is_64bit ? ELFCLASS64 : ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_DYN;
    header.e_machine = spec.machine;
    header.e_phoff = sizeof(Header);
    header.e_phentsize = sizeof(Program);
    header.e_phnum = 3;
    header.e_shoff = static_cast<decltype(header.e_shoff)>(sections_at);
    header.e_shentsize = sizeof(Section);
    header.e_shnum = 1;

    const auto segment = [](std::uint32_t type, std::size_t offset, std::size_t size, std::size_t address) {
        Program program{};
        program.p_type = type;
        program.p_offset = static_cast<decltype(program.p_offset)>(offset);
        program.p_filesz = static_cast<decltype(program.p_filesz)>(size);
        program.p_vaddr = static_cast<decltype(program.p_vaddr)>(address);
        program.p_align = 4;
        return program;
    };
    const auto entry = [](std::int32_t tag, std::size_t value) {
        Dynamic dynamic{};
        dynamic.d_tag = tag;
        dynamic.d_un.d_val = static_cast<decltype(dynamic.d_un.d_val)>(value);
        return dynamic;
    };
    std::string bytes;
    append_bytes(bytes, header);
    append_bytes(bytes, segment(PT_LOAD, 0, sections_at, base));
    append_bytes(bytes, segment(PT_DYNAMIC, dynamic_at, 5 * sizeof(Dynamic), base + dynamic_at));
    append_bytes(bytes, segment(PT_NOTE, note_at, note.size(), base + note_at));
    append_bytes(bytes, entry(DT_STRTAB, base + strings_at));
    append_bytes(bytes, entry(DT_STRSZ, strings.size()));
    append_bytes(bytes, spec.soname.empty() ? entry(DT_DEBUG, 0) : entry(DT_SONAME, 1));
    append_bytes(bytes, needs.empty() ? entry(DT_DEBUG, 0) : entry(DT_VERNEED, base + needs_at));
    append_bytes(bytes, entry(DT_NULL, 0));
    bytes += note + needs + strings;
    bytes.resize(sections_at);
    append_bytes(bytes, Section{});
    return bytes;
}

inline std::string make_elf(const ElfSpec& spec) {
    return spec.is_64bit ? make_elf_of<Elf64_Ehdr, Elf64_Phdr, Elf64_Dyn, Elf64_Shdr>(spec)
                         : make_elf_of<Elf32_Ehdr, Elf32_Phdr, Elf32_Dyn, Elf32_Shdr>(spec);
}
inline std::string elf(std::string soname = {}) { return make_elf({.soname = std::move(soname)}); }
inline std::string elf32(std::string soname = {}) {
    return make_elf({.soname = std::move(soname), .is_64bit = false, .machine = EM_386});
}

struct CacheLine {
    std::string name;
    std::string path;
    std::uint32_t flags = 0x0303;  // x86-64
};

// As ldconfig writes it: with `compatible`, the older format's entries come first.
inline std::string make_ld_cache(const std::vector<CacheLine>& lines, bool compatible = false) {
    const auto append_number = [](std::string& bytes, std::size_t number) {
        append_bytes(bytes, static_cast<std::uint32_t>(number));
    };
    std::string bytes;
    if (compatible) {
        bytes = std::string("ld.so-1.7.0") + '\0';
        append_number(bytes, lines.size());
        bytes.resize((bytes.size() + lines.size() * 12 + 7) / 8 * 8);
    }
    const std::size_t strings_at = 48 + lines.size() * 24;
    std::string entries;
    std::string strings;
    for (const auto& line : lines) {
        append_number(entries, line.flags);
        append_number(entries, strings_at + strings.size());
        strings += line.name + '\0';
        append_number(entries, strings_at + strings.size());
        strings += line.path + '\0';
        entries.append(12, '\0');  // OS version, hardware capabilities
    }
    bytes += "glibc-ld.so.cache1.1";
    append_number(bytes, lines.size());
    append_number(bytes, strings.size());
    bytes.append(20, '\0');
    return bytes + entries + strings;
}

// A host without a kernel side; `add_kernel` loads the module.
class HostFixture : public ::testing::Test {
protected:
    HostFixture() { std::filesystem::create_directories(tree.at("/root")); }

    HostRoots roots() const { return {tree.at("/root"), tree.at("/proc"), tree.at("/sys")}; }
    Driver discover() const { return discover_driver(roots()); }

    void add(std::string_view path, std::string_view contents) const {
        tree.write("/root" + std::string(path), contents);
    }
    void add_link(std::string_view path, std::string_view target) const {
        tree.link("/root" + std::string(path), target);
    }

    // lib….so.VERSION with its SONAME link.
    void add_library(const std::string& directory, const std::string& base, const std::string& version,
                     const std::string& soname_version = "1") const {
        const std::string soname = base + ".so." + soname_version;
        add(directory + "/" + base + ".so." + version, elf(soname));
        if (soname_version != version) add_link(directory + "/" + soname, base + ".so." + version);
    }
    void add_kernel(const std::string& version) const {
        tree.write("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  " +
                                                      version +
                                                      "  Release Build  (builder@host)  Mon Jan  5 10:00:00 UTC 2026\n"
                                                      "GCC version:  gcc version 13.3.0 (Ubuntu 13.3.0-6ubuntu2)\n");
    }

    static const DriverFile* find(const Driver& driver, std::string_view name) {
        for (const auto& file : driver.files)
            if (file.name == name) return &file;
        return nullptr;
    }
    static std::vector<std::string> names(const Driver& driver) {
        std::vector<std::string> result;
        result.reserve(driver.files.size());
        for (const auto& file : driver.files) result.push_back(file.name);
        return result;
    }

    TemporaryTree tree;
};

}  // namespace cuda_nspawn::testing
