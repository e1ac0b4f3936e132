// Every event in every state, as tables. A line is a situation the machine is in, a column what then happens, the word
// between them the state when everything has been answered ("gone": the engine has forgotten the machine).
//   passed, bad, untested: attached, by its verdict
//   ,runs: the machine runs; without it, it does not, unless the situation's name says so
// The policy is of GPUs 0 and 1 before "more" and "fewer", the driver has three.
#include <gmock/gmock.h>

#include "engine_situations.hpp"

namespace cuda_nspawn {
namespace {

using testing::Cell;
using testing::cells;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using testing::happen;
using testing::Host;
using ::testing::IsEmpty;
using testing::Situation;
using testing::situation;
using testing::situations;

constexpr const char* policy_table = R"(
                    same      more      fewer     none      broken    removed
invalid             ready     ready     ready     blocked   invalid   gone
invalid,runs        passed    passed    passed    blocked   invalid   blocked
gpus-none           blocked   ready     ready     blocked   blocked   gone
gpus-none,runs      blocked   passed    passed    blocked   blocked   blocked
no-driver           blocked   blocked   blocked   blocked   blocked   gone
no-driver,runs      blocked   blocked   blocked   blocked   blocked   blocked
musl-guest          blocked   blocked   blocked   blocked   blocked   gone
musl-guest,runs     blocked   blocked   blocked   blocked   blocked   blocked
bad-settings        blocked   blocked   blocked   blocked   blocked   gone
bad-settings,runs   blocked   blocked   blocked   blocked   blocked   blocked
no-policy,runs      passed    passed    passed    blocked   invalid   blocked
building            ready     ready     ready     blocked   ready     gone
building,runs       passed    passed    passed    blocked   passed    blocked
looking             ready     ready     ready     blocked   ready     gone
exposing            ready     ready     ready     blocked   ready     gone
reloading           ready     ready     ready     blocked   ready     gone
ready               ready     ready     ready     blocked   ready     gone
starting            passed    passed    passed    blocked   passed    blocked
granting            passed    passed    passed    blocked   passed    blocked
mounting            passed    passed    passed    blocked   passed    blocked
testing             passed    passed    passed    blocked   passed    blocked
passed              passed    passed    passed    blocked   passed    blocked
bad                 bad       passed    passed    blocked   bad       blocked
untested            untested  untested  untested  blocked   untested  blocked
detached            detached  detached  detached  blocked   detached  blocked
ending              ready     ready     ready     blocked   ready     gone
failed-look         ready     ready     ready     blocked   ready     gone
failed-expose       ready     ready     ready     blocked   ready     gone
failed-reload       ready     ready     ready     blocked   ready     gone
failed-start        ready     ready     ready     blocked   ready     gone
failed-release      ready     ready     ready     blocked   ready     gone
failed-grant        passed    passed    passed    blocked   passed    blocked
failed-mount        passed    passed    passed    blocked   passed    blocked
)";

// files-newer: a package upgrade before the module's reload; files-older: a module without its files. A driver that is
// as it was is no event, so what failed stays.
constexpr const char* driver_table = R"(
                    as-is     upgraded  unloaded  gpu-lost  files-newer  files-older
invalid             invalid   invalid   invalid   invalid   invalid      invalid
invalid,runs        invalid   invalid   invalid   invalid   invalid      invalid
gpus-none           blocked   blocked   blocked   blocked   blocked      blocked
gpus-none,runs      blocked   blocked   blocked   blocked   blocked      blocked
no-driver           blocked   ready     blocked   blocked   blocked      blocked
no-driver,runs      blocked   passed    blocked   blocked   blocked      blocked
musl-guest          blocked   blocked   blocked   blocked   blocked      blocked
musl-guest,runs     blocked   blocked   blocked   blocked   blocked      blocked
bad-settings        blocked   blocked   blocked   blocked   blocked      blocked
bad-settings,runs   blocked   blocked   blocked   blocked   blocked      blocked
no-policy,runs      blocked   blocked   blocked   blocked   blocked      blocked
building            ready     ready     blocked   blocked   blocked      blocked
building,runs       passed    passed    blocked   blocked   blocked      blocked
looking             ready     ready     blocked   blocked   ready        blocked
exposing            ready     ready     blocked   blocked   ready        blocked
reloading           ready     ready     blocked   blocked   ready        blocked
ready               ready     ready     blocked   blocked   ready        blocked
starting            passed    passed    blocked   blocked   passed       blocked
granting            passed    passed    blocked   blocked   passed       blocked
mounting            passed    passed    blocked   blocked   passed       blocked
testing             passed    passed    blocked   blocked   passed       blocked
passed              passed    passed    blocked   blocked   passed       blocked
bad                 bad       passed    blocked   blocked   bad          blocked
untested            untested  untested  blocked   blocked   untested     blocked
detached            detached  detached  blocked   blocked   detached     blocked
ending              ready     ready     blocked   blocked   ready        blocked
failed-look         failed    ready     blocked   blocked   ready        blocked
failed-expose       failed    ready     blocked   blocked   ready        blocked
failed-reload       failed    ready     blocked   blocked   ready        blocked
failed-start        failed    ready     blocked   blocked   ready        blocked
failed-release      failed    ready     blocked   blocked   ready        blocked
failed-grant        failed    passed    blocked   blocked   passed       blocked
failed-mount        failed    passed    blocked   blocked   passed       blocked
)";

// started: told of the instance 100, which runs already where one does; another: of 200; listed, unlisted: by
// comparison with all that machined knows. image: it or the admin's settings changed; mended: and are good now.
constexpr const char* life_table = R"(
                    started   another   ended     listed    unlisted  image     mended
invalid             invalid   invalid   invalid   invalid   invalid   invalid   invalid
invalid,runs        invalid   invalid   invalid   invalid   invalid   invalid   invalid
gpus-none           blocked   blocked   blocked   blocked   blocked   blocked   blocked
gpus-none,runs      blocked   blocked   blocked   blocked   blocked   blocked   blocked
no-driver           blocked   blocked   blocked   blocked   blocked   blocked   blocked
no-driver,runs      blocked   blocked   blocked   blocked   blocked   blocked   blocked
musl-guest          blocked   blocked   blocked   blocked   blocked   blocked   ready
musl-guest,runs     blocked   blocked   blocked   blocked   blocked   blocked   passed
bad-settings        blocked   blocked   blocked   blocked   blocked   blocked   ready
bad-settings,runs   blocked   blocked   blocked   blocked   blocked   blocked   passed
no-policy,runs      blocked   blocked   gone      blocked   gone      blocked   blocked
building            passed    passed    ready     passed    ready     ready     ready
building,runs       passed    passed    ready     passed    ready     passed    passed
looking             passed    passed    ready     passed    ready     ready     ready
exposing            passed    passed    ready     passed    ready     ready     ready
reloading           passed    passed    ready     passed    ready     ready     ready
ready               passed    passed    ready     passed    ready     ready     ready
starting            passed    passed    passed    passed    passed    passed    passed
granting            passed    passed    ready     passed    ready     passed    passed
mounting            passed    passed    ready     passed    ready     passed    passed
testing             passed    passed    ready     passed    ready     passed    passed
passed              passed    passed    ready     passed    ready     passed    passed
bad                 bad       passed    ready     bad       ready     bad       bad
untested            untested  untested  ready     untested  ready     untested  untested
detached            detached  passed    ready     detached  ready     detached  detached
ending              passed    passed    ready     passed    ready     ready     ready
failed-look         passed    passed    failed    passed    failed    ready     ready
failed-expose       passed    passed    failed    passed    failed    ready     ready
failed-reload       passed    passed    failed    passed    failed    ready     ready
failed-start        passed    passed    failed    passed    failed    ready     ready
failed-release      passed    passed    failed    passed    failed    ready     ready
failed-grant        failed    passed    ready     failed    ready     passed    passed
failed-mount        failed    passed    ready     failed    ready     passed    passed
)";

// And how the job ends: + done, - failed; ! is no job, but a refusal.
constexpr const char* verb_table = R"(
                    attach    +start    +test     +fresh    detach    self-test
invalid             invalid-  invalid-  invalid-  invalid-  invalid+  invalid!
invalid,runs        invalid-  invalid-  invalid-  invalid-  invalid+  invalid-
gpus-none           blocked-  blocked-  blocked-  blocked-  blocked+  blocked!
gpus-none,runs      blocked-  blocked-  blocked-  blocked-  blocked+  blocked-
no-driver           blocked-  blocked-  blocked-  blocked-  blocked+  blocked!
no-driver,runs      blocked-  blocked-  blocked-  blocked-  blocked+  blocked-
musl-guest          blocked-  blocked-  blocked-  blocked-  blocked+  blocked!
musl-guest,runs     blocked-  blocked-  blocked-  blocked-  blocked+  blocked-
bad-settings        blocked-  blocked-  blocked-  blocked-  blocked+  blocked!
bad-settings,runs   blocked-  blocked-  blocked-  blocked-  blocked+  blocked-
no-policy,runs      blocked-  blocked-  blocked-  blocked-  blocked+  blocked-
building            ready+    passed+   ready+    ready+    ready+    ready!
building,runs       passed+   passed+   passed+   passed+   detached+ passed+
looking             ready+    passed+   ready+    ready+    ready+    ready!
exposing            ready+    passed+   ready+    ready+    ready+    ready!
reloading           ready+    passed+   ready+    ready+    ready+    ready!
ready               ready+    passed+   ready+    ready+    ready+    ready!
starting            passed+   passed+   passed+   passed+   detached+ passed!
granting            passed+   passed+   passed+   passed+   detached+ passed+
mounting            passed+   passed+   passed+   passed+   detached+ passed+
testing             passed+   passed+   passed+   passed+   detached+ passed+
passed              passed+   passed+   passed+   passed+   detached+ passed+
bad                 bad+      bad+      passed+   passed+   detached+ passed+
untested            untested+ untested+ untested+ untested+ detached+ passed+
detached            passed+   passed+   passed+   passed+   detached+ detached!
ending              ready+    passed+   ready+    ready+    ready+    ready!
failed-look         ready+    passed+   ready+    ready+    ready+    failed!
failed-expose       ready+    passed+   ready+    ready+    ready+    failed!
failed-reload       ready+    passed+   ready+    ready+    ready+    failed!
failed-start        ready+    passed+   ready+    ready+    ready+    failed!
failed-release      ready+    passed+   ready+    ready+    ready+    failed!
failed-grant        passed+   passed+   passed+   passed+   detached+ passed+
failed-mount        passed+   passed+   passed+   passed+   detached+ passed+
)";

std::string ending_of(const Host& host) {
    if (!host.job) return "";
    const Job& job = host.engine.jobs().at(*host.job);
    if (job.state == JobState::running) return "?";
    return job.result == JobResult::done ? "+" : "-";
}

std::string outcome(Host& host, const std::string& event) {
    std::string refused;
    try {
        happen(host, event);
    } catch (const JobRefused&) {
        refused = "!";
    }
    host.ports.answer_all();
    return host.word() + refused + ending_of(host);
}

void check_table(const std::string& table, bool one_file = false) {
    const std::vector<Cell> all = cells(table);
    ASSERT_EQ(all.size() % situations().size(), 0) << "a table has each situation";
    for (const Cell& cell : all) {
        Host host;
        situation(cell.situation).reach(host);
        host.ports.news();
        host.one_file = one_file;
        EXPECT_EQ(outcome(host, cell.event), cell.expected) << cell.situation << " x " << cell.event;
        EXPECT_TRUE(host.engine.settled()) << cell.situation << " x " << cell.event;
        EXPECT_LE(host.ports.log.size(), 20) << cell.situation << " x " << cell.event;
    }
}

TEST(EngineTable, each_situation_is_reached_and_shown_as_its_state) {
    for (const Situation& one : situations()) {
        Host host;
        one.reach(host);
        EXPECT_EQ(host.word(), one.word) << one.name;
    }
}

TEST(EngineTable, policy) { check_table(policy_table); }
TEST(EngineTable, policy_of_one_file) { check_table(policy_table, true); }
TEST(EngineTable, driver) { check_table(driver_table); }
TEST(EngineTable, life) { check_table(life_table); }
TEST(EngineTable, verbs) { check_table(verb_table); }

TEST(EngineTable, housekeeping_and_a_dry_run_change_no_state) {
    for (const Situation& one : situations())
        for (const char* event : {"plan", "restore", "leftover", "collect", "forget-jobs"}) {
            Host left_alone;
            one.reach(left_alone);
            left_alone.ports.answer_all();
            Host host;
            one.reach(host);
            const std::string expected =
                left_alone.word() + (one.word == "invalid" && event == std::string("plan") ? "!" : "");
            EXPECT_EQ(outcome(host, event), expected + ending_of(left_alone)) << one.name << " x " << event;
        }
}

// Where the order matters: which calls an event leads to.
struct Calls {
    const char* situation;
    const char* event;
    const char* calls;
};
constexpr Calls call_table[] = {
    {"ready", "same", ""},
    {"ready", "more", "expose reload"},
    {"ready", "fewer", "expose reload"},
    {"ready", "none", "expose reload"},
    {"ready", "broken", ""},
    {"ready", "removed", "expose reload"},
    {"ready", "as-is", ""},
    {"ready", "upgraded", "build expose reload"},
    {"ready", "unloaded", "expose reload"},
    {"ready", "files-newer", ""},
    {"ready", "started", "grant follow test"},
    {"ready", "unlisted", ""},
    {"ready", "image", "look expose"},
    {"ready", "attach", "look expose"},
    {"ready", "+start", "look expose start grant follow test"},
    {"ready", "detach", ""},
    {"passed", "same", ""},
    {"passed", "more", "expose grant reload test"},
    {"passed", "fewer", "grant expose reload test"},
    {"passed", "none", "grant expose unfollow reload"},
    {"passed", "broken", ""},
    {"passed", "removed", "grant expose unfollow reload"},
    {"passed", "as-is", ""},
    {"passed", "upgraded", "build expose reload test"},
    {"passed", "unloaded", "grant expose unfollow reload"},
    {"passed", "gpu-lost", "grant expose unfollow reload"},
    {"passed", "files-newer", ""},
    {"passed", "files-older", "grant expose unfollow reload"},
    {"passed", "started", ""},
    {"passed", "another", "unfollow release grant follow test"},
    {"passed", "ended", "unfollow release"},
    {"passed", "listed", ""},
    {"passed", "unlisted", "unfollow release"},
    {"passed", "image", "look expose"},
    {"passed", "attach", "expose"},
    {"passed", "+start", "expose"},
    {"passed", "+test", "expose"},
    {"passed", "+fresh", "look expose grant test"},
    {"passed", "detach", "grant unfollow expose reload"},
    {"passed", "self-test", "test"},
    {"detached", "attach", "expose grant follow reload test"},
    {"detached", "detach", "unfollow"},
    {"detached", "ended", "unfollow release expose reload"},
    {"detached", "another", "unfollow release expose grant follow reload test"},
    {"invalid,runs", "image", ""},
    {"invalid,runs", "detach", "grant unfollow"},
    {"invalid,runs", "ended", "unfollow release"},
    {"no-policy,runs", "ended", "unfollow release expose reload"},
    {"failed-grant", "detach", "grant unfollow expose reload"},
    {"failed-reload", "attach", "look reload expose"},
    {"failed-release", "image", "release look expose"},
};

TEST(EngineTable, calls) {
    for (const Calls& row : call_table) {
        Host host;
        situation(row.situation).reach(host);
        host.ports.news();
        happen(host, row.event);
        host.ports.answer_all();
        std::vector<std::string> verbs;
        for (const std::string& call : host.ports.log) verbs.push_back(testing::words(call).front());
        EXPECT_THAT(verbs, ElementsAreArray(testing::words(row.calls))) << row.situation << " x " << row.event;
    }
}

}  // namespace
}  // namespace cuda_nspawn
