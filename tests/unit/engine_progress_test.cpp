// How far a job is, and how it is cancelled.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::Call;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_driver;
using testing::make_policy;
using ::testing::Not;

class EngineProgress : public testing::EngineFixture {
protected:
    std::string progress(unsigned id) const {
        return fmt::format("{}/{} {}", job(id).step, job(id).steps, job(id).text);
    }
    // What it shows from now until it ends, each line once.
    std::vector<std::string> follow(unsigned id) {
        std::vector<std::string> lines{progress(id)};
        while (!ports.pending.empty()) {
            ports.answer(ports.pending.front().verb);
            if (lines.back() != progress(id)) lines.push_back(progress(id));
        }
        return lines;
    }
    std::string refusal(unsigned id) {
        try {
            engine.cancel(id);
        } catch (const JobRefused& refused) {
            text_ = refused.what();
            return refused.name();
        }
        return "";
    }
    std::string text_;
};

TEST_F(EngineProgress, a_job_tells_what_is_done_for_it_and_of_how_many) {
    prepare();
    EXPECT_THAT(follow(engine.attach("a", {true, true, false})),
                ElementsAre("1/5 look at the image", "2/5 make the exposure", "3/5 start systemd-nspawn@a.service",
                            "4/5 set the device rules", "5/5 self-test", "5/5 passed: 1 GPU, 42 ms"));
    EXPECT_THAT(follow(engine.detach("a")),
                ElementsAre("1/3 set the device rules", "2/3 make the exposure",
                            "3/3 have systemd read its units again", "3/3 detached until the machine starts again"));
}

TEST_F(EngineProgress, copying_the_driver_is_a_step_too) {
    set_policies({make_policy("a")});
    engine.set_driver(make_driver());
    ports.answer_all("build");
    const unsigned id = engine.attach("a", {});
    ports.answer_all("build");
    EXPECT_EQ(progress(id), "3/4 copy the driver to the store");
    ports.answer_all();
    EXPECT_EQ(job(id).step, job(id).steps);
    EXPECT_EQ(job(id).result, JobResult::done);
}

TEST_F(EngineProgress, a_job_that_comes_while_something_is_done_tells_that) {
    prepare();
    engine.image_changed("a");
    const unsigned id = engine.attach("a", {});
    EXPECT_THAT(progress(id), HasSubstr("1/2 look at the image"));
    ports.answer_all();
}

TEST_F(EngineProgress, a_mount_and_the_search_for_a_cause_are_steps) {
    prepare();
    ports.without_mounts = {100};
    engine.machine_started("a", instance("a"));
    ports.answer("grant");
    const unsigned id = engine.attach("a", {});
    EXPECT_EQ(progress(id), "1/2 mount the driver into the machine");
    ports.examination.emplace();
    ports.answer("mount");
    EXPECT_EQ(progress(id), "2/2 make the exposure");
    ports.fail("expose", "it is full");
    EXPECT_EQ(progress(id), "3/3 find the cause of: it is full");
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::failed);
    EXPECT_THAT(job(id).text, HasSubstr("it is full"));
}

TEST_F(EngineProgress, each_step_is_told_to_who_listens) {
    prepare();
    const unsigned id = engine.attach("a", {});
    ports.answer_all();
    EXPECT_EQ(std::count(observer.events.begin(), observer.events.end(), "job changed " + std::to_string(id)), 2);
}

// --- cancel ----------------------------------------------------------------------------------------------------------

TEST_F(EngineProgress, a_cancelled_job_ends_at_once_and_what_is_under_way_is_done_whole) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    JobResult heard = JobResult::none;
    engine.when_ended(id, [&](const Job& job) { heard = job.result; });
    ports.answer("look");
    ports.news();
    engine.cancel(id);
    EXPECT_EQ(heard, JobResult::cancelled);
    EXPECT_EQ(job(id).text, "cancelled");
    ports.answer_all();
    EXPECT_THAT(ports.news(), IsEmpty()) << "neither start nor test";
    EXPECT_EQ(machine().exposed, machine().planned.plan);
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineProgress, a_start_that_is_under_way_is_done_whole) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("start");
    engine.cancel(id);
    ports.answer_all();
    EXPECT_EQ(state(), "attached");
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed) << "by the policy's own wish";
}

TEST_F(EngineProgress, a_start_that_another_job_wishes_too_is_done) {
    prepare();
    const unsigned cancelled = engine.attach("a", {true, false, false});
    const unsigned other = engine.attach("a", {true, false, false});
    engine.cancel(cancelled);
    ports.answer_all();
    EXPECT_EQ(job(other).result, JobResult::done);
    EXPECT_EQ(std::count(ports.log.begin(), ports.log.end(), "start a"), 1);
}

TEST_F(EngineProgress, a_self_test_that_runs_for_the_job_alone_is_ended_and_the_verdict_stays) {
    run();
    const unsigned id = engine.self_test("a");
    ports.news();
    engine.cancel(id);
    EXPECT_THAT(ports.news(), ElementsAre("end-test a"));
    EXPECT_TRUE(machine().testing) << "until nothing of it runs any more";
    std::get<Reply<Tested>>(ports.take("test").reply)({{}, {}, "it was ended"});
    EXPECT_FALSE(machine().testing);
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
    EXPECT_THAT(ports.waiting(), IsEmpty());
    EXPECT_EQ(state_text(), "passed: 1 GPU, 42 ms");
}

TEST_F(EngineProgress, a_verdict_that_came_all_the_same_does_not_count) {
    run();
    engine.cancel(engine.self_test("a"));
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineProgress, a_self_test_that_others_wait_for_goes_on) {
    run();
    const unsigned first = engine.self_test("a");
    ports.news();
    const unsigned second = engine.attach("a", {false, true, false});
    EXPECT_EQ(job(second).result, JobResult::none) << "it takes what the running test says";
    engine.cancel(first);
    EXPECT_THAT(ports.news(), IsEmpty());
    ports.answer_all();
    EXPECT_EQ(job(second).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineProgress, a_later_job_that_wants_its_own_self_test_gets_it_when_the_first_is_ended) {
    run();
    const unsigned first = engine.self_test("a");
    const unsigned second = engine.self_test("a");
    ports.news();
    engine.cancel(first);
    EXPECT_THAT(ports.news(), ElementsAre("end-test a"));
    std::get<Reply<Tested>>(ports.take("test").reply)({{}, {}, "it was ended"});
    EXPECT_THAT(ports.news(), ElementsAre("test a"));
    ports.answer_all();
    EXPECT_EQ(job(second).text, "passed: 1 GPU, 42 ms");
}

TEST_F(EngineProgress, a_self_test_that_the_policy_wants_is_not_ended) {
    prepare();
    engine.machine_started("a", instance("a"));
    ports.answer_all("test");
    const unsigned id = engine.attach("a", {false, true, false});
    ports.news();
    engine.cancel(id);
    EXPECT_THAT(ports.news(), IsEmpty());
    ports.answer_all();
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineProgress, a_self_test_that_was_not_begun_is_not_begun) {
    run();
    engine.image_changed("a");
    const unsigned id = engine.self_test("a");
    engine.cancel(id);
    ports.answer_all();
    EXPECT_THAT(ports.log, Not(Contains("end-test a")));
    ports.news();
    engine.image_changed("a");
    ports.answer_all();
    EXPECT_THAT(ports.news(), Not(Contains("test a")));
}

TEST_F(EngineProgress, a_job_whose_wish_is_gone_leaves_no_wish_for_a_self_test) {
    Policy policy = make_policy("a");
    policy.self_test = SelfTestLevel::off;
    run(policy);
    engine.image_changed("a");
    engine.self_test("a");
    engine.detach("a");
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_THAT(ports.log, Not(Contains("test a")));
}

TEST_F(EngineProgress, a_machine_that_ends_while_its_self_test_is_ended_begins_anew) {
    run();
    engine.cancel(engine.self_test("a"));
    const Call late = ports.take("test");
    engine.machine_ended("a");
    engine.machine_started("a", instance("a", 101));
    ports.answer_all();
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
    std::get<Reply<Tested>>(late.reply)(ports.failed());
    EXPECT_EQ(machine().verdict.result, VerdictResult::passed);
}

TEST_F(EngineProgress, a_cancelled_detach_gives_nothing_back) {
    run();
    const unsigned id = engine.detach("a");
    engine.cancel(id);
    EXPECT_EQ(job(id).result, JobResult::cancelled);
    ports.answer_all();
    EXPECT_EQ(state(), "detached");
}

TEST_F(EngineProgress, a_cancelled_offline_detach_is_done_whole_and_its_late_report_harms_nothing) {
    prepare();
    const unsigned id = engine.detach_offline("a");
    EXPECT_EQ(progress(id), "1/1 take what is left of ours out of the image");
    engine.cancel(id);
    EXPECT_EQ(job(id).result, JobResult::cancelled);
    ports.now += 61'000'000;
    engine.forget_old_jobs();
    ports.answer_all();
    EXPECT_FALSE(engine.jobs().contains(id));
}

TEST_F(EngineProgress, a_job_whose_cause_is_looked_for_can_be_cancelled) {
    prepare();
    ports.examination.emplace();
    const unsigned id = engine.attach("a", {});
    ports.fail("look", "no");
    EXPECT_EQ(job(id).state, JobState::running);
    engine.cancel(id);
    ports.answer_all();
    EXPECT_EQ(job(id).result, JobResult::cancelled);
}

TEST_F(EngineProgress, what_cannot_be_cancelled_is_refused) {
    prepare();
    EXPECT_EQ(refusal(7), "NoSuchJob");
    const unsigned id = engine.detach("a");
    EXPECT_EQ(refusal(id), "NotCancellable");
    EXPECT_THAT(text_, HasSubstr("has ended already: the machine is not running"));
}

}  // namespace
}  // namespace cuda_nspawn
