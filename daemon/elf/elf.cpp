#include "elf/elf.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

using namespace std::string_view_literals;

// Far above what linkers write; a damaged header shall not make us read megabytes.
constexpr std::size_t max_program_headers = 256;
constexpr std::size_t max_segment_read = 65536;
constexpr std::size_t max_string = 4096;
constexpr std::size_t max_needed = 256;
constexpr std::size_t max_sections = 1024;
constexpr int max_needed_versions = 1024;
constexpr std::string_view glibc_prefix = "GLIBC_";

struct Elf32Types {
    using Header = Elf32_Ehdr;
    using Program = Elf32_Phdr;
    using Dynamic = Elf32_Dyn;
    using Section = Elf32_Shdr;
};
struct Elf64Types {
    using Header = Elf64_Ehdr;
    using Program = Elf64_Phdr;
    using Dynamic = Elf64_Dyn;
    using Section = Elf64_Shdr;
};

class ElfReader {
public:
    explicit ElfReader(const Bytes& bytes) : bytes_(bytes), size_(bytes.size()) {}

    std::optional<std::array<unsigned char, EI_NIDENT>> identity() const {
        std::array<unsigned char, EI_NIDENT> bytes{};
        if (!read(0, bytes.data(), bytes.size()) || std::memcmp(bytes.data(), ELFMAG, SELFMAG) != 0)
            return std::nullopt;
        return bytes;
    }

    template <class Types>
    std::variant<ElfFile, std::string> describe() const {
        typename Types::Header header{};
        std::vector<typename Types::Program> programs;
        if (auto fault = read_headers<Types>(header, programs); !fault.empty()) return fault;
        ElfFile file;
        file.is_64bit = header.e_ident[EI_CLASS] == ELFCLASS64;
        file.machine = header.e_machine;
        const auto dynamic = read_dynamic<Types>(programs);
        if (dynamic.strings) {
            if (dynamic.soname) file.soname = string_at(*dynamic.strings, *dynamic.soname);
            if (dynamic.rpath) file.rpath = string_at(*dynamic.strings, *dynamic.rpath);
            if (dynamic.runpath) file.runpath = string_at(*dynamic.strings, *dynamic.runpath);
            for (const std::uint64_t needed : dynamic.needed)
                if (std::string name = string_at(*dynamic.strings, needed); !name.empty())
                    file.needed.push_back(std::move(name));
        }
        for (const auto& program : programs) {
            if (program.p_type == PT_NOTE && file.build_id.empty()) file.build_id = build_id(program);
            if (program.p_type == PT_INTERP && file.interpreter.empty())
                file.interpreter = string_at(program.p_offset, 0);
        }
        return file;
    }

    // Verneed and Vernaux are the same in both classes.
    template <class Types>
    std::string glibc() const {
        typename Types::Header header{};
        std::vector<typename Types::Program> programs;
        if (!read_headers<Types>(header, programs).empty()) return {};
        const auto dynamic = read_dynamic<Types>(programs);
        if (!dynamic.strings || !dynamic.needs) return {};
        std::string newest;
        int left = max_needed_versions;
        Elf64_Verneed library{};
        for (std::uint64_t at = *dynamic.needs; left-- > 0 && read(at, &library, sizeof library);
             at += library.vn_next) {
            Elf64_Vernaux version{};
            for (std::uint64_t aux = at + library.vn_aux; left-- > 0 && read(aux, &version, sizeof version);
                 aux += version.vna_next) {
                take_newer(string_at(*dynamic.strings, version.vna_name), newest);
                if (version.vna_next == 0) break;
            }
            if (library.vn_next == 0) break;
        }
        return newest;
    }

    bool read(std::uint64_t offset, void* to, std::size_t length) const {
        return is_inside(offset, length) && bytes_.read(offset, to, length);
    }

    // The first note of that owner in the section.
    template <class Types>
    std::optional<std::string> note(std::string_view section, std::string_view owner) const {
        typename Types::Header header{};
        std::vector<typename Types::Section> sections;
        if (!read(0, &header, sizeof header) || header.e_shentsize != sizeof sections[0] ||
            header.e_shnum > max_sections || header.e_shstrndx >= header.e_shnum)
            return std::nullopt;
        sections.resize(header.e_shnum);
        if (!read(header.e_shoff, sections.data(), sections.size() * sizeof sections[0])) return std::nullopt;
        for (const auto& one : sections)
            if (one.sh_type == SHT_NOTE && string_at(sections[header.e_shstrndx].sh_offset, one.sh_name) == section)
                return find_note(one.sh_offset, one.sh_size, one.sh_addralign,
                                 [&](const Note& found) { return found.owner == owner; });
        return std::nullopt;
    }

private:
    // What is wrong with them, or nothing.
    template <class Types>
    std::string read_headers(typename Types::Header& header, std::vector<typename Types::Program>& programs) const {
        if (!read(0, &header, sizeof header)) return "it is truncated";
        if (header.e_phentsize != sizeof(typename Types::Program) || header.e_phnum > max_program_headers)
            return "its ELF header is damaged";
        programs.resize(header.e_phnum);
        if (!read(header.e_phoff, programs.data(), programs.size() * sizeof programs[0]) ||
            cuts_off<Types>(header, programs))
            return "it is truncated";
        return {};
    }

    bool is_inside(std::uint64_t offset, std::uint64_t length) const {
        return offset <= size_ && length <= size_ - offset;
    }

    // An interrupted copy has its headers, but neither its last segment nor the section headers, which linkers put
    // last.
    template <class Types>
    bool cuts_off(const typename Types::Header& header, const std::vector<typename Types::Program>& programs) const {
        const auto lies_inside = [this](const auto& program) {
            return program.p_type != PT_LOAD || is_inside(program.p_offset, program.p_filesz);
        };
        const std::uint64_t sections = std::uint64_t{header.e_shnum} * sizeof(typename Types::Section);
        return !std::ranges::all_of(programs, lies_inside) || (sections != 0 && !is_inside(header.e_shoff, sections));
    }

    template <class Program>
    static std::optional<std::uint64_t> file_offset(const std::vector<Program>& programs, std::uint64_t address) {
        for (const auto& program : programs)
            if (program.p_type == PT_LOAD && address >= program.p_vaddr && address - program.p_vaddr < program.p_filesz)
                return program.p_offset + (address - program.p_vaddr);
        return std::nullopt;
    }

    // Places in the file of what the dynamic segment names; those of names are within the strings.
    struct Dynamic {
        std::optional<std::uint64_t> strings;
        std::optional<std::uint64_t> soname;
        std::optional<std::uint64_t> rpath;
        std::optional<std::uint64_t> runpath;
        std::vector<std::uint64_t> needed;
        std::optional<std::uint64_t> needs;  // of versions
    };

    template <class Types>
    Dynamic read_dynamic(const std::vector<typename Types::Program>& programs) const {
        Dynamic dynamic;
        const auto segment = std::ranges::find(programs, Elf64_Word{PT_DYNAMIC}, &Types::Program::p_type);
        if (segment == programs.end()) return dynamic;
        std::vector<typename Types::Dynamic> entries(std::min<std::size_t>(segment->p_filesz, max_segment_read) /
                                                     sizeof entries[0]);
        if (!read(segment->p_offset, entries.data(), entries.size() * sizeof entries[0])) return dynamic;
        for (const auto& entry : entries) {
            if (entry.d_tag == DT_NULL) break;
            if (entry.d_tag == DT_SONAME) dynamic.soname = entry.d_un.d_val;
            if (entry.d_tag == DT_RPATH) dynamic.rpath = entry.d_un.d_val;
            if (entry.d_tag == DT_RUNPATH) dynamic.runpath = entry.d_un.d_val;
            if (entry.d_tag == DT_NEEDED && dynamic.needed.size() < max_needed)
                dynamic.needed.push_back(entry.d_un.d_val);
            if (entry.d_tag == DT_STRTAB) dynamic.strings = file_offset(programs, entry.d_un.d_ptr);
            if (entry.d_tag == DT_VERNEED) dynamic.needs = file_offset(programs, entry.d_un.d_ptr);
        }
        return dynamic;
    }

    // GLIBC_PRIVATE and GLIBC_ABI_… are no versions.
    static void take_newer(std::string_view name, std::string& newest) {
        if (!name.starts_with(glibc_prefix)) return;
        const auto version = name.substr(glibc_prefix.size());
        if (version.starts_with('2') && compare_versions(version, newest) > 0) newest = version;
    }

    std::string string_at(std::uint64_t table, std::uint64_t index) const {
        if (!is_inside(table, 0) || !is_inside(table, index)) return {};
        std::array<char, max_string> text{};
        const std::uint64_t offset = table + index;
        const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(text.size(), size_ - offset));
        if (!read(offset, text.data(), length)) return {};
        const std::string_view view(text.data(), length);
        const auto end = view.find('\0');
        return end == std::string_view::npos ? std::string() : std::string(view.substr(0, end));
    }

    struct Note {
        std::uint32_t type;
        std::string_view owner;
    };

    template <class Predicate>
    std::optional<std::string> find_note(std::uint64_t offset, std::uint64_t size, std::uint64_t align_to,
                                         Predicate&& is_wanted) const {
        std::vector<char> notes(std::min<std::size_t>(size, max_segment_read));
        if (!read(offset, notes.data(), notes.size())) return std::nullopt;
        const std::size_t alignment = align_to == 8 ? 8 : 4;
        const auto align = [alignment](std::size_t value) { return (value + alignment - 1) / alignment * alignment; };
        for (std::size_t at = 0; notes.size() - at >= sizeof(Elf64_Nhdr);) {
            Elf64_Nhdr note{};  // the same in both classes
            std::memcpy(&note, notes.data() + at, sizeof note);
            const std::size_t name = at + sizeof note;
            if (note.n_namesz > notes.size() - name) return std::nullopt;
            const std::size_t content = align(name + note.n_namesz);
            if (content > notes.size() || note.n_descsz > notes.size() - content) return std::nullopt;
            std::string_view owner(notes.data() + name, note.n_namesz);
            if (owner.ends_with('\0')) owner.remove_suffix(1);
            if (is_wanted(Note{note.n_type, owner})) return std::string(notes.data() + content, note.n_descsz);
            at = std::min(align(content + note.n_descsz), notes.size());
        }
        return std::nullopt;
    }

    template <class Program>
    std::string build_id(const Program& segment) const {
        const auto id = find_note(segment.p_offset, segment.p_filesz, segment.p_align,
                                  [](const Note& note) { return note.type == NT_GNU_BUILD_ID && note.owner == "GNU"; });
        return id ? hex(*id) : std::string();
    }

    static std::string hex(std::string_view bytes) {
        std::string text;
        for (const char byte : bytes.substr(0, 64)) text += fmt::format("{:02x}", static_cast<unsigned char>(byte));
        return text;
    }

    const Bytes& bytes_;
    std::uint64_t size_;
};

}  // namespace

bool FileBytes::read(std::uint64_t offset, void* to, std::size_t length) const {
    auto* next = static_cast<char*>(to);
    while (length > 0) {
        const ssize_t got = ::pread(fd_, next, length, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        next += got;
        offset += static_cast<std::uint64_t>(got);
        length -= static_cast<std::size_t>(got);
    }
    return true;
}

std::variant<ElfFile, std::string> read_elf(const Bytes& bytes) {
    const ElfReader reader(bytes);
    if (bytes.size() == 0) return "it is empty";
    const auto identity = reader.identity();
    if (!identity) return "it is no ELF file";
    if ((*identity)[EI_DATA] != ELFDATA2LSB) return "it is not little-endian";
    if ((*identity)[EI_CLASS] == ELFCLASS64) return reader.describe<Elf64Types>();
    if ((*identity)[EI_CLASS] == ELFCLASS32) return reader.describe<Elf32Types>();
    return "its ELF header is damaged";
}

std::string needed_glibc(const Bytes& bytes) {
    const ElfReader reader(bytes);
    const auto identity = reader.identity();
    if (!identity || (*identity)[EI_DATA] != ELFDATA2LSB) return {};
    return (*identity)[EI_CLASS] == ELFCLASS64 ? reader.glibc<Elf64Types>() : reader.glibc<Elf32Types>();
}

std::optional<std::string> read_note(const Bytes& bytes, std::string_view section, std::string_view owner) {
    const ElfReader reader(bytes);
    const auto identity = reader.identity();
    if (!identity || (*identity)[EI_DATA] != ELFDATA2LSB) return std::nullopt;
    return (*identity)[EI_CLASS] == ELFCLASS64 ? reader.note<Elf64Types>(section, owner)
                                               : reader.note<Elf32Types>(section, owner);
}

}  // namespace cuda_nspawn
