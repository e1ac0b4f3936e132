#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "driver_fixture.hpp"
#include "elf/elf.hpp"
#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {
namespace {

using testing::make_elf;

std::variant<ElfFile, std::string> read(std::string_view bytes) {
    const FileDescriptor fd(::memfd_create("elf", MFD_CLOEXEC));
    if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
        throw std::runtime_error("write");
    return read_elf(FileBytes(fd.get(), bytes.size()));
}
std::string refusal(std::string_view bytes) {
    const auto result = read(bytes);
    return std::holds_alternative<std::string>(result) ? std::get<std::string>(result) : "";
}

TEST(Elf, reads_class_machine_soname_and_build_id_of_64_bit_files) {
    const auto file = std::get<ElfFile>(read(make_elf({.soname = "libcuda.so.1"})));
    EXPECT_TRUE(file.is_64bit);
    EXPECT_EQ(file.machine, EM_X86_64);
    EXPECT_EQ(file.soname, "libcuda.so.1");
    EXPECT_EQ(file.build_id, "0102ab");
}

TEST(Elf, reads_32_bit_files) {
    const auto file = std::get<ElfFile>(read(testing::elf32("libnvidia-ml.so.1")));
    EXPECT_FALSE(file.is_64bit);
    EXPECT_EQ(file.machine, EM_386);
    EXPECT_EQ(file.soname, "libnvidia-ml.so.1");
    EXPECT_EQ(file.build_id, "0102ab");
}

TEST(Elf, reads_the_running_program) {
    const FileDescriptor fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    const auto size = std::filesystem::file_size("/proc/self/exe");
    const auto result = read_elf(FileBytes(fd.get(), size));
    ASSERT_TRUE(std::holds_alternative<ElfFile>(result)) << std::get<std::string>(result);
    EXPECT_EQ(std::get<ElfFile>(result).is_64bit, sizeof(void*) == 8);
    EXPECT_EQ(std::get<ElfFile>(result).soname, "");
}

std::string glibc(const testing::ElfSpec& spec) {
    const std::string bytes = make_elf(spec);
    const FileDescriptor fd(::memfd_create("elf", MFD_CLOEXEC));
    if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
        throw std::runtime_error("write");
    return needed_glibc(FileBytes(fd.get(), bytes.size()));
}

TEST(Elf, tells_the_newest_glibc_that_a_file_needs) {
    EXPECT_EQ(glibc({.needs = {"GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.4"}}), "2.34");
    EXPECT_EQ(glibc({.is_64bit = false, .machine = EM_386, .needs = {"GLIBC_2.0", "GLIBC_2.1.3"}}), "2.1.3");
    EXPECT_EQ(glibc({.needs = {"GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR", "GLIBCXX_3.4", "GLIBC_"}}), "");
    EXPECT_EQ(glibc({}), "");
    EXPECT_EQ(needed_glibc(FileBytes(-1, 0)), "");
}

TEST(Elf, tells_the_glibc_that_the_running_program_needs) {
    const FileDescriptor fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    EXPECT_TRUE(needed_glibc(FileBytes(fd.get(), std::filesystem::file_size("/proc/self/exe"))).starts_with("2."));
}

TEST(Elf, comes_to_an_end_with_damaged_versions) {
    const std::string bytes = make_elf({.needs = {"GLIBC_2.4"}});
    const auto at = bytes.find(std::string("\0GLIBC_2.4", 10));
    for (std::size_t i = 0; i < sizeof(Elf64_Verneed) + sizeof(Elf64_Vernaux); ++i)
        for (const char byte : {'\x00', '\x01', '\xff'}) {
            std::string damaged = bytes;
            damaged[at - 1 - i] = byte;
            const FileDescriptor fd(::memfd_create("elf", MFD_CLOEXEC));
            ASSERT_EQ(::write(fd.get(), damaged.data(), damaged.size()), static_cast<ssize_t>(damaged.size()));
            needed_glibc(FileBytes(fd.get(), damaged.size()));
        }
}

TEST(Elf, reads_what_a_file_needs_and_where_it_looks) {
    for (const bool is_64bit : {true, false}) {
        const auto file = std::get<ElfFile>(read(make_elf({.soname = "libx.so.1",
                                                           .is_64bit = is_64bit,
                                                           .needs = {"GLIBC_2.4"},
                                                           .needed = {"libcudart.so.12", "libc.so.6"},
                                                           .rpath = "$ORIGIN/../lib:/opt/a",
                                                           .runpath = "/opt/b",
                                                           .interpreter = "/lib64/ld-linux-x86-64.so.2"})));
        EXPECT_EQ(file.soname, "libx.so.1");
        EXPECT_EQ(file.needed, (std::vector<std::string>{"libcudart.so.12", "libc.so.6"}));
        EXPECT_EQ(file.rpath, "$ORIGIN/../lib:/opt/a");
        EXPECT_EQ(file.runpath, "/opt/b");
        EXPECT_EQ(file.interpreter, "/lib64/ld-linux-x86-64.so.2");
    }
    const auto plain = std::get<ElfFile>(read(make_elf({})));
    EXPECT_TRUE(plain.needed.empty());
    EXPECT_EQ(plain.rpath + plain.runpath + plain.interpreter, "");
    EXPECT_EQ(std::get<ElfFile>(read(make_elf({.needed = std::vector<std::string>(300, "libx.so")}))).needed.size(),
              256U);
}

std::optional<std::string> note(std::string_view bytes, std::string_view section, std::string_view owner) {
    const FileDescriptor fd(::memfd_create("elf", MFD_CLOEXEC));
    if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
        throw std::runtime_error("write");
    return read_note(FileBytes(fd.get(), bytes.size()), section, owner);
}

TEST(Elf, reads_a_note_by_section_and_owner) {
    for (const bool is_64bit : {true, false}) {
        const std::string bytes = make_elf({.is_64bit = is_64bit,
                                            .notes = {{".note.a", "NVIDIA Corporation", "first"},
                                                      {".note.b", "NVIDIA Corporation", "second"},
                                                      {".note.b", "GNU", "third"}}});
        EXPECT_EQ(note(bytes, ".note.b", "NVIDIA Corporation"), "second");
        EXPECT_EQ(note(bytes, ".note.a", "NVIDIA Corporation"), "first");
        EXPECT_EQ(note(bytes, ".note.a", "GNU"), std::nullopt);
        EXPECT_EQ(note(bytes, ".note.", "NVIDIA Corporation"), std::nullopt);
        EXPECT_EQ(note(make_elf({.is_64bit = is_64bit}), ".note.a", "NVIDIA Corporation"), std::nullopt);
    }
    EXPECT_EQ(note("", ".note.a", "GNU"), std::nullopt);
}

TEST(Elf, reads_notes_of_damaged_files_within_bounds) {
    const std::string bytes = make_elf({.notes = {{".note.a", "NVIDIA Corporation", "content"}}});
    for (std::size_t at = 0; at < bytes.size(); ++at)
        for (const char value : {'\0', '\x7f', '\xff'}) {
            std::string damaged = bytes;
            damaged[at] = value;
            const auto found = note(damaged, ".note.a", "NVIDIA Corporation");
            EXPECT_LE(found.value_or("").size(), bytes.size());
        }
    for (std::size_t length = 0; length < bytes.size(); ++length)
        EXPECT_EQ(note(bytes.substr(0, length), ".note.a", "NVIDIA Corporation"), std::nullopt) << length;
}

TEST(Elf, does_without_soname) { EXPECT_EQ(std::get<ElfFile>(read(make_elf({}))).soname, ""); }

TEST(Elf, says_why_a_file_is_no_elf_file) {
    EXPECT_EQ(refusal(""), "it is empty");
    EXPECT_EQ(refusal("#!/bin/sh\nexec true\n"), "it is no ELF file");
    EXPECT_EQ(refusal("\x7f"), "it is no ELF file");
    auto big_endian = make_elf({});
    big_endian[EI_DATA] = ELFDATA2MSB;
    EXPECT_EQ(refusal(big_endian), "it is not little-endian");
    auto strange_class = make_elf({});
    strange_class[EI_CLASS] = 9;
    EXPECT_EQ(refusal(strange_class), "its ELF header is damaged");
}

TEST(Elf, finds_every_truncation) {
    for (const auto& bytes : {testing::elf("libcuda.so.1"), testing::elf32("libcuda.so.1")})
        for (std::size_t length = SELFMAG; length < bytes.size(); ++length)
            EXPECT_NE(refusal(bytes.substr(0, length)), "") << length;
}

TEST(Elf, survives_any_changed_byte) {
    const auto bytes = testing::elf("libcuda.so.1");
    for (std::size_t at = 0; at < bytes.size(); ++at)
        for (const char value : {'\0', '\x7f', '\xff'}) {
            auto changed = bytes;
            changed[at] = value;
            const auto result = read(changed);
            if (const auto* file = std::get_if<ElfFile>(&result)) {
                EXPECT_LE(file->soname.size(), 256U);
                EXPECT_LE(file->build_id.size(), 128U);
            }
        }
}

}  // namespace
}  // namespace cuda_nspawn
