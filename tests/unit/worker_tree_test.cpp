#include "worker/tree.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryTree;

class WorkerTree : public ::testing::Test {
protected:
    static Entry file(std::string path, std::string text) {
        return {EntryKind::file, std::move(path), std::move(text), {}};
    }
    static Entry link(std::string path, std::string target) {
        return {EntryKind::link, std::move(path), std::move(target), {}};
    }
    static Entry directory(std::string path) { return {EntryKind::directory, std::move(path), "", {}}; }
    std::string failure(const Entry& entry) {
        try {
            tree.make(entry);
        } catch (const std::system_error& error) {
            return error.what();
        }
        return "";
    }
    void share() { tree.share(temporary.at("/source/setup"), "setup", compared); }
    FileStamp stamp(const std::string& path) const {
        struct stat status{};
        ::stat(temporary.at(path).c_str(), &status);
        return {status.st_dev, status.st_ino, status.st_size,
                std::int64_t{status.st_ctim.tv_sec} * 1'000'000'000 + status.st_ctim.tv_nsec};
    }
    std::string read(const std::string& path) const { return temporary.read("/root" + path); }

    std::filesystem::path make_root() const {
        std::filesystem::create_directories(temporary.at("/root/run"));
        return temporary.at("/root");
    }

    TemporaryTree temporary;
    Tree tree{make_root(), "/run/inside"};
    ComparedFiles compared;
};

TEST_F(WorkerTree, makes_a_file_with_its_directories_and_holds_it_then) {
    const Entry entry = file("/run/a/b/c", "text");
    EXPECT_FALSE(tree.holds(entry));
    tree.make(entry);
    EXPECT_TRUE(tree.holds(entry));
    EXPECT_EQ(read("/run/a/b/c"), "text");
    EXPECT_FALSE(tree.holds(file("/run/a/b/c", "texts")));
    EXPECT_FALSE(tree.holds(link("/run/a/b/c", "text")));
    EXPECT_FALSE(tree.holds(directory("/run/a/b/c")));
}

TEST_F(WorkerTree, a_file_has_its_mode_whatever_the_umask) {
    const mode_t before = ::umask(0077);
    tree.make(file("/run/a", ""));
    ::umask(before);
    struct stat status{};
    ::stat(temporary.at("/root/run/a").c_str(), &status);
    EXPECT_EQ(status.st_mode & 0777, 0644U);
}

TEST_F(WorkerTree, replaces_by_a_rename_so_that_a_reader_sees_the_old_or_the_new_whole) {
    tree.make(file("/run/a", "old"));
    std::ifstream reader(temporary.at("/root/run/a"));
    tree.make(file("/run/a", "new"));
    std::string seen;
    std::getline(reader, seen);
    EXPECT_EQ(seen, "old");
    EXPECT_EQ(read("/run/a"), "new");
}

TEST_F(WorkerTree, replaces_a_link_and_not_what_it_leads_to) {
    temporary.write("/root/run/precious", "precious");
    temporary.link("/root/run/a", "precious");
    tree.make(file("/run/a", "new"));
    EXPECT_EQ(read("/run/precious"), "precious");
    EXPECT_EQ(read("/run/a"), "new");
}

TEST_F(WorkerTree, a_leftover_of_an_interrupted_run_is_in_nobodys_way) {
    temporary.write("/root/run/.a.new", "half");
    temporary.link("/root/run/.b.new", "/etc/passwd");
    tree.make(file("/run/a", "whole"));
    tree.make(link("/run/b", "target"));
    EXPECT_EQ(read("/run/a"), "whole");
    EXPECT_THAT(tree.list("/run"), ::testing::UnorderedElementsAre("/run/a", "/run/b"));
}

TEST_F(WorkerTree, links_in_a_path_are_refused_for_every_kind_of_work) {
    temporary.write("/elsewhere/file", "text");
    temporary.link("/root/run/link", temporary.at("/elsewhere").string());
    temporary.link("/root/run/relative", "../../elsewhere");
    for (const std::string base : {"/run/link", "/run/relative"}) {
        EXPECT_THAT(failure(file(base + "/new", "")), HasSubstr(base + "/new"));
        EXPECT_THAT(failure(directory(base + "/below/new")), HasSubstr("cannot"));
        EXPECT_EQ(tree.read(base + "/file"), std::nullopt);
        EXPECT_FALSE(tree.exists(base + "/file"));
        EXPECT_THAT(tree.list(base), IsEmpty());
        tree.remove(base + "/file");
    }
    EXPECT_EQ(temporary.read("/elsewhere/file"), "text");
    EXPECT_FALSE(std::filesystem::exists(temporary.at("/elsewhere/new")));
}

TEST_F(WorkerTree, a_path_does_not_leave_the_root_upwards) {
    temporary.write("/outside", "text");
    EXPECT_EQ(tree.read("/../outside"), std::nullopt);
    EXPECT_EQ(tree.read("/run/../../outside"), std::nullopt);
}

TEST_F(WorkerTree, reads_regular_files_only_and_no_more_than_the_limit) {
    temporary.write("/root/run/a", "0123456789");
    EXPECT_EQ(tree.read("/run/a", 4), "0123");
    EXPECT_EQ(tree.read("/run"), std::nullopt);
    ASSERT_EQ(::mkfifo(temporary.at("/root/run/fifo").c_str(), 0600), 0);
    EXPECT_EQ(tree.read("/run/fifo"), std::nullopt) << "and does not wait for a writer";
    temporary.link("/root/run/link", "a");
    EXPECT_EQ(tree.read("/run/link"), std::nullopt);
}

TEST_F(WorkerTree, holds_a_link_by_its_whole_target) {
    tree.make(link("/run/a", "target"));
    EXPECT_TRUE(tree.holds(link("/run/a", "target")));
    EXPECT_FALSE(tree.holds(link("/run/a", "targe")));
    EXPECT_FALSE(tree.holds(link("/run/a", "target2")));
}

TEST_F(WorkerTree, something_else_in_a_directorys_place_gives_way) {
    temporary.write("/root/run/a", "file");
    tree.make(directory("/run/a"));
    EXPECT_TRUE(tree.holds(directory("/run/a")));
}

TEST_F(WorkerTree, makes_device_nodes_by_number) {
    if (::geteuid() != 0) GTEST_SKIP() << "mknod needs root";
    const Entry node{EntryKind::node, "/run/dev/nvidia0", "", {"nvidia0", 195, 0}, 0666};
    tree.make(node);
    EXPECT_TRUE(tree.holds(node));
    EXPECT_FALSE(tree.holds({EntryKind::node, "/run/dev/nvidia0", "", {"nvidia0", 195, 1}, 0666}));
    ::chmod(temporary.at("/root/run/dev/nvidia0").c_str(), 0660);
    EXPECT_FALSE(tree.holds(node)) << "a guest may have changed the mode";
}

TEST_F(WorkerTree, gives_a_device_node_its_mode_and_owner) {
    if (::geteuid() != 0) GTEST_SKIP() << "mknod needs root";
    const Entry node{EntryKind::node, "/run/dev/nvidia0", "", {"nvidia0", 195, 0}, 0660, 524288};
    Entry of_the_host = node;
    of_the_host.owner = 0;
    tree.make(of_the_host);
    EXPECT_FALSE(tree.holds(node));
    tree.make(node);
    EXPECT_TRUE(tree.holds(node));
    const std::string path = temporary.at("/root/run/dev/nvidia0");
    struct stat status{};
    ASSERT_EQ(::lstat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0660U) << "the umask does not count";
    EXPECT_EQ(status.st_uid, 524288U);
    EXPECT_EQ(status.st_gid, 524288U);
    ASSERT_EQ(::chown(path.c_str(), 524288, 44), 0);
    EXPECT_FALSE(tree.holds(node)) << "the group counts";
    EXPECT_FALSE(tree.holds(of_the_host));
}

TEST_F(WorkerTree, shares_a_file_by_hard_links) {
    temporary.write_program("/source/setup", "program");
    share();
    const Entry shared{EntryKind::shared, "/run/m/guest/setup", "setup", {}};
    EXPECT_FALSE(tree.holds(shared));
    tree.make(shared);
    EXPECT_TRUE(tree.holds(shared));
    EXPECT_EQ(read("/run/m/guest/setup"), "program");
    share();
    EXPECT_TRUE(tree.holds(shared)) << "an unchanged source leaves the copy and its links alone";
    temporary.write("/root/run/m/guest/other", "program");
    EXPECT_FALSE(tree.holds({EntryKind::shared, "/run/m/guest/other", "setup", {}}))
        << "the same text is not the same file";
}

TEST_F(WorkerTree, a_copy_that_was_compared_is_not_read_again_until_somebody_touches_it_or_its_source) {
    temporary.write_program("/source/setup", "program");
    share();
    const auto note_another = [&] {
        temporary.write("/root/run/inside/setup", "another");
        compared["setup"] = {stamp("/source/setup"), stamp("/root/run/inside/setup")};
    };
    note_another();
    share();
    EXPECT_EQ(read("/run/inside/setup"), "another") << "the note is what counts";
    temporary.write("/root/run/inside/setup", "changed by somebody");
    share();
    EXPECT_EQ(read("/run/inside/setup"), "program");
    note_another();
    temporary.write("/source/setup", "program 2");
    share();
    EXPECT_EQ(read("/run/inside/setup"), "program 2");
    note_another();
    std::filesystem::remove(temporary.at("/root/run/inside/setup"));
    share();
    EXPECT_EQ(read("/run/inside/setup"), "program 2");
}

TEST_F(WorkerTree, a_copy_is_noted_only_when_a_change_would_show) {
    temporary.write_program("/source/setup", "program");
    share();
    share();
    EXPECT_THAT(compared, IsEmpty()) << "both are so young that another change may leave the same time";
    for (int round = 0; round < 2; ++round) tree.share("/usr/bin/env", "env", compared);
    EXPECT_THAT(compared, IsEmpty()) << "the copy is";
}

TEST_F(WorkerTree, a_directory_that_was_removed_and_made_again_is_another) {
    tree.make(file("/run/a/b/file", "1"));
    for (const char* path : {"/run/a/b/file", "/run/a/b", "/run/a"}) tree.remove(path);
    tree.make(file("/run/a/b/file", "2"));
    EXPECT_EQ(read("/run/a/b/file"), "2");
    tree.remove("/run/a/b/file");
    tree.remove_directory_if_empty("/run/a/b");
    EXPECT_FALSE(tree.exists("/run/a/b/file"));
    tree.make(file("/run/a/b/file", "3"));
    EXPECT_EQ(read("/run/a/b/file"), "3");
}

TEST_F(WorkerTree, walks_more_directories_than_it_keeps_open) {
    for (int i = 0; i < 200; ++i) tree.make(file(fmt::format("/run/{}/file", i), "text"));
    for (int i = 0; i < 200; ++i) EXPECT_EQ(read(fmt::format("/run/{}/file", i)), "text");
    const std::filesystem::directory_iterator open("/proc/self/fd");
    EXPECT_LT(std::distance(begin(open), end(open)), 120);
}

TEST_F(WorkerTree, lists_children_before_parents_and_follows_no_link) {
    temporary.write("/root/run/a/b/c", "");
    temporary.link("/root/run/a/link", "/");
    const auto paths = tree.list("/run/a");
    EXPECT_THAT(paths, ::testing::UnorderedElementsAre("/run/a/b/c", "/run/a/b", "/run/a/link"));
    EXPECT_LT(std::find(paths.begin(), paths.end(), "/run/a/b/c"), std::find(paths.begin(), paths.end(), "/run/a/b"));
    EXPECT_THAT(tree.list("/run/none"), IsEmpty());
}

TEST_F(WorkerTree, removes_files_links_and_empty_directories_and_forgives_what_is_absent) {
    tree.make(file("/run/a/file", ""));
    tree.make(link("/run/a/link", "file"));
    EXPECT_THROW(tree.remove("/run/a"), std::system_error) << "not empty";
    for (const char* path : {"/run/a/file", "/run/a/link", "/run/a", "/run/a", "/run/none/below"}) tree.remove(path);
    EXPECT_THAT(tree.list("/run"), IsEmpty());
}

TEST_F(WorkerTree, writes_in_place_only_what_has_the_same_length) {
    tree.make(file("/run/epoch", "0001"));
    struct stat before{}, after{};
    ::stat(temporary.at("/root/run/epoch").c_str(), &before);
    tree.write_in_place("/run/epoch", "0002");
    ::stat(temporary.at("/root/run/epoch").c_str(), &after);
    EXPECT_EQ(before.st_ino, after.st_ino) << "a path unit in a guest watches the inode";
    EXPECT_EQ(read("/run/epoch"), "0002");
    tree.write_in_place("/run/epoch", "longer");
    EXPECT_EQ(read("/run/epoch"), "longer");
}

TEST_F(WorkerTree, a_root_that_is_not_there_is_named) {
    try {
        Tree(temporary.at("/none"), "/run/inside");
        FAIL();
    } catch (const std::system_error& error) {
        EXPECT_THAT(error.what(), HasSubstr("/none"));
    }
}

}  // namespace
}  // namespace cuda_nspawn
