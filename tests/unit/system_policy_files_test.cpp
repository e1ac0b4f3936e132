#include "system/policy_files.hpp"

#include <gmock/gmock.h>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::TemporaryTree;

class SystemPolicyFiles : public ::testing::Test {
protected:
    TemporaryTree tree;
    PolicyFiles files{{tree.at("/etc"), tree.at("/run"), tree.at("/usr")}, tree.at("/defaults.yaml")};
};

TEST_F(SystemPolicyFiles, the_first_directory_wins_and_an_empty_one_is_no_failure) {
    tree.write("/etc/a.yaml", "gpus: [0]\n");
    tree.write("/run/a.yaml", "gpus: all\n");
    tree.write("/run/b.yaml", "gpus: none\n");
    tree.write("/run/notes.txt", "");
    const PolicyFiles::All read = files.read_all();
    ASSERT_THAT(read.files, SizeIs(2));
    EXPECT_EQ(read.files[0].machine, "a");
    EXPECT_EQ(std::get<Policy>(read.files[0].result).path, tree.at("/etc/a.yaml"));
    EXPECT_FALSE(std::get<Policy>(read.files[0].result).all_gpus);
    EXPECT_EQ(read.files[1].machine, "b");
    EXPECT_THAT(read.warnings, IsEmpty());
}

TEST_F(SystemPolicyFiles, a_broken_file_of_an_earlier_directory_hides_a_good_later_one) {
    tree.write("/etc/a.yaml", "gpus: [\n");
    tree.write("/run/a.yaml", "gpus: all\n");
    const PolicyFiles::All read = files.read_all();
    ASSERT_THAT(read.files, SizeIs(1));
    EXPECT_TRUE(std::holds_alternative<std::vector<Diagnostic>>(read.files[0].result));
}

TEST_F(SystemPolicyFiles, a_file_whose_name_is_no_machines_is_a_warning) {
    tree.write("/etc/my_box.yaml", "gpus: all\n");
    const PolicyFiles::All read = files.read_all();
    EXPECT_THAT(read.files, IsEmpty());
    EXPECT_THAT(read.warnings, ElementsAre(HasSubstr(tree.at("/etc/my_box.yaml").string())));
}

TEST_F(SystemPolicyFiles, a_file_that_cannot_be_read_is_a_diagnostic) {
    std::filesystem::create_directories(tree.at("/etc/a.yaml"));
    tree.link("/etc/b.yaml", "nowhere");
    const PolicyFiles::All read = files.read_all();
    ASSERT_THAT(read.files, SizeIs(2));
    for (const PolicyFile& file : read.files)
        EXPECT_THAT(to_string(std::get<std::vector<Diagnostic>>(file.result).front()), HasSubstr("cannot be read"));
}

TEST_F(SystemPolicyFiles, defaults_hold_for_what_a_policy_does_not_say) {
    tree.write("/defaults.yaml", "self_test: off\non_failure: stop\n");
    tree.write("/etc/a.yaml", "gpus: all\non_failure: warn\n");
    const Policy policy = std::get<Policy>(files.read_all().files.at(0).result);
    EXPECT_EQ(policy.self_test, SelfTestLevel::off);
    EXPECT_EQ(policy.on_failure, OnFailure::warn);
}

TEST_F(SystemPolicyFiles, broken_defaults_are_a_warning_and_do_not_count) {
    tree.write("/defaults.yaml", "self_test: maybe\n");
    tree.write("/etc/a.yaml", "gpus: all\n");
    const PolicyFiles::All read = files.read_all();
    EXPECT_THAT(read.warnings, ElementsAre(HasSubstr("defaults.yaml:1")));
    EXPECT_EQ(std::get<Policy>(read.files.at(0).result).self_test, SelfTestLevel::quick);
}

TEST_F(SystemPolicyFiles, a_machine_name_with_dots_keeps_them) {
    tree.write("/etc/web.example.yaml", "gpus: all\n");
    EXPECT_EQ(files.read_all().files.at(0).machine, "web.example");
    EXPECT_TRUE(files.read("web.example"));
}

TEST_F(SystemPolicyFiles, one_is_read_like_all) {
    tree.write("/defaults.yaml", "self_test: full\n");
    tree.write("/run/a.yaml", "gpus: all\n");
    const auto read = files.read("a");
    ASSERT_TRUE(read);
    EXPECT_EQ(std::get<Policy>(read->result), std::get<Policy>(files.read_all().files.at(0).result));
    EXPECT_FALSE(files.read("b"));
    EXPECT_FALSE(files.read("../run/a")) << "no machine's name";
}

TEST_F(SystemPolicyFiles, is_as_read_until_a_text_changes_that_has_a_say) {
    tree.write("/run/a.yaml", "gpus: all\n");
    tree.write("/run/b.yaml", "gpus: all\n");
    EXPECT_FALSE(files.is_as_read("a")) << "nothing was read yet";
    files.read_all();
    EXPECT_TRUE(files.is_as_read("a"));
    tree.write("/run/a.yaml", "gpus: [0]\n");
    EXPECT_FALSE(files.is_as_read("a"));
    EXPECT_TRUE(files.is_as_read("b"));
    files.read("a");
    EXPECT_TRUE(files.is_as_read("a"));
    tree.write("/etc/a.yaml", "gpus: [0]\n");
    EXPECT_FALSE(files.is_as_read("a")) << "another directory's wins, and messages name its path";
    std::filesystem::remove(tree.at("/etc/a.yaml"));
    EXPECT_TRUE(files.is_as_read("a"));
    std::filesystem::remove(tree.at("/run/a.yaml"));
    EXPECT_FALSE(files.is_as_read("a"));
}

TEST_F(SystemPolicyFiles, other_defaults_concern_every_machine) {
    tree.write("/run/a.yaml", "gpus: all\n");
    tree.write("/run/b.yaml", "gpus: all\n");
    files.read_all();
    tree.write("/defaults.yaml", "self_test: off\n");
    EXPECT_FALSE(files.is_as_read("a"));
    files.read("a");
    EXPECT_TRUE(files.is_as_read("a"));
    EXPECT_FALSE(files.is_as_read("b")) << "it was read with the defaults of before";
}

}  // namespace
}  // namespace cuda_nspawn
