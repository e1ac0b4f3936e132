#include "guest/rootfs_reader.hpp"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cuda_nspawn {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;

// A host with a secret beside a guest's root.
class RootfsReaderTest : public testing::Test {
protected:
    RootfsReaderTest() {
        std::string pattern = (fs::temp_directory_path() / "rootfs-reader-XXXXXX").string();
        host_ = ::mkdtemp(pattern.data());
        root_ = host_ / "root";
        fs::create_directories(root_ / "etc");
        write(host_ / "secret", "host's secret");
        write(root_ / "etc/file", "content");
    }
    ~RootfsReaderTest() override { fs::remove_all(host_); }

    static void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
    void link(const std::string& target, const std::string& path) { fs::create_symlink(target, root_ / path); }

    fs::path host_;
    fs::path root_;
};

TEST_F(RootfsReaderTest, reads_regular_files_up_to_the_limit) {
    RootfsReader reader(root_);
    EXPECT_THAT(reader.read("/etc/file", 100), Optional(std::string("content")));
    EXPECT_THAT(reader.read("etc/file", 100), Optional(std::string("content")));
    EXPECT_THAT(reader.read("/etc/file", 3), Optional(std::string("con")));
    EXPECT_THAT(reader.read("/etc/file", 0), Optional(std::string()));
    write(root_ / "empty", "");
    EXPECT_THAT(reader.read("/empty", 10), Optional(std::string()));
}

TEST_F(RootfsReaderTest, finds_what_a_path_leads_to) {
    RootfsReader reader(root_);
    link("/etc/file", "link");
    link("etc", "directory");
    const auto file = reader.find("/etc/file");
    const auto linked = reader.find("/link");
    ASSERT_TRUE(file && linked);
    EXPECT_EQ(file->type, FileType::regular);
    EXPECT_EQ(file->size, 7u);
    EXPECT_EQ(linked->real_name, "file");
    EXPECT_EQ(linked->inode, file->inode);
    EXPECT_EQ(linked->device, file->device);
    EXPECT_EQ(reader.find("/directory").value_or(TreeEntry{}).type, FileType::directory);
    EXPECT_NE(reader.find("/directory").value_or(TreeEntry{}).inode, file->inode);
    ASSERT_EQ(::mkfifo((root_ / "fifo").c_str(), 0600), 0);
    EXPECT_EQ(reader.find("/fifo").value_or(TreeEntry{FileType::regular}).type, FileType::other);
    link("../../secret", "out");
    link(host_ / "secret", "out2");
    EXPECT_FALSE(reader.find("/out"));
    EXPECT_FALSE(reader.find("/out2"));
    EXPECT_FALSE(reader.find("/absent"));
}

TEST_F(RootfsReaderTest, takes_a_descriptor) {
    RootfsReader reader(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    EXPECT_TRUE(reader.is_file("/etc/file"));
}

TEST_F(RootfsReaderTest, throws_when_the_root_is_absent) {
    EXPECT_THROW(RootfsReader(host_ / "absent"), std::system_error);
    EXPECT_THROW(RootfsReader(host_ / "secret"), std::system_error);
}

TEST_F(RootfsReaderTest, resolves_links_inside_the_root_whatever_they_say) {
    write(root_ / "secret", "guest's own");
    link("/secret", "absolute");
    link("../../../../../../secret", "etc/upwards");
    link("../etc/../../secret", "etc/mixed");
    link("etc", "directory");
    RootfsReader reader(root_);
    for (std::string path : {"/absolute", "/etc/upwards", "/etc/mixed", "/../../secret", "/etc/../../../secret"}) {
        EXPECT_THAT(reader.read(path, 100), Optional(std::string("guest's own"))) << path;
    }
    EXPECT_THAT(reader.read("/directory/file", 100), Optional(std::string("content")));
}

TEST_F(RootfsReaderTest, never_reaches_a_file_of_the_host) {
    link(host_ / "secret", "absolute");
    link("../secret", "relative");
    link("../..", "etc/out");
    RootfsReader reader(root_);
    for (std::string path : {"/absolute", "/relative", "/../secret", "/etc/out/secret", "/etc/out/out/../secret"}) {
        EXPECT_EQ(reader.read(path, 100), std::nullopt) << path;
        EXPECT_FALSE(reader.is_file(path)) << path;
    }
}

TEST_F(RootfsReaderTest, follows_no_magic_link) {
    fs::create_directory(root_ / "proc");
    link("/proc/self/root/etc/passwd", "magic");
    RootfsReader reader(root_);
    EXPECT_EQ(reader.read("/magic", 100), std::nullopt);
    // Even with a real /proc as root, where the links are magic indeed.
    RootfsReader proc(fs::path("/proc"));
    EXPECT_EQ(proc.read("/self/exe", 4), std::nullopt);
    EXPECT_EQ(proc.read("/self/root/etc/passwd", 4), std::nullopt);
}

TEST_F(RootfsReaderTest, opens_nothing_but_regular_files) {
    ASSERT_EQ(::mkfifo((root_ / "fifo").c_str(), 0600), 0);
    int sock = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (root_ / "socket").string().copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(sock, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    RootfsReader reader(root_);
    EXPECT_EQ(reader.read("/fifo", 100), std::nullopt);  // and does not hang
    EXPECT_EQ(reader.read("/socket", 100), std::nullopt);
    EXPECT_EQ(reader.read("/etc", 100), std::nullopt);
    EXPECT_THAT(reader.list("/fifo", 10), IsEmpty());
    EXPECT_TRUE(reader.is_file("/fifo"));
    EXPECT_FALSE(reader.is_directory("/fifo"));
    ::close(sock);
}

TEST_F(RootfsReaderTest, opens_no_device_node) {
    if (::mknod((root_ / "zero").c_str(), S_IFCHR | 0666, makedev(1, 5)) != 0) GTEST_SKIP() << "needs root";
    EXPECT_EQ(RootfsReader(root_).read("/zero", 100), std::nullopt);
}

TEST_F(RootfsReaderTest, reads_no_more_of_a_huge_file_than_asked_for) {
    write(root_ / "huge", "");
    fs::resize_file(root_ / "huge", 1ull << 40);
    auto content = RootfsReader(root_).read("/huge", 200'000);
    ASSERT_TRUE(content);
    EXPECT_EQ(content->size(), 200'000u);
}

TEST_F(RootfsReaderTest, gives_up_on_loops_and_absent_files) {
    link("b", "a");
    link("a", "b");
    link("nowhere", "dangling");
    RootfsReader reader(root_);
    for (std::string path : {"/a", "/dangling", "/absent", "/etc/file/below", "", "/"}) {
        EXPECT_EQ(reader.read(path, 100), std::nullopt) << path;
        EXPECT_FALSE(reader.is_file(path)) << path;
    }
    EXPECT_EQ(reader.read(std::string_view("/etc/file\0x", 11), 100), std::nullopt);
    EXPECT_EQ(reader.read("/" + std::string(10000, 'x'), 100), std::nullopt);
}

TEST_F(RootfsReaderTest, lists_directories_sorted_and_bounded) {
    for (std::string name : {"c", "a", "b"}) write(root_ / "etc" / name, "");
    RootfsReader reader(root_);
    EXPECT_THAT(reader.list("/etc", 100), ElementsAre("a", "b", "c", "file"));
    EXPECT_EQ(reader.list("/etc", 2).size(), 2u);
    EXPECT_THAT(reader.list("/etc/file", 100), IsEmpty());
    EXPECT_THAT(reader.list("/absent", 100), IsEmpty());
    EXPECT_TRUE(reader.is_directory("/etc"));
    EXPECT_FALSE(reader.is_directory("/etc/file"));
    EXPECT_FALSE(reader.is_file("/etc"));
}

TEST_F(RootfsReaderTest, enters_no_other_mount) {
    fs::create_directory(root_ / "mounted");
    if (::mount("tmpfs", (root_ / "mounted").c_str(), "tmpfs", 0, "size=64k") != 0) GTEST_SKIP() << "needs root";
    write(root_ / "mounted/file", "x");
    EXPECT_EQ(RootfsReader(root_).read("/mounted/file", 10), std::nullopt);
    EXPECT_EQ(::umount2((root_ / "mounted").c_str(), MNT_DETACH), 0);
}

// A guest swaps a file with a link to the host's secret, and a directory with a link upwards, as fast as it can.
TEST_F(RootfsReaderTest, reads_nothing_of_the_host_while_a_guest_swaps_links) {
    fs::create_directories(root_ / "d");
    write(root_ / "d/secret", "guest's own");
    link("../..", "up");
    std::atomic<bool> stop = false;
    std::thread guest([&] {
        while (!stop) {
            ::renameat2(AT_FDCWD, (root_ / "d").c_str(), AT_FDCWD, (root_ / "up").c_str(), RENAME_EXCHANGE);
        }
    });
    RootfsReader reader(root_);
    for (int i = 0; i < 20'000; ++i) {
        auto content = reader.read("/d/../d/secret", 100);
        EXPECT_EQ(content.value_or("guest's own"), "guest's own");
    }
    stop = true;
    guest.join();
}

}  // namespace
}  // namespace cuda_nspawn
