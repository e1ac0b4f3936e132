#include "worker/command.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>

namespace cuda_nspawn {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::StartsWith;

CommandEnd shell(const std::string& script, std::chrono::milliseconds limit = 20s) {
    return run_command({"/bin/sh", "-c", script}, limit);
}

TEST(WorkerCommand, keeps_what_is_printed_to_both_and_the_status) {
    const CommandEnd good = shell("echo out; echo err >&2");
    EXPECT_EQ(good.output, "out\nerr\n");
    EXPECT_TRUE(good.succeeded());
    const CommandEnd bad = shell("echo '<3>it is broken'; exit 3");
    EXPECT_FALSE(bad.succeeded());
    EXPECT_TRUE(bad.in_time);
    EXPECT_EQ(WEXITSTATUS(bad.status), 3);
    EXPECT_EQ(bad.last_line(), "it is broken");
    EXPECT_FALSE(shell("kill -9 $$").succeeded());
}

TEST(WorkerCommand, gives_neither_environment_nor_input) {
    EXPECT_EQ(run_command({"/usr/bin/env"}, 20s).output, "");
    EXPECT_EQ(shell("cat; echo end").output, "end\n");
}

TEST(WorkerCommand, takes_words_as_they_are) {
    EXPECT_EQ(run_command({"/bin/echo", "$HOME; a  b", "*"}, 20s).output, "$HOME; a  b *\n");
}

TEST(WorkerCommand, keeps_64_kib_and_lets_the_rest_go_by) {
    const CommandEnd end = shell(
        "i=0; while [ $i -lt 3000 ]; do echo "
        "123456789012345678901234567890123456789012345678901234567890; i=$((i+1)); done; exit 7");
    EXPECT_EQ(end.output.size(), 65536u);
    EXPECT_EQ(WEXITSTATUS(end.status), 7) << "it was not hindered";
}

TEST(WorkerCommand, ends_what_takes_too_long) {
    const auto begin = std::chrono::steady_clock::now();
    const CommandEnd end = shell("echo begun; exec sleep 60", 200ms);
    EXPECT_FALSE(end.in_time);
    EXPECT_FALSE(end.succeeded());
    EXPECT_TRUE(WIFSIGNALED(end.status));
    EXPECT_EQ(WTERMSIG(end.status), SIGTERM) << "it is asked before it is killed";
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 8s);
}

TEST(WorkerCommand, is_no_success_when_it_ends_well_but_too_late) {
    const CommandEnd end = shell("trap 'exit 0' TERM; echo begun; while :; do :; done", 200ms);
    EXPECT_EQ(end.status, 0);
    EXPECT_FALSE(end.in_time);
    EXPECT_FALSE(end.succeeded());
}

TEST(WorkerCommand, tells_what_cannot_be_started) {
    try {
        run_command({"/does/not/exist"}, 1s);
        ADD_FAILURE();
    } catch (const std::runtime_error& error) {
        EXPECT_THAT(error.what(), StartsWith("/does/not/exist cannot be started: "));
    }
}

TEST(WorkerCommand, has_a_last_line_that_can_be_shown) {
    const auto last = [](const std::string& output) { return CommandEnd{output, 0, true}.last_line(); };
    EXPECT_EQ(last(""), "");
    EXPECT_EQ(last("\n\n"), "");
    EXPECT_EQ(last("one\ntwo\n\n"), "two");
    EXPECT_EQ(last("\x1b[31mred"), "\xef\xbf\xbd[31mred");
    EXPECT_LE(last(std::string(5000, 'x')).size(), 512u);
}

}  // namespace
}  // namespace cuda_nspawn
