// Every step fails wherever it can, and answers come late: the state says so, nothing loops, nothing wrong is believed.
#include <gmock/gmock.h>

#include "engine_situations.hpp"

namespace cuda_nspawn {
namespace {

using testing::Call;
using testing::Cell;
using testing::cells;
using testing::FakePorts;
using testing::happen;
using ::testing::HasSubstr;
using testing::Host;
using testing::make_driver;
using testing::sentence;
using testing::Situation;
using testing::situation;
using testing::situations;

const std::vector<std::string> verbs{"look", "expose", "grant", "mount", "reload", "release", "start", "build", "test"};

// Answers all, the first `failures` calls of the verb with the sentence; says how many there were.
int answer_all_but(Host& host, const std::string& verb, int failures) {
    int failed = 0;
    for (int rounds = 0; !host.ports.pending.empty(); ++rounds) {
        if (rounds == 100) throw std::logic_error("the engine never rests: " + host.ports.log.back());
        const std::string next = host.ports.pending.front().verb;
        if (next == verb && failed < failures) {
            ++failed;
            host.ports.fail(verb, sentence);
        } else {
            host.ports.answer(next);
        }
    }
    return failed;
}

bool happens(Host& host, const std::string& event) {
    try {
        happen(host, event);
    } catch (const JobRefused&) {
        return false;
    }
    return true;
}

struct Failure {
    const char* situation;
    const char* event;
    const char* step;
    const char* word;
    const char* text;
};

// What the state and a job that waits say.
constexpr Failure failure_table[] = {
    {"looking", "nothing", "look", "failed", "look failed: it is broken"},
    {"exposing", "nothing", "expose", "failed", "expose failed: it is broken"},
    {"reloading", "nothing", "reload", "failed", "reload failed: it is broken"},
    {"ready", "attach", "look", "failed", "look failed: it is broken"},
    {"ready", "attach", "expose", "failed", "expose failed: it is broken"},
    {"ready", "more", "expose", "failed", "expose failed: it is broken"},
    {"ready", "more", "reload", "failed", "reload failed: it is broken"},
    {"ready", "removed", "expose", "failed", "expose failed: it is broken"},
    {"ready", "upgraded", "build", "ready", "prepared; the machine is not running"},
    {"ready", "+start", "start", "failed", "start failed: it is broken"},
    {"ready", "+start", "grant", "failed", "grant failed: it is broken"},
    {"ready", "started", "grant", "failed", "grant failed: it is broken"},
    {"ready", "started", "test", "bad", "no verdict: the self-test could not be started: it is broken"},
    {"mounting", "nothing", "mount", "failed", "mount failed: it is broken"},
    {"mounting", "+test", "mount", "failed", "mount failed: it is broken"},
    {"building", "nothing", "build", "blocked", "the driver's files could not be copied to the store: it is broken"},
    {"building", "+start", "build", "blocked", "the driver's files could not be copied to the store: it is broken"},
    {"building,runs", "+test", "build", "blocked", "the driver's files could not be copied to the store: it is broken"},
    {"passed", "more", "expose", "failed", "expose failed: it is broken"},
    {"passed", "more", "grant", "failed", "grant failed: it is broken"},
    {"passed", "more", "reload", "failed", "reload failed: it is broken"},
    {"passed", "fewer", "grant", "failed", "grant failed: it is broken"},
    {"passed", "removed", "grant", "failed", "grant failed: it is broken"},
    {"passed", "image", "look", "failed", "look failed: it is broken"},
    {"passed", "upgraded", "build", "passed", "passed: 2 GPUs, 42 ms"},
    {"passed", "upgraded", "test", "bad", "no verdict: the self-test could not be started: it is broken"},
    {"passed", "ended", "release", "failed", "release failed: it is broken"},
    {"passed", "another", "release", "passed", "passed: 2 GPUs, 42 ms"},
    {"passed", "detach", "grant", "failed", "grant failed: it is broken"},
    {"passed", "detach", "expose", "failed", "expose failed: it is broken"},
    {"passed", "detach", "reload", "failed", "reload failed: it is broken"},
    {"passed", "+fresh", "look", "failed", "look failed: it is broken"},
    {"passed", "+fresh", "test", "bad", "no verdict: the self-test could not be started: it is broken"},
    {"passed", "self-test", "test", "bad", "no verdict: the self-test could not be started: it is broken"},
    {"detached", "attach", "expose", "failed", "expose failed: it is broken"},
    {"detached", "attach", "grant", "failed", "grant failed: it is broken"},
    {"detached", "ended", "release", "failed", "release failed: it is broken"},
    // A detach needs nothing that is under way, nor a start that then does not happen.
    {"exposing", "detach", "expose", "failed", "expose failed: it is broken"},
    {"starting", "detach", "start", "ready", "prepared; the machine is not running"},
    {"invalid,runs", "detach", "grant", "invalid", "/etc/cuda-nspawn/machines/a.yaml:1:1: unknown key \"gpu\""},
};

TEST(EngineFailures, are_told_where_they_happen) {
    for (const Failure& row : failure_table) {
        Host host;
        situation(row.situation).reach(host);
        happen(host, row.event);
        const std::string what = std::string(row.situation) + " x " + row.event + " x " + row.step;
        EXPECT_GT(answer_all_but(host, row.step, 1000), 0) << what;
        EXPECT_EQ(host.word(), row.word) << what;
        EXPECT_THAT(host.text(), HasSubstr(row.text)) << what;
        if (!host.job || host.word() == "ready") continue;
        EXPECT_EQ(host.engine.jobs().at(*host.job).result, JobResult::failed) << what;
        EXPECT_THAT(host.engine.jobs().at(*host.job).text, HasSubstr(sentence)) << what;
    }
}

// From that situation, after that event, whose first or each call of the verb failed.
void check_rest(const Host& host, const std::string& what) {
    EXPECT_LE(host.ports.log.size(), 30) << what;
    EXPECT_TRUE(host.engine.settled()) << what;
    for (const auto& [id, job] : host.engine.jobs()) EXPECT_EQ(job.state, JobState::ended) << what;
    if (host.word() != "failed") return;
    EXPECT_THAT(host.text(), ::testing::EndsWith(" failed: " + sentence)) << what;
}

// One of each kind; those that are of something new are new after every event there is.
void recover(Host& host, const std::string& kind) {
    if (kind == "third instance") return host.start(300);
    if (kind == "other driver") return host.engine.set_driver(make_driver("1000.2"));
    happens(host, kind);
}

void check_recovery(const Situation& from, const std::string& event, const std::string& verb, int failures) {
    for (const char* recovery : {"same", "image", "attach", "detach", "third instance", "other driver"}) {
        Host host;
        from.reach(host);
        host.ports.news();
        happens(host, event);
        const std::string what = from.name + " x " + event + " x " + verb + " x " + recovery;
        if (answer_all_but(host, verb, failures) == 0) return;
        check_rest(host, what);
        if (host.word() != "failed") continue;
        recover(host, recovery);
        host.ports.answer_all();
        EXPECT_NE(host.word(), "failed") << what;
        EXPECT_TRUE(host.engine.settled()) << what;
    }
}

TEST(EngineFailures, of_each_step_in_each_situation_end_and_are_recovered_from_by_each_kind_of_event) {
    for (const Situation& one : situations())
        for (const auto& [event, ignored] : testing::events())
            for (const std::string& verb : verbs) {
                check_recovery(one, event, verb, 1);
                check_recovery(one, event, verb, 1000);
            }
}

// Answers that come late: everything else is answered first, then that one with a failure. forgotten: policy and
// machine went.
constexpr const char* late_table = R"(
                    ended     removed   another   forgotten detach
looking             failed    gone      failed    gone      failed
exposing            failed    gone      failed    gone      failed
reloading           failed    gone      passed    gone      failed
starting            failed    gone      failed    gone      ready
granting            ready     blocked   passed    gone      detached
mounting            ready     blocked   passed    gone      detached
testing             ready     blocked   passed    gone      detached
ending              failed    failed    passed    failed    failed
building            blocked   gone      blocked   gone      blocked
building,runs       blocked   blocked   blocked   gone      blocked
)";

void happen_or_forget(Host& host, const std::string& event) {
    if (event != "forgotten") return happen(host, event);
    happen(host, "removed");
    happen(host, "ended");
}

void check_late(const Cell& cell, bool fails) {
    const std::string what = cell.situation + " x " + cell.event + (fails ? " x failed" : "");
    Host host;
    situation(cell.situation).reach(host);
    const std::string verb = host.ports.pending.front().verb;
    const Call late = host.ports.take(verb);
    happen_or_forget(host, cell.event);
    host.ports.answer_all();
    host.ports.pending.push_back(late);
    if (fails)
        host.ports.fail(verb, sentence);
    else if (verb != "start")
        host.ports.answer(verb);
    host.ports.answer_all();
    EXPECT_EQ(host.word() == "failed", fails && cell.expected == "failed") << what;
    if (fails) {
        EXPECT_EQ(host.word(), cell.expected) << what;
    }
    EXPECT_LE(host.ports.log.size(), 40) << what;
}

TEST(EngineFailures, of_a_late_answer_say_nothing_of_what_is_there_now) {
    for (const Cell& cell : cells(late_table)) {
        check_late(cell, true);
        check_late(cell, false);
    }
}

TEST(EngineFailures, a_late_verdict_is_of_nobody) {
    for (const char* event : {"ended", "another", "removed", "detach"}) {
        Host host;
        situation("testing").reach(host);
        const Call test = host.ports.take("test");
        happen(host, event);
        host.ports.answer_all();
        const VerdictResult before = host.engine.machine("a").verdict.result;
        std::get<Reply<Tested>>(test.reply)(FakePorts::failed());
        EXPECT_EQ(host.engine.machine("a").verdict.result, before) << event;
        host.ports.answer_all();
        EXPECT_NE(host.word(), "bad") << event;
    }
}

TEST(EngineFailures, a_detach_during_a_step_that_fails_closes_the_door_first) {
    for (const char* step : {"expose", "reload"}) {
        Host host;
        host.run();
        happen(host, "more");
        host.ports.answer_all(step);
        happen(host, "detach");
        host.ports.news();
        host.ports.fail(step, sentence);
        EXPECT_THAT(host.ports.waiting(), ::testing::ElementsAre("grant systemd-nspawn@a.service")) << step;
        host.ports.answer_all();
        EXPECT_EQ(host.word(), "detached") << step;
        EXPECT_EQ(host.engine.jobs().at(*host.job).result, JobResult::done) << step;
    }
}

}  // namespace
}  // namespace cuda_nspawn
