// Which libraries a guest's program gets, as its loader would find them.
#include <gmock/gmock.h>

#include <fmt/format.h>

#include "driver_fixture.hpp"
#include "guest/rootfs_reader.hpp"
#include "guest/software.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using testing::ElfSpec;
using ::testing::IsEmpty;
using testing::make_elf;
using testing::TemporaryTree;

constexpr const char* loader = "/lib64/ld-linux-x86-64.so.2";

class GuestProgramTest : public ::testing::Test {
protected:
    GuestProgramTest() { tree.write(loader, testing::elf()); }

    Program examine(const std::string& path, const std::optional<std::string>& library_path = "") const {
        const RootfsReader reader(tree.path());
        Guest guest;
        guest.libc = Libc::glibc;
        guest.architecture = "x86-64";
        guest.library_directories = configured;
        return examine_program(reader, guest, examine_software(reader, guest), path, library_path);
    }
    void add(const std::string& path, ElfSpec spec) const { tree.write(path, make_elf(spec)); }
    void add_program(const std::string& path, ElfSpec spec) const {
        spec.interpreter = loader;
        add(path, std::move(spec));
    }
    void add_cache(const std::vector<testing::CacheLine>& lines) const {
        tree.write("/etc/ld.so.cache", testing::make_ld_cache(lines));
    }
    // "NAME PATH HOW <- WHO"
    static std::string text(const LoadedLibrary& library) {
        return fmt::format("{} {} {} <- {}", library.name, library.path, to_string(library.by), library.needed_by);
    }
    static std::vector<std::string> texts(const Program& program) {
        std::vector<std::string> all;
        for (const LoadedLibrary& library : program.libraries) all.push_back(text(library));
        return all;
    }
    std::string libcuda(const std::string& path, const std::optional<std::string>& library_path = "") const {
        const Program program = examine(path, library_path);
        EXPECT_EQ(program.problem, "");
        return program.libcuda ? text(*program.libcuda) : "";
    }

    TemporaryTree tree;
    std::vector<std::string> configured;
};

TEST_F(GuestProgramTest, describes_a_program_and_what_it_needs) {
    add_program("/opt/app", {.needs = {"GLIBC_2.17"}, .needed = {"libcudart.so.12", "libx.so", "libmissing.so.3"}});
    add("/usr/lib64/libx.so", {.needs = {"GLIBC_2.34"}, .needed = {"libmissing.so.3", "libdeep.so"}});
    add("/usr/lib64/libcudart.so.12.4.127", {.soname = "libcudart.so.12"});
    tree.link("/usr/lib64/libcudart.so.12", "libcudart.so.12.4.127");
    const Program program = examine("/opt/app");
    EXPECT_EQ(program.problem, "");
    EXPECT_EQ(program.path, "/opt/app");
    EXPECT_EQ(program.architecture, "x86-64");
    EXPECT_EQ(program.interpreter, loader);
    EXPECT_TRUE(program.has_interpreter);
    EXPECT_EQ(program.needed_glibc, "2.34");
    EXPECT_EQ(program.cudart, "12.4");
    EXPECT_EQ(program.script_of, "");
    EXPECT_THAT(texts(program),
                ElementsAre("libcudart.so.12 /usr/lib64/libcudart.so.12 standard directory <- /opt/app",
                            "libmissing.so.3  none <- /opt/app", "libdeep.so  none <- /usr/lib64/libx.so"));
    EXPECT_EQ(program.libcuda, std::nullopt);
}

TEST_F(GuestProgramTest, searches_in_the_loaders_order) {
    add_program("/opt/bin/app", {.needed = {"libx.so"}, .rpath = "$ORIGIN/../rpath"});
    add_program("/opt/bin/new",
                {.needed = {"libx.so"}, .rpath = "$ORIGIN/../rpath", .runpath = "${ORIGIN}/../runpath"});
    for (const char* directory : {"/opt/rpath", "/opt/runpath", "/opt/env", "/opt/cached", "/usr/lib"})
        add(fmt::format("{}/libcuda.so.1", directory), {.soname = "libcuda.so.1"});
    add_cache({{"libcuda.so.1", "/opt/cached/libcuda.so.1"},
               {"libcuda.so.1", "/run/cuda-nspawn/driver/compute/lib/libcuda.so.1"}});
    EXPECT_EQ(libcuda("/opt/bin/app", "/opt/env"), "libcuda.so.1 /opt/bin/../rpath/libcuda.so.1 rpath <- /opt/bin/app");
    EXPECT_EQ(libcuda("/opt/bin/new", "/none:/opt/env"),
              "libcuda.so.1 /opt/env/libcuda.so.1 LD_LIBRARY_PATH <- /opt/bin/new");
    EXPECT_EQ(libcuda("/opt/bin/new"), "libcuda.so.1 /opt/bin/../runpath/libcuda.so.1 runpath <- /opt/bin/new");
    std::filesystem::remove(tree.at("/opt/runpath/libcuda.so.1"));
    EXPECT_EQ(libcuda("/opt/bin/new"), "libcuda.so.1 /opt/cached/libcuda.so.1 cache <- /opt/bin/new");
}

TEST_F(GuestProgramTest, takes_the_hosts_libcuda_where_only_the_cache_decides) {
    add_program("/opt/app", {});
    EXPECT_EQ(libcuda("/opt/app"), "") << "nowhere: the host's will be in the cache";
    add_program("/opt/needing", {.needed = {"libcuda.so.1"}});
    EXPECT_THAT(examine("/opt/needing").libraries, IsEmpty());
    add("/usr/lib/libcuda.so.1", {});
    EXPECT_EQ(libcuda("/opt/needing"), "") << "a standard directory comes after the cache";
    add_cache({{"libcuda.so.1", "/usr/lib/libcuda.so.1"}});
    EXPECT_EQ(libcuda("/opt/needing"), "") << "the set-up has not been there yet";
    EXPECT_THAT(examine("/opt/needing").libraries, IsEmpty());
    const std::string host = "/run/cuda-nspawn/driver/compute/lib/libcuda.so.1";
    add_cache({{"libcuda.so.1", host}, {"libcuda.so.1", "/usr/lib/libcuda.so.1"}});
    EXPECT_EQ(libcuda("/opt/needing"), fmt::format("libcuda.so.1 {} cache <- /opt/needing", host));
    add_cache(
        {{"libcuda.so.1", "/gone/libcuda.so.1"}, {"libcuda.so.1", "/usr/lib/libcuda.so.1"}, {"libcuda.so.1", host}});
    EXPECT_EQ(libcuda("/opt/needing"), "libcuda.so.1 /usr/lib/libcuda.so.1 cache <- /opt/needing");
    EXPECT_EQ(libcuda("/opt/app", "/run/cuda-nspawn/driver/compute/lib"),
              fmt::format("libcuda.so.1 {} LD_LIBRARY_PATH <- /opt/app", host));
}

TEST_F(GuestProgramTest, lets_the_runtime_find_libcuda) {
    add_program("/opt/app", {.needed = {"libcudart.so.11.0"}, .runpath = "/opt/rt"});
    add("/opt/rt/libcudart.so.11.0", {.soname = "libcudart.so.11.0", .runpath = "$ORIGIN"});
    add("/opt/rt/libcuda.so.535.1.2", {});
    tree.link("/opt/rt/libcuda.so.1", "libcuda.so.535.1.2");
    EXPECT_EQ(libcuda("/opt/app"), "libcuda.so.1 /opt/rt/libcuda.so.1 runpath <- /opt/rt/libcudart.so.11.0");
    EXPECT_EQ(examine("/opt/app").libcuda->version, "535.1.2");
    EXPECT_EQ(examine("/opt/app").cudart, "11");
    add("/opt/rt/libcudart.so.11.0", {.soname = "libcudart.so.11.0"});
    EXPECT_EQ(libcuda("/opt/app"), "") << "the program's RUNPATH is not the runtime's";
    add_program("/opt/app", {.needed = {"libcudart.so.11.0"}, .rpath = "/opt/rt"});
    EXPECT_EQ(libcuda("/opt/app"), "libcuda.so.1 /opt/rt/libcuda.so.1 rpath <- /opt/rt/libcudart.so.11.0")
        << "but its RPATH is";
}

TEST_F(GuestProgramTest, hands_rpath_down_to_what_libraries_need) {
    add_program("/opt/app", {.needed = {"liba.so"}, .rpath = "/opt/$LIB"});
    add("/opt/lib64/liba.so", {.needed = {"libb.so"}});
    add("/opt/lib64/libb.so", {.needed = {"libc.so"}, .runpath = "/none"});
    add("/opt/lib64/libc.so", {});
    EXPECT_THAT(texts(examine("/opt/app")), ElementsAre("libc.so  none <- /opt/lib64/libb.so"));
    add("/opt/lib64/libb.so", {.needed = {"libc.so"}});
    EXPECT_THAT(texts(examine("/opt/app")), IsEmpty());
    std::filesystem::create_directories(tree.at("/lib/x86_64-linux-gnu"));  // Debian's
    EXPECT_THAT(texts(examine("/opt/app")), ElementsAre("liba.so  none <- /opt/app"));
}

TEST_F(GuestProgramTest, passes_over_files_for_another_processor) {
    add_program("/opt/app", {.needed = {"libcudart.so.12"}});
    tree.write("/a/libcudart.so.12", testing::elf32());
    add("/b/libcudart.so.12", {.machine = EM_AARCH64});
    add("/c/libcudart.so.12", {});
    EXPECT_THAT(texts(examine("/opt/app", "/a;/b:/c")),
                ElementsAre("libcudart.so.12 /c/libcudart.so.12 LD_LIBRARY_PATH <- /opt/app"));
    tree.write("/b/libcudart.so.12", "");
    EXPECT_THAT(texts(examine("/opt/app", "/a;/b:/c")),
                ElementsAre("libcudart.so.12 /b/libcudart.so.12 LD_LIBRARY_PATH <- /opt/app"))
        << "the loader ends there: file too short";
}

TEST_F(GuestProgramTest, looks_where_the_cache_will_be_made_from_when_there_is_none) {
    add_program("/opt/app", {.needed = {"libcublas.so.12"}});
    add("/opt/configured/libcublas.so.12", {});
    configured = {"/opt/configured"};
    EXPECT_THAT(texts(examine("/opt/app")),
                ElementsAre("libcublas.so.12 /opt/configured/libcublas.so.12 cache <- /opt/app"));
    add_cache({});
    EXPECT_THAT(texts(examine("/opt/app")), ElementsAre("libcublas.so.12  none <- /opt/app"));
}

TEST_F(GuestProgramTest, counts_origin_from_where_a_program_really_is) {
    add_program("/opt/python/bin/python3.11", {.needed = {"libnccl.so.2"}, .rpath = "$ORIGIN/../lib"});
    add("/opt/python/lib/libnccl.so.2", {});
    tree.link("/opt/venv/bin/python", "/opt/python/bin/python3.11");
    EXPECT_THAT(texts(examine("/opt/venv/bin/python")),
                ElementsAre("libnccl.so.2 /opt/python/bin/../lib/libnccl.so.2 rpath <- /opt/venv/bin/python"));
}

TEST_F(GuestProgramTest, follows_a_script_to_what_runs_it) {
    add_program("/opt/python", {.needed = {"libmissing.so"}});
    add_program("/usr/bin/python3", {});
    tree.write("/opt/a", "#! /opt/python -u\n");
    tree.write("/opt/b", "#!/usr/bin/env -S A=1 python3 -u\nprint()\n");
    tree.write("/opt/c", "#!/opt/gone\n");
    tree.write("/opt/d", "#!/opt/b\n");
    tree.write("/opt/e", "#!/usr/bin/env nothing\n");
    EXPECT_EQ(examine("/opt/a").script_of, "/opt/python");
    EXPECT_THAT(texts(examine("/opt/a")), ElementsAre("libmissing.so  none <- /opt/python"));
    EXPECT_EQ(examine("/opt/b").script_of, "/usr/bin/python3");
    EXPECT_EQ(examine("/opt/b").interpreter, loader);
    EXPECT_EQ(examine("/opt/c").problem, "it is a script for /opt/gone, which is not there");
    EXPECT_EQ(examine("/opt/d").problem, "it is no ELF file") << "only once";
    EXPECT_EQ(examine("/opt/e").problem, "it is a script for nothing, which is not there");
    EXPECT_EQ(examine("python3").problem, "") << "a name is looked for as a shell does";
}

TEST_F(GuestProgramTest, says_what_it_cannot_describe) {
    std::filesystem::create_directories(tree.at("/opt/directory"));
    ASSERT_EQ(::mkfifo(tree.at("/opt/fifo").c_str(), 0600), 0);
    tree.write("/opt/text", "hello");
    EXPECT_EQ(examine("/opt/gone").problem, "there is no such file");
    EXPECT_EQ(examine("").problem, "there is no such file");
    EXPECT_EQ(examine("/opt/directory").problem, "it is a directory");
    EXPECT_EQ(examine("/opt/fifo").problem, "it is no regular file");
    EXPECT_EQ(examine("/opt/text").problem, "it is no ELF file");
    EXPECT_EQ(examine("/opt/text\033").path, "/opt/text\xef\xbf\xbd");
}

TEST_F(GuestProgramTest, describes_static_foreign_and_musl_programs) {
    add("/opt/static", {});
    EXPECT_EQ(examine("/opt/static").interpreter, "");
    EXPECT_EQ(examine("/opt/static").problem, "");
    add("/opt/32", {.is_64bit = false, .machine = EM_386, .interpreter = "/lib/ld-linux.so.2"});
    EXPECT_FALSE(examine("/opt/32").is_64bit);
    EXPECT_EQ(examine("/opt/32").architecture, "x86");
    EXPECT_FALSE(examine("/opt/32").has_interpreter);
    add("/opt/arm", {.machine = EM_AARCH64, .needed = {"libx.so"}});
    EXPECT_EQ(examine("/opt/arm").architecture, "aarch64");
    add("/opt/riscv", {.machine = EM_RISCV, .needed = {"libx.so"}});
    EXPECT_EQ(examine("/opt/riscv").architecture, "other");
    add("/opt/musl", {.needed = {"libc.musl-x86_64.so.1"}, .interpreter = "/lib/ld-musl-x86_64.so.1"});
    EXPECT_EQ(examine("/opt/musl").interpreter, "/lib/ld-musl-x86_64.so.1");
    EXPECT_THAT(texts(examine("/opt/musl")), IsEmpty()) << "its loader has other rules";
}

TEST_F(GuestProgramTest, knows_the_library_path_that_the_guest_sets) {
    add_program("/opt/app", {});
    const auto path = [this] { return examine("/opt/app", std::nullopt).library_path; };
    EXPECT_EQ(path(), "");
    tree.write("/etc/environment", "LD_LIBRARY_PATH=/login\n");
    EXPECT_EQ(path(), "/login");
    tree.write("/etc/systemd/system/other.service",
               "[Service]\nEnvironment=LD_LIBRARY_PATH=/other\nExecStart=/opt/app2\n");
    EXPECT_EQ(path(), "/login");
    tree.write("/etc/systemd/system.conf", "[Manager]\nDefaultEnvironment=LD_LIBRARY_PATH=/all\n");
    EXPECT_EQ(path(), "/login") << "no unit runs it";
    tree.write("/etc/systemd/system/app.service", "[Service]\nExecStart=-@\"/opt/app\" --option\n");
    EXPECT_EQ(path(), "/all");
    tree.write("/etc/systemd/system/app.service.d/x.conf", "[Service]\nEnvironment=LD_LIBRARY_PATH=/unit\n");
    EXPECT_EQ(path(), "/unit");
    tree.write("/etc/systemd/system/app.service.d/y.conf", "[Service]\nEnvironmentFile=/etc/app\n");
    tree.write("/etc/app", "LD_LIBRARY_PATH=/file\n");
    EXPECT_EQ(path(), "/file") << "files come after Environment=";
    EXPECT_EQ(examine("/opt/app", "/given").library_path, "/given");
}

TEST_F(GuestProgramTest, comes_to_an_end_with_circles_and_floods) {
    add_program("/opt/app", {.needed = {"liba.so", "../x", "/opt/app", std::string(3000, 'x')}, .rpath = "/opt"});
    add("/opt/liba.so", {.soname = "liba.so", .needed = {"libb.so", "liba.so"}});
    add("/opt/libb.so", {.needed = {"liba.so"}});
    EXPECT_THAT(examine("/opt/app").libraries, ::testing::SizeIs(2));
    std::vector<std::string> names;
    for (int i = 0; i < 250; ++i) names.push_back(fmt::format("lib{}.so", i));
    for (int i = 0; i < 250; ++i) {
        std::vector<std::string> others;
        for (int j = 0; j < 250; ++j) others.push_back(fmt::format("lib{}-{}.so", i, j));
        add(fmt::format("/opt/lib{}.so", i), {.needed = others});
    }
    add_program("/opt/app", {.needed = names, .rpath = "/opt"});
    EXPECT_EQ(examine("/opt/app").problem, "it needs more libraries than are looked at");
}

TEST(GuestProgram, resolves_a_program_of_this_very_system) {
    const char* program = "/usr/bin/python3";
    if (!std::filesystem::exists(program)) program = "/bin/ls";
    const RootfsReader reader("/");
    const Guest guest = examine_guest(reader);
    if (guest.libc != Libc::glibc || !std::filesystem::exists(program)) GTEST_SKIP() << "another system";
    const Program found = examine_program(reader, guest, examine_software(reader, guest), program, std::nullopt);
    EXPECT_EQ(found.problem, "");
    EXPECT_EQ(found.architecture, guest.architecture);
    EXPECT_TRUE(found.has_interpreter);
    EXPECT_THAT(found.libraries, IsEmpty());
    EXPECT_TRUE(found.needed_glibc.starts_with("2."));
}

}  // namespace
}  // namespace cuda_nspawn
