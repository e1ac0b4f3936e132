#include "system/files.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::IsEmpty;
using testing::TemporaryTree;

class SystemFiles : public ::testing::Test {
protected:
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

TEST_F(SystemFiles, a_state_survives_the_way) {
    Remembered state;
    state.instance = {"machine-my\\x2dbox.scope", 4711, 1234567890123456};
    state.revoked = true;
    state.verdict = {VerdictResult::degraded,
                     "degraded: memory",
                     {{"memory", CheckResult::degraded, 1.5, "busy"}},
                     {"GPU-1"},
                     42,
                     {"9.0"}};
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
}

}  // namespace
}  // namespace cuda_nspawn
