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
#include <utility>
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

struct ElfNote {
    std::string section;
    std::string owner;
    std::string content;
};

struct ElfSpec {
    std::string soname = {};
    bool is_64bit = true;
    std::uint16_t machine = EM_X86_64;
    std::string build_id = "\x01\x02\xab";  // bytes
    std::vector<std::string> needs = {};    // versions of libc.so.6: "GLIBC_2.34"
    std::vector<std::string> needed = {};   // libraries
    std::string rpath = {};
    std::string runpath = {};
    std::string interpreter = {};
    std::vector<ElfNote> notes = {};  // in sections of their own
};

template <class Value>
void append_bytes(std::string& bytes, const Value& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline std::string make_note(std::uint32_t type, const std::string& owner, const std::string& content) {
    const auto align = [](std::string& text) { text.resize((text.size() + 3) / 4 * 4); };
    std::string note;
    append_bytes(note,
                 Elf64_Nhdr{static_cast<Elf64_Word>(owner.size() + 1), static_cast<Elf64_Word>(content.size()), type});
    note += owner + '\0';
    align(note);
    note += content;
    align(note);
    return note;
}

// One library, and its versions behind it, with their names in `strings`.
inline std::string make_needed_versions(const std::vector<std::string>& versions, std::string& strings) {
    std::string needs;
    if (!versions.empty())
        append_bytes(needs, Elf64_Verneed{1, static_cast<Elf64_Half>(versions.size()), 0, sizeof(Elf64_Verneed), 0});
    for (const std::string& name : versions) {
        const Elf64_Word next = &name == &versions.back() ? 0 : sizeof(Elf64_Vernaux);
        append_bytes(needs, Elf64_Vernaux{0, 0, 0, static_cast<Elf64_Word>(strings.size()), next});
        strings += name + '\0';
    }
    return needs;
}

// Sections of notes, which begin at `place`, and the section of their names behind them. `contents` is what lies there.
template <class Section>
std::vector<Section> make_note_sections(const std::vector<ElfNote>& notes, std::size_t place, std::string& contents) {
    std::vector<Section> sections(1);
    std::string names(1, '\0');
    const auto add = [&](std::uint32_t type, const std::string& name, const std::string& content) {
        Section section{};
        section.sh_type = type;
        section.sh_name = static_cast<Elf64_Word>(names.size());
        section.sh_offset = static_cast<decltype(section.sh_offset)>(place + contents.size());
        section.sh_size = static_cast<decltype(section.sh_size)>(content.size());
        section.sh_addralign = 4;
        names += name + '\0';
        contents += content;
        sections.push_back(section);
    };
    for (const ElfNote& note : notes) add(SHT_NOTE, note.section, make_note(1, note.owner, note.content));
    if (!notes.empty()) add(SHT_STRTAB, "", names);
    return sections;
}

template <class Header, class Program, class Dynamic, class Section>
std::string make_elf_of(const ElfSpec& spec) {
    constexpr std::size_t base = 0x10000;  // of the addresses, so that they differ from the offsets
    std::string strings = std::string(1, '\0') + spec.soname + '\0';
    const std::string needs = make_needed_versions(spec.needs, strings);
    const std::string note = make_note(NT_GNU_BUILD_ID, "GNU", spec.build_id);
    std::vector<std::pair<std::int32_t, std::size_t>> entries;
    const auto add_string = [&](std::int32_t tag, const std::string& text) {
        if (text.empty()) return;
        entries.emplace_back(tag, strings.size());
        strings += text + '\0';
    };
    for (const std::string& name : spec.needed) add_string(DT_NEEDED, name);
    add_string(DT_RPATH, spec.rpath);
    add_string(DT_RUNPATH, spec.runpath);
    const std::size_t interpreter_in_strings = strings.size();
    if (!spec.interpreter.empty()) strings += spec.interpreter + '\0';

    const std::size_t segments = spec.interpreter.empty() ? 3 : 4;
    const std::size_t dynamic_at = sizeof(Header) + segments * sizeof(Program);
    const std::size_t dynamic_size = (5 + entries.size()) * sizeof(Dynamic);
    const std::size_t note_at = dynamic_at + dynamic_size;
    const std::size_t needs_at = note_at + note.size();
    const std::size_t strings_at = needs_at + needs.size();
    std::string contents;
    const auto sections = make_note_sections<Section>(spec.notes, strings_at + strings.size(), contents);
    const std::size_t sections_at = (strings_at + strings.size() + contents.size() + 7) / 8 * 8;

    Header header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = spec.is_64bit ? ELFCLASS64 : ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_DYN;
    header.e_machine = spec.machine;
    header.e_phoff = sizeof(Header);
    header.e_phentsize = sizeof(Program);
    header.e_phnum = static_cast<Elf64_Half>(segments);
    header.e_shoff = static_cast<decltype(header.e_shoff)>(sections_at);
    header.e_shentsize = sizeof(Section);
    header.e_shnum = static_cast<Elf64_Half>(sections.size());
    header.e_shstrndx = static_cast<Elf64_Half>(sections.size() - 1);

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
    append_bytes(bytes, segment(PT_DYNAMIC, dynamic_at, dynamic_size, base + dynamic_at));
    append_bytes(bytes, segment(PT_NOTE, note_at, note.size(), base + note_at));
    if (segments == 4)
        append_bytes(bytes, segment(PT_INTERP, strings_at + interpreter_in_strings, spec.interpreter.size() + 1, 0));
    append_bytes(bytes, entry(DT_STRTAB, base + strings_at));
    append_bytes(bytes, entry(DT_STRSZ, strings.size()));
    append_bytes(bytes, spec.soname.empty() ? entry(DT_DEBUG, 0) : entry(DT_SONAME, 1));
    append_bytes(bytes, needs.empty() ? entry(DT_DEBUG, 0) : entry(DT_VERNEED, base + needs_at));
    for (const auto& [tag, place] : entries) append_bytes(bytes, entry(tag, place));
    append_bytes(bytes, entry(DT_NULL, 0));
    bytes += note + needs + strings + contents;
    bytes.resize(sections_at);
    for (const Section& section : sections) append_bytes(bytes, section);
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
