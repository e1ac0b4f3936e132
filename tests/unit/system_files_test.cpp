#include "system/files.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::TemporaryTree;

class SystemFiles : public ::testing::Test {
protected:
    PolicyFiles policies() const {
        return read_policies({tree.at("/etc"), tree.at("/run"), tree.at("/usr")}, tree.at("/defaults.yaml"));
    }
    TemporaryTree tree;
};

TEST_F(SystemFiles, reads_a_file_whole_or_not_at_all) {
    tree.write("/file", std::string("a\0b", 3));
    EXPECT_EQ(read_file(tree.at("/file")), std::string("a\0b", 3));
    tree.write("/empty", "");
    EXPECT_EQ(read_file(tree.at("/empty")), "");
    EXPECT_EQ(read_file(tree.at("/none")), std::nullopt);
    EXPECT_EQ(read_file(tree.path()), std::nullopt) << "a directory";
    tree.write("/large", std::string((1 << 20) + 1, 'x'));
    EXPECT_EQ(read_file(tree.at("/large")), std::nullopt);
}

TEST_F(SystemFiles, writes_by_a_rename_and_leaves_no_temporary_file) {
    tree.write("/file", "old");
    std::ifstream reader(tree.at("/file"));
    write_file_atomically(tree.at("/file"), "new");
    std::string seen;
    std::getline(reader, seen);
    EXPECT_EQ(seen, "old");
    EXPECT_EQ(tree.read("/file"), "new");
    const std::filesystem::directory_iterator entries(tree.path());
    EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
}

TEST_F(SystemFiles, names_the_file_that_cannot_be_written) {
    try {
        write_file_atomically(tree.at("/none/file"), "");
        FAIL();
    } catch (const std::runtime_error& error) {
        EXPECT_EQ(error.what(), "cannot write " + tree.at("/none/file").string());
    }
}

TEST_F(SystemFiles, the_first_directory_wins_and_an_empty_one_is_no_failure) {
    tree.write("/etc/a.yaml", "gpus: [0]\n");
    tree.write("/run/a.yaml", "gpus: all\n");
    tree.write("/run/b.yaml", "gpus: none\n");
    tree.write("/run/notes.txt", "");
    const PolicyFiles read = policies();
    ASSERT_THAT(read.files, SizeIs(2));
    EXPECT_EQ(read.files[0].machine, "a");
    EXPECT_EQ(std::get<Policy>(read.files[0].result).path, tree.at("/etc/a.yaml"));
    EXPECT_FALSE(std::get<Policy>(read.files[0].result).all_gpus);
    EXPECT_EQ(read.files[1].machine, "b");
    EXPECT_THAT(read.warnings, IsEmpty());
}

TEST_F(SystemFiles, a_broken_file_of_an_earlier_directory_hides_a_good_later_one) {
    tree.write("/etc/a.yaml", "gpus: [\n");
    tree.write("/run/a.yaml", "gpus: all\n");
    const PolicyFiles read = policies();
    ASSERT_THAT(read.files, SizeIs(1));
    EXPECT_TRUE(std::holds_alternative<std::vector<Diagnostic>>(read.files[0].result));
}

TEST_F(SystemFiles, a_file_whose_name_is_no_machines_is_a_warning) {
    tree.write("/etc/my_box.yaml", "gpus: all\n");
    const PolicyFiles read = policies();
    EXPECT_THAT(read.files, IsEmpty());
    EXPECT_THAT(read.warnings, ElementsAre(HasSubstr(tree.at("/etc/my_box.yaml").string())));
}

TEST_F(SystemFiles, a_file_that_cannot_be_read_is_a_diagnostic) {
    std::filesystem::create_directories(tree.at("/etc/a.yaml"));
    tree.link("/etc/b.yaml", "nowhere");
    const PolicyFiles read = policies();
    ASSERT_THAT(read.files, SizeIs(2));
    for (const PolicyFile& file : read.files)
        EXPECT_THAT(to_string(std::get<std::vector<Diagnostic>>(file.result).front()), HasSubstr("cannot be read"));
}

TEST_F(SystemFiles, defaults_hold_for_what_a_policy_does_not_say) {
    tree.write("/defaults.yaml", "self_test: off\non_failure: stop\n");
    tree.write("/etc/a.yaml", "gpus: all\non_failure: warn\n");
    const Policy policy = std::get<Policy>(policies().files.at(0).result);
    EXPECT_EQ(policy.self_test, SelfTestLevel::off);
    EXPECT_EQ(policy.on_failure, OnFailure::warn);
}

TEST_F(SystemFiles, broken_defaults_are_a_warning_and_do_not_count) {
    tree.write("/defaults.yaml", "self_test: maybe\n");
    tree.write("/etc/a.yaml", "gpus: all\n");
    const PolicyFiles read = policies();
    EXPECT_THAT(read.warnings, ElementsAre(HasSubstr("defaults.yaml:1")));
    EXPECT_EQ(std::get<Policy>(read.files.at(0).result).self_test, SelfTestLevel::quick);
}

TEST_F(SystemFiles, a_state_survives_the_way) {
    Remembered state;
    state.instance = {"machine-my\\x2dbox.scope", 4711, 1234567890123456};
    state.revoked = true;
    state.verdict = {
        VerdictResult::degraded, "degraded: memory", {{"memory", CheckResult::degraded, 1.5, "busy"}}, {"GPU-1"}, 42};
    state.tested_usec = 99;
    write_state(tree.at("/my-box.json"), state);
    const auto states = read_states(tree.path());
    ASSERT_TRUE(states.contains("my-box"));
    EXPECT_EQ(states.at("my-box"), state);
}

TEST_F(SystemFiles, a_state_that_cannot_be_understood_counts_as_absent) {
    for (const auto& [name, text] : std::map<std::string, std::string>{
             {"a", ""}, {"b", "{"}, {"c", "[]"}, {"d", "{\"instance\":7}"}, {"e", "null"}, {"f", "\"text\""}})
        tree.write("/" + name + ".json", text);
    tree.write("/other.control", "{}");
    EXPECT_THAT(read_states(tree.path()), IsEmpty());
    EXPECT_THAT(read_states(tree.at("/none")), IsEmpty());
}

TEST_F(SystemFiles, a_machine_name_with_dots_keeps_them) {
    write_state(tree.at("/web.example.json"), {});
    EXPECT_TRUE(read_states(tree.path()).contains("web.example"));
    tree.write("/etc/web.example.yaml", "gpus: all\n");
    EXPECT_EQ(policies().files.at(0).machine, "web.example");
}

}  // namespace
}  // namespace cuda_nspawn
