// Guests that were made to keep the examination busy, to lead it astray, or to write to who reads of it.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>

#include <fcntl.h>
#include <fmt/format.h>

#include "driver_fixture.hpp"
#include "guest/bounded_tree.hpp"
#include "guest/rootfs_reader.hpp"
#include "guest/software.hpp"
#include "guest_tree.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;
using testing::TemporaryTree;

class GuestHostile : public ::testing::Test {
protected:
    GuestHostile() {
        guest.libc = Libc::glibc;
        guest.architecture = "x86-64";
    }
    // Within the time that it may take.
    GuestSoftware examine() const {
        const auto begin = std::chrono::steady_clock::now();
        GuestSoftware software = examine_software(RootfsReader(tree.path()), guest);
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
        return software;
    }
    Program examine(const std::string& path) const {
        const auto begin = std::chrono::steady_clock::now();
        Program program = examine_program(RootfsReader(tree.path()), guest, {}, path, "/opt");
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
        return program;
    }
    void make(const std::string& directory) const { std::filesystem::create_directories(tree.at(directory)); }
    void fifo(const std::string& path) const {
        make(path.substr(0, path.rfind('/')));
        ASSERT_EQ(::mkfifo(tree.at(path).c_str(), 0600), 0);
    }
    void sparse(const std::string& path, off_t size) const {
        tree.write(path, "");
        ASSERT_EQ(::truncate(tree.at(path).c_str(), size), 0);
    }

    TemporaryTree tree;
    Guest guest;
};

constexpr off_t terabyte = off_t{1} << 40;

TEST_F(GuestHostile, neither_waits_for_fifos_and_sockets_nor_takes_them_for_files) {
    for (const char* path : {"/etc/environment", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/profile.d/x.sh",
                             "/etc/systemd/system/x.service", "/etc/systemd/system.conf", "/opt/a/lib/libcuda.so.1",
                             "/usr/local/cuda/compat/libcuda.so.1", "/etc/cdi/x.yaml", "/etc/default/x", "/opt/fifo"})
        fifo(path);
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    tree.at("/etc/profile").string().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    GuestSoftware expected;
    expected.reads_fragments = false;
    EXPECT_EQ(examine(), expected);
    ::close(listener);
    EXPECT_EQ(examine("/opt/fifo").problem, "it is no regular file");
}

TEST_F(GuestHostile, ends_with_loops_of_links) {
    tree.link("/opt/self", ".");
    tree.link("/opt/up", "/opt");
    tree.link("/opt/a", "b");
    tree.link("/opt/b", "a");
    tree.link("/opt/root", "/");
    tree.link("/opt/envs", "/opt");
    tree.link("/etc/profile", "profile");
    tree.link("/opt/lib/python3.1/site-packages", "/opt");
    tree.write("/opt/lib/libcuda.so.1", testing::elf());
    EXPECT_THAT(examine().libraries, SizeIs(1));
    EXPECT_EQ(examine("/opt/a").problem, "there is no such file");
}

TEST_F(GuestHostile, reads_little_of_huge_files) {
    for (const char* path :
         {"/etc/environment", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/profile", "/etc/systemd/system/x.service",
          "/opt/a/lib/libcuda.so.1", "/etc/cdi/x.json", "/usr/local/cuda-12.4/compat/libcuda.so.1", "/opt/program"})
        sparse(path, terabyte);
    const std::string header = testing::make_elf({.soname = "libcuda.so.1", .notes = {{".note.a", "a", "b"}}});
    for (const char* path : {"/opt/b/libcuda.so.1", "/opt/elf"}) {
        tree.write(path, header);
        ASSERT_EQ(::truncate(tree.at(path).c_str(), terabyte), 0);
    }
    const GuestSoftware software = examine();
    EXPECT_FALSE(software.has_cache);
    EXPECT_THAT(software.libraries, SizeIs(1));
    EXPECT_THAT(software.environment, SizeIs(Le(1u))) << "the preloads, of NULs";
    EXPECT_EQ(examine("/opt/program").problem, "it is no ELF file");
    EXPECT_EQ(examine("/opt/elf").problem, "");
}

TEST_F(GuestHostile, survives_truncated_and_changed_elf_files) {
    const std::string program =
        testing::make_elf({.needs = {"GLIBC_2.4"},
                           .needed = {"liba.so", "libcudart.so.12"},
                           .rpath = "$ORIGIN",
                           .interpreter = "/lib64/ld.so",
                           .notes = {{".note.cuda.fwd_compatibility", "NVIDIA Corporation", R"({"Driver":[535]})"}}});
    tree.write("/opt/libcudart.so.12", testing::elf("libcudart.so.12"));
    for (std::size_t length = 0; length < program.size(); ++length) {
        tree.write("/opt/program", program.substr(0, length));
        EXPECT_NE(examine("/opt/program").problem, "") << length;
    }
    for (std::size_t at = 0; at < program.size(); ++at) {
        std::string changed = program;
        changed[at] = '\xff';
        tree.write("/opt/program", changed);
        tree.write("/usr/local/cuda/compat/libcuda.so.1", changed);
        tree.write("/opt/liba.so", changed);
        examine("/opt/program");
        EXPECT_THAT(examine_software(RootfsReader(tree.path()), guest).compat, SizeIs(Le(1u)));
    }
}

TEST_F(GuestHostile, says_that_a_full_directory_was_not_looked_at_as_a_whole) {
    make("/opt/full");
    make("/opt/venv/lib/python3.12/site-packages");
    const int full = ::open(tree.at("/opt/full").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int packages =
        ::open(tree.at("/opt/venv/lib/python3.12/site-packages").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 100000; ++i) ASSERT_EQ(::mknodat(full, fmt::format("n{}", i).c_str(), S_IFREG | 0600, 0), 0);
    for (int i = 0; i < 5000; ++i)
        ASSERT_EQ(::mkdirat(packages, fmt::format("cupy_cuda12x-{}.dist-info", i).c_str(), 0700), 0);
    ::close(full);
    ::close(packages);
    const GuestSoftware software = examine();
    EXPECT_THAT(software.notes, AllOf(Contains(HasSubstr("/opt/full has so many entries")),
                                      Contains(HasSubstr("/opt/venv/lib/python3.12/site-packages has so many entries")),
                                      Contains(HasSubstr("/opt has more directories"))));
    EXPECT_THAT(software.packages, SizeIs(256));
}

TEST_F(GuestHostile, says_that_it_did_not_go_everywhere) {
    for (int a = 0; a < 20; ++a)
        for (int b = 0; b < 20; ++b)
            for (int c = 0; c < 20; ++c) make(fmt::format("/opt/{}/{}/{}/d/e", a, b, c));
    std::string deep = "/opt";
    for (int i = 0; i < 500; ++i) deep += "/d";
    make(deep);
    EXPECT_THAT(examine().notes, Contains(HasSubstr("/opt has more directories")));
}

TEST_F(GuestHostile, spends_no_more_than_its_time_on_paths_that_take_long) {
    // Forty links, each through a thousand directories: such a lookup takes more than a millisecond.
    std::string deep = "/d";
    for (int i = 0; i < 700; ++i) deep += "/d";
    make(deep);
    std::string back;
    for (int i = 0; i < 700; ++i) back += "../";
    tree.link("/l0", deep.substr(1) + "/" + back);
    for (int i = 1; i < 38; ++i)
        tree.link(fmt::format("/l{}", i), fmt::format("{}/{}../l{}", deep.substr(1), back, i - 1));
    std::string path;
    for (int i = 0; i < 60; ++i) path += "/l37:";
    tree.write("/etc/environment", "LD_LIBRARY_PATH=" + path + "\n");
    for (int i = 0; i < 2000; ++i) tree.link(fmt::format("/opt/venv/lib/python3.12/site-packages/{}", i), "/l37");
    examine();
}

TEST_F(GuestHostile, shows_nothing_that_is_not_printable) {
    const std::string evil = "\033[2J\n\xff";
    make("/opt/venv/lib/python3.12/site-packages/cupy_cuda12x-1\033.dist-info");
    make("/opt/venv/lib/python3.12/site-packages/cupy_cuda12x-2.dist-info");
    make("/opt/ev\033il/lib/python3.12/site-packages/cupy_cuda12x-3.dist-info");
    tree.write("/etc/environment", "LD_PRELOAD=" + std::string("/a\033[2J\xff/") + std::string(5000, 'x') + "\n");
    tree.write("/etc/profile.d/a\033.sh", "LD_PRELOAD=1\n");
    tree.write("/etc/systemd/system/a\033.service", "[Service]\nEnvironment=LD_PRELOAD=1\n");
    tree.write("/etc/systemd/system/b.service", "[Service]\nEnvironmentFile=/etc/a\033\n");
    tree.write("/etc/a\033", "LD_PRELOAD=1\n");
    tree.write("/opt/lib/\033/libcuda.so.1", testing::elf());
    tree.write("/opt/program", testing::make_elf({.needed = {"lib" + evil + ".so"}, .interpreter = "/lib/" + evil}));
    const GuestSoftware software = examine();
    EXPECT_THAT(software.packages, SizeIs(1));
    EXPECT_THAT(software.libraries, IsEmpty());
    ASSERT_THAT(software.environment, SizeIs(2));
    EXPECT_EQ(software.environment[0].file, "/etc/a\xef\xbf\xbd");
    EXPECT_EQ(software.environment[1].value.substr(0, 12), "/a\xef\xbf\xbd[2J\xef\xbf\xbd/");
    EXPECT_EQ(software.environment[1].value.size(), 1024u);
    const Program program = examine("/opt/program");
    EXPECT_EQ(program.interpreter, "/lib/\xef\xbf\xbd[2J \xef\xbf\xbd");
    ASSERT_THAT(program.libraries, SizeIs(1));
    EXPECT_EQ(program.libraries[0].name, "lib\xef\xbf\xbd[2J \xef\xbf\xbd.so");
}

TEST_F(GuestHostile, never_leaves_the_root) {
    tree.write("/outside/etc/environment", "LD_PRELOAD=/host\n");
    tree.write("/outside/libcuda.so.1", testing::elf());
    tree.link("/root/etc", "../outside/etc");
    tree.link("/root/opt/lib", tree.at("/outside").string());
    tree.link("/root/opt/program", "../../outside/libcuda.so.1");
    GuestSoftware expected;
    expected.reads_fragments = false;
    EXPECT_EQ(examine_software(RootfsReader(tree.at("/root")), guest), expected);
    EXPECT_EQ(examine_program(RootfsReader(tree.at("/root")), guest, {}, "/opt/program", "").problem,
              "there is no such file");
}

// Counts what is asked of it.
class CountingTree final : public GuestTree {
public:
    mutable std::size_t asked = 0;
    std::optional<std::string> read(std::string_view, std::size_t limit) const override {
        ++asked;
        return std::string(limit, 'x');
    }
    std::vector<std::string> list(std::string_view, std::size_t limit) const override {
        ++asked;
        return std::vector<std::string>(std::min<std::size_t>(limit, 10), "name");
    }
    bool is_file(std::string_view) const override { return ++asked > 0; }
    bool is_directory(std::string_view) const override { return ++asked > 0; }
    std::optional<TreeEntry> find(std::string_view) const override {
        ++asked;
        return TreeEntry{};
    }
    std::unique_ptr<Bytes> open(std::string_view) const override {
        ++asked;
        return std::make_unique<TextBytes>(std::string(100, 'x'));
    }
};

TEST(GuestBoundedTree, answers_until_it_was_asked_too_much) {
    const CountingTree tree;
    const BoundedTree lookups(tree, {.lookups = 3});
    EXPECT_TRUE(lookups.is_file("/a"));
    EXPECT_TRUE(lookups.is_directory("/a"));
    EXPECT_TRUE(lookups.find("/a"));
    EXPECT_FALSE(lookups.is_spent());
    EXPECT_THAT(lookups.notes(), IsEmpty());
    EXPECT_FALSE(lookups.find("/a"));
    EXPECT_FALSE(lookups.is_file("/a"));
    EXPECT_FALSE(lookups.is_directory("/a"));
    EXPECT_FALSE(lookups.open("/a"));
    EXPECT_FALSE(lookups.read("/a", 1));
    EXPECT_THAT(lookups.list("/a", 1), IsEmpty());
    EXPECT_TRUE(lookups.is_spent());
    EXPECT_EQ(tree.asked, 3u);
    EXPECT_THAT(lookups.notes(), SizeIs(1));
}

TEST(GuestBoundedTree, counts_bytes_lists_and_names) {
    const CountingTree tree;
    const BoundedTree bytes(tree, {.bytes = 100});
    EXPECT_EQ(bytes.read("/a", 60).value_or("").size(), 60u);
    EXPECT_FALSE(bytes.read("/a", 60)) << "half a file is none";
    const BoundedTree pieces(tree, {.bytes = 100});
    const auto open = pieces.open("/a");
    ASSERT_TRUE(open);
    char piece[60];
    EXPECT_TRUE(open->read(0, piece, sizeof piece));
    EXPECT_FALSE(open->read(0, piece, sizeof piece));
    const BoundedTree lists(tree, {.lists = 1});
    EXPECT_THAT(lists.list("/a", 100), SizeIs(10));
    EXPECT_THAT(lists.list("/a", 100), IsEmpty());
    const BoundedTree names(tree, {.names = 15});
    EXPECT_THAT(names.list("/a", 10), SizeIs(10));
    EXPECT_THAT(names.notes(), IsEmpty());
    EXPECT_THAT(names.list("/a", 10), SizeIs(5));
    EXPECT_THAT(names.notes(), ElementsAre("/a has so many entries that only some of them were looked at."));
}

TEST(GuestBoundedTree, ends_when_its_time_is_over) {
    const CountingTree tree;
    const BoundedTree late(tree, {.elapsed = std::chrono::milliseconds(-1)});
    EXPECT_FALSE(late.find("/a"));
    const BoundedTree busy(tree, {.processor = std::chrono::milliseconds(-1)});
    EXPECT_FALSE(busy.find("/a"));
    EXPECT_TRUE(late.is_spent() && busy.is_spent());
}

}  // namespace
}  // namespace cuda_nspawn
