// What a guest's loader configuration and its own CUDA say, friendly and hostile.
#include <gmock/gmock.h>

#include <chrono>

#include <fmt/format.h>
#include <sys/stat.h>

#include "driver_fixture.hpp"
#include "guest/bundled_cuda.hpp"
#include "guest/loader_configuration.hpp"
#include "guest/rootfs_reader.hpp"
#include "guest_tree.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing::TemporaryTree;

class GuestLoader : public ::testing::Test {
protected:
    std::vector<std::string> directories() const {
        return read_loader_configuration(RootfsReader(tree.path()), "x86-64").directories;
    }
    std::size_t before_fragment() const {
        return read_loader_configuration(RootfsReader(tree.path()), "x86-64").before_fragment;
    }
    void make(const std::string& directory) const { std::filesystem::create_directories(tree.at(directory)); }
    std::vector<BundledLibrary> bundled() const {
        return find_bundled_libraries(RootfsReader(tree.path()), directories(), "x86-64");
    }
    void add_library(const std::string& directory, const std::string& soname, const std::string& real_name) const {
        tree.write(directory + "/" + real_name, elf(x86_64));
        if (soname != real_name) tree.link(directory + "/" + soname, real_name);
    }

    TemporaryTree tree;
};

TEST_F(GuestLoader, reads_lines_as_ldconfig_does) {
    for (const char* directory : {"/a", "/b", "/d e", "/f"}) make(directory);
    tree.link("/link", "a");
    tree.write("/etc/ld.so.conf",
               " \t/a/// \n/b\t# a comment\n\n#/f\nHWCAP 1 x\nhwcap 0 nosegneg\n/d e\nf\n/missing\n/link\n/a\n"
               "includes /f\nINCLUDE /etc/x\n/f\r");
    tree.write("/etc/x", "/etc\n");
    EXPECT_THAT(directories(), ElementsAre("/a", "/b", "/d e", "/f"));
}

TEST_F(GuestLoader, takes_includes_in_their_place_and_counts_relative_ones_from_their_file) {
    for (const char* directory : {"/a", "/b", "/c", "/d", "/e", "/f"}) make(directory);
    tree.write("/etc/ld.so.conf", "/a\ninclude ld.so.conf.d/*.conf\t/etc/[xy].conf nothing*\n/f\n");
    tree.write("/etc/ld.so.conf.d/2.conf", "/c");
    tree.write("/etc/ld.so.conf.d/1.conf", "/b\ninclude below/z.conf\n");
    tree.write("/etc/ld.so.conf.d/below/z.conf", "/e\n");
    tree.write("/etc/ld.so.conf.d/.hidden.conf", "/etc\n");
    tree.write("/etc/y.conf", "/d\n");
    EXPECT_THAT(directories(), ElementsAre("/a", "/b", "/e", "/c", "/d", "/f"));
}

TEST_F(GuestLoader, knows_what_comes_before_our_fragment) {
    for (const char* directory : {"/a", "/b", "/c", "/run/cuda-nspawn/driver/compute/lib"}) make(directory);
    tree.write("/etc/ld.so.conf", "/a\ninclude /etc/ld.so.conf.d/*.conf\n/c\n");
    tree.write("/etc/ld.so.conf.d/1.conf", "/b\n");
    EXPECT_EQ(before_fragment(), 1u) << "where it is not there yet";
    tree.write("/etc/ld.so.conf.d/00-cuda-nspawn.conf", "/run/cuda-nspawn/driver/compute/lib\n");
    EXPECT_EQ(before_fragment(), 1u);
    EXPECT_THAT(directories(), ElementsAre("/a", "/b", "/c"));
    tree.write("/etc/ld.so.conf.d/000.conf", "/b\n");
    EXPECT_EQ(before_fragment(), 1u) << "- comes before 0";
    tree.write("/etc/ld.so.conf.d/+.conf", "/b\n");
    EXPECT_EQ(before_fragment(), 2u);
    tree.write("/etc/ld.so.conf", "/a\n");
    EXPECT_EQ(before_fragment(), 0u) << "where nothing includes it, the set-up takes another way";
}

TEST_F(GuestLoader, ends_with_circles_and_endless_nesting) {
    make("/a");
    tree.write("/etc/ld.so.conf", "include ld.so.conf\ninclude /etc/*.conf\n/a\n");
    EXPECT_THAT(directories(), ElementsAre("/a"));
    for (int depth = 0; depth < 40; ++depth)
        tree.write(fmt::format("/n/{}", depth), fmt::format("include {}\n/n\n", depth + 1));
    tree.write("/etc/ld.so.conf", "include /n/0\n/a\n");
    tree.link("/etc/link.conf", "ld.so.conf");
    EXPECT_THAT(directories(), ElementsAre("/n", "/a"));
}

TEST_F(GuestLoader, is_not_kept_busy) {
    const auto begin = std::chrono::steady_clock::now();
    std::string includes;
    std::string lines;
    for (int i = 0; i < 2000; ++i) includes += "include /m/*/*/*\n", lines += fmt::format("/d/{}\n", i);
    for (int i = 0; i < 300; ++i) make(fmt::format("/d/{}", i)), make(fmt::format("/m/{}/x/y", i));
    for (int i = 0; i < 300; ++i) tree.write(fmt::format("/etc/c/{}", i), includes + lines);
    tree.write("/etc/ld.so.conf", "include /etc/c/*\n" + lines);
    EXPECT_THAT(directories(), SizeIs(64));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

TEST_F(GuestLoader, believes_no_half_line_and_shows_no_control_characters) {
    make("/a");
    make("/ab");
    make("/evil\033[31m");
    make("/" + std::string(200, 'x') + "/" + std::string(200, 'y'));
    const std::size_t limit = std::size_t{16} * 1024;
    tree.write("/etc/ld.so.conf", "/evil\033[31m\n/" + std::string(200, 'x') + "/" + std::string(200, 'y') + "\n" +
                                      std::string(limit, '#'));
    EXPECT_THAT(directories(), IsEmpty());
    tree.write("/etc/ld.so.conf", std::string(limit - 3, '\n') + "/ab\n");  // cut after "/a"
    EXPECT_THAT(directories(), IsEmpty());
    tree.write("/etc/ld.so.conf", std::string("/a\0b\n", 5));
    EXPECT_THAT(directories(), ElementsAre("/a"));
}

TEST_F(GuestLoader, reads_no_fifo_and_leaves_no_root) {
    make("/etc");
    make("/a");
    ::mkfifo(tree.at("/etc/fifo.conf").c_str(), 0600);
    tree.link("/etc/ld.so.conf", "/etc/real");
    tree.write("/etc/real", "include fifo.conf\n/../../a\n/../../usr/bin\n");
    EXPECT_THAT(directories(), ElementsAre("/../../a"));
}

TEST_F(GuestLoader, finds_the_copies_of_a_driver_package) {
    tree.write("/etc/ld.so.conf", "/usr/lib/x86_64-linux-gnu\n/usr/lib32\n");
    add_library("/usr/lib/x86_64-linux-gnu", "libcuda.so.1", "libcuda.so.535.183.01");
    tree.link("/usr/lib/x86_64-linux-gnu/libcuda.so", "libcuda.so.1");
    add_library("/usr/lib/x86_64-linux-gnu", "libnvidia-ml.so.1", "libnvidia-ml.so.535.183.01");
    tree.write("/usr/lib/x86_64-linux-gnu/libnvoptix.so.1", "no library\n");
    tree.write("/usr/lib/x86_64-linux-gnu/libnvidia-nvvm.so.4", "");
    tree.write("/usr/lib32/libcuda.so.1", elf(3, 1));
    EXPECT_THAT(
        bundled(),
        ElementsAre(BundledLibrary{"/usr/lib/x86_64-linux-gnu/libcuda.so.1", "535.183.01", BundledKind::copy},
                    BundledLibrary{"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "535.183.01", BundledKind::copy},
                    BundledLibrary{"/usr/lib/x86_64-linux-gnu/libnvidia-nvvm.so.4", "", BundledKind::empty}));
}

TEST_F(GuestLoader, finds_what_toolkits_and_images_bring) {
    add_library("/usr/local/cuda-12.4/compat", "libcuda.so.1", "libcuda.so.550.54.15");
    add_library("/usr/local/cuda-12.4/targets/x86_64-linux/lib/stubs", "libcuda.so", "libcuda.so");
    tree.link("/usr/local/cuda-12.4/lib64", "targets/x86_64-linux/lib");
    tree.link("/usr/local/cuda", "cuda-12.4");
    add_library("/opt/conda/lib", "libcuda.so.1", "libcuda.so.1");
    add_library("/usr/local/nvidia/lib64", "libcuda.so.1", "libcuda.so.470.1.x");
    EXPECT_THAT(bundled(),
                ElementsAre(BundledLibrary{"/usr/local/nvidia/lib64/libcuda.so.1", "", BundledKind::copy},
                            BundledLibrary{"/usr/local/cuda/compat/libcuda.so.1", "550.54.15", BundledKind::compat},
                            BundledLibrary{"/usr/local/cuda/lib64/stubs/libcuda.so", "", BundledKind::stub},
                            BundledLibrary{"/opt/conda/lib/libcuda.so.1", "", BundledKind::copy}));
}

TEST_F(GuestLoader, knows_the_toolkits) {
    const auto toolkits = [this] { return find_toolkits(RootfsReader(tree.path())); };
    tree.write("/usr/local/cuda-12.4/version.json", R"({"cuda": {"name": "CUDA SDK", "version": "12.4.1"}})");
    tree.link("/usr/local/cuda", "/etc/alternatives/cuda");
    tree.link("/etc/alternatives/cuda", "/usr/local/cuda-12.4");
    make("/usr/local/cuda-11.0");
    make("/usr/local/cuda-evil\033");
    make("/usr/local/cudax-1.0");
    tree.write("/usr/local/cuda-9.9/version.json", R"({"cuda": {"version": "\u001b[31m"}})");
    tree.write("/usr/local/cuda-x/version.json", std::string(10000, '['));
    EXPECT_THAT(toolkits(), ElementsAre(Toolkit{"/usr/local/cuda", "12.4.1"}, Toolkit{"/usr/local/cuda-11.0", "11.0"},
                                        Toolkit{"/usr/local/cuda-9.9", "9.9"}));
}

TEST_F(GuestLoader, bounds_what_it_takes) {
    std::string lines;
    for (int i = 0; i < 100; ++i) {
        lines += fmt::format("/d/{}\n", i);
        for (const char* name :
             {"libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1", "libnvoptix.so.1", "libnvcuvid.so.1"})
            tree.write(fmt::format("/d/{}/{}", i, name), "");
        make(fmt::format("/usr/local/cuda-{}.0", i));
    }
    tree.write("/etc/ld.so.conf", lines);
    EXPECT_THAT(bundled(), SizeIs(256));
    EXPECT_THAT(find_toolkits(RootfsReader(tree.path())), SizeIs(16));
}

Guest guest_with(std::vector<BundledLibrary> bundled, std::size_t before = 0) {
    Guest guest;
    guest.library_directories = {"/usr/local/lib", "/usr/lib"};
    guest.before_fragment = before;
    guest.bundled = std::move(bundled);
    return guest;
}

TEST(GuestWarnings, name_copies_where_the_loader_looks) {
    const std::vector<BundledLibrary> copies{{"/usr/local/lib/libcuda.so.1", "535.183.01", BundledKind::copy},
                                             {"/usr/local/lib/libnvidia-ml.so.1", "535.183.01", BundledKind::copy},
                                             {"/opt/conda/lib/libcuda.so.1", "", BundledKind::copy}};
    EXPECT_THAT(guest_warnings(guest_with(copies)),
                ElementsAre(AllOf(HasSubstr("has its own libcuda.so.1 (535.183.01) and 1 more in /usr/local/lib; the "
                                            "host's comes before it in the loader's cache."),
                                  HasSubstr("dpkg -S or rpm -qf /usr/local/lib/libcuda.so.1"))));
    EXPECT_THAT(
        guest_warnings(guest_with(copies, 1)),
        ElementsAre(HasSubstr("in /usr/local/lib, which its /etc/ld.so.conf names before all of ld.so.conf.d")));
    EXPECT_THAT(guest_warnings(guest_with({})), IsEmpty());
}

TEST(GuestWarnings, name_empty_files_apart) {
    const auto warnings = guest_warnings(guest_with(
        {{"/usr/lib/libcuda.so.1", "", BundledKind::empty}, {"/usr/lib/libnvidia-ml.so.1", "", BundledKind::copy}}));
    EXPECT_THAT(warnings,
                ElementsAre(AllOf(HasSubstr("own libnvidia-ml.so.1 in /usr/lib;"), Not(HasSubstr("no bytes"))),
                            AllOf(HasSubstr("In the guest's /usr/lib there is libcuda.so.1 of no bytes"),
                                  HasSubstr("\"file too short\""))));
}

}  // namespace
}  // namespace cuda_nspawn
