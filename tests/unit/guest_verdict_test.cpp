#include "guest/verdict.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

const std::string gpu_a = "GPU-aaaaaaaa-0000-0000-0000-000000000001";
const std::string gpu_b = "GPU-bbbbbbbb-0000-0000-0000-000000000002";

std::string check(const std::string& name, const std::string& result, const std::string& detail = "") {
    return R"({"check":")" + name + R"(","result":")" + result + R"(","ms":1.5,"detail":")" + detail + "\"}\n";
}
std::string gpu(const std::string& uuid) { return R"({"gpu":")" + uuid + "\"}\n"; }
const std::string end = "{\"end\":true}\n";

TestRun run_with(std::string output) {
    TestRun run;
    run.output = std::move(output);
    run.milliseconds = 340.4;
    return run;
}

TEST(Verdict, passes_when_every_check_passed_and_the_gpus_are_those_granted) {
    Verdict verdict = judge(run_with(check("library", "passed", "/x/libcuda.so.1") +
                                     check("version", "passed", "CUDA 13.0, driver 580.159.04") + gpu(gpu_a) +
                                     check("mps", "skipped") + end),
                            {gpu_a});
    EXPECT_EQ(verdict.result, VerdictResult::passed);
    EXPECT_EQ(verdict.summary, "passed: 1 GPU, CUDA 13.0, 340 ms");
    EXPECT_THAT(verdict.gpu_uuids, ElementsAre(gpu_a));
    EXPECT_EQ(verdict.milliseconds, 340.4);
    ASSERT_EQ(verdict.checks.size(), 3u);
    EXPECT_EQ(verdict.checks[0], (Check{"library", CheckResult::passed, 1.5, "/x/libcuda.so.1"}));
}

TEST(Verdict, has_each_compute_capability_once_and_nothing_that_is_none) {
    const Verdict verdict =
        judge({.end = TestEnd::exited,
               .output = "{\"capability\":\"9.0\"}\n{\"capability\":\"12.0\"}\n{\"capability\":\"9.0\"}\n"
                         "{\"capability\":\"9\"}\n{\"capability\":\"-1.0\"}\n{\"capability\":\"100.1000\"}\n"
                         "{\"capability\":9}\n{\"end\":true}\n",
               .reason = ""},
              {});
    EXPECT_EQ(verdict.capabilities, (std::vector<std::string>{"12.0", "9.0"}));
}

TEST(Verdict, compares_uuids_without_order_and_case) {
    Verdict verdict = judge(run_with(gpu("GPU-BBBBBBBB-0000-0000-0000-000000000002") + gpu(gpu_a) + gpu(gpu_a) +
                                     check("init", "passed") + end),
                            {gpu_a, gpu_b});
    EXPECT_EQ(verdict.summary, "passed: 2 GPUs, 340 ms");
}

TEST(Verdict, fails_with_the_first_failed_check) {
    Verdict verdict = judge(run_with(check("library", "passed") + check("init", "failed", "CUDA error 999 (unknown)") +
                                     check("memory", "failed", "later") + end),
                            {gpu_a});
    EXPECT_EQ(verdict.result, VerdictResult::failed);
    EXPECT_EQ(verdict.summary, "failed: init: CUDA error 999 (unknown)");
}

TEST(Verdict, keeps_a_failure_when_the_end_is_missing) {
    Verdict verdict = judge(run_with(check("init", "failed", "bad")), {gpu_a});
    EXPECT_EQ(verdict.summary, "failed: init: bad");
}

TEST(Verdict, fails_when_the_guest_sees_a_gpu_it_was_not_granted) {
    Verdict verdict = judge(run_with(check("init", "passed") + gpu(gpu_a) + gpu(gpu_b) + end), {gpu_a});
    EXPECT_EQ(verdict.result, VerdictResult::failed);
    EXPECT_THAT(verdict.summary, AllOf(HasSubstr(gpu_b + ", which the policy does not grant"), Not(HasSubstr(gpu_a))));
}

TEST(Verdict, fails_when_the_guest_does_not_see_a_granted_gpu) {
    Verdict verdict = judge(run_with(check("init", "passed") + gpu(gpu_a) + end), {gpu_a, gpu_b});
    EXPECT_EQ(verdict.result, VerdictResult::failed);
    EXPECT_THAT(verdict.summary, HasSubstr("does not see " + gpu_b));
    EXPECT_EQ(judge(run_with(check("init", "passed") + end), {gpu_a}).result, VerdictResult::failed);
}

TEST(Verdict, names_a_few_of_many_wrong_gpus) {
    std::string output = check("init", "passed");
    for (int i = 10; i < 40; ++i) output += gpu("GPU-00000000-0000-0000-0000-0000000000" + std::to_string(i));
    Verdict verdict = judge(run_with(output + end), {});
    EXPECT_THAT(verdict.summary, HasSubstr(" and 26 more, which"));
}

TEST(Verdict, is_degraded_by_a_degraded_check) {
    std::string output = gpu(gpu_a) + check("init", "passed") + check("memory", "degraded", "GPU is full") + end;
    EXPECT_EQ(judge(run_with(output), {gpu_a}).result, VerdictResult::degraded);
    EXPECT_EQ(judge(run_with(output), {gpu_a}).summary, "degraded: memory: GPU is full");
    EXPECT_EQ(judge(run_with(check("x", "failed") + output), {gpu_a}).result, VerdictResult::failed);
}

TEST(Verdict, is_none_without_an_end) {
    Verdict verdict = judge(run_with(gpu(gpu_a) + check("init", "passed")), {gpu_a});
    EXPECT_EQ(verdict.result, VerdictResult::no_verdict);
    EXPECT_THAT(verdict.summary, StartsWith("no verdict: the self-test ended early, with exit status 0 after 1 check"));
    EXPECT_EQ(judge(run_with(""), {gpu_a}).result, VerdictResult::no_verdict);
    EXPECT_EQ(judge(run_with(end), {}).result, VerdictResult::no_verdict);
    EXPECT_EQ(judge(run_with(check("a", "skipped") + end), {}).result, VerdictResult::no_verdict);
}

TEST(Verdict, fails_on_an_exit_status_that_no_check_explains) {
    TestRun run = run_with(gpu(gpu_a) + check("init", "passed") + end);
    run.exit_status = 3;
    EXPECT_EQ(judge(run, {gpu_a}).summary, "failed: the self-test ended with exit status 3 and named no failed check");
    run.output = "sh: not found\n";
    run.exit_status = 127;
    EXPECT_THAT(judge(run, {gpu_a}).summary, AllOf(StartsWith("no verdict"), HasSubstr("127"),
                                                   HasSubstr("1 line(s) of its output were not understood")));
}

TEST(Verdict, is_none_when_the_host_ended_the_test) {
    TestRun run = run_with(gpu(gpu_a) + check("init", "passed") + end);
    run.end = TestEnd::timed_out;
    run.milliseconds = 30'000;
    EXPECT_THAT(judge(run, {gpu_a}).summary, HasSubstr("hung after the check 'init' and was killed after 30.0 s"));
    EXPECT_EQ(judge(run, {gpu_a}).result, VerdictResult::no_verdict);
    EXPECT_EQ(judge(run, {gpu_a}).checks.size(), 1u);
    run.end = TestEnd::flooded;
    EXPECT_THAT(judge(run, {gpu_a}).summary, HasSubstr("wrote more than it may"));
    run.end = TestEnd::killed;
    run.exit_status = 9;
    EXPECT_THAT(judge(run, {gpu_a}).summary, AllOf(HasSubstr("signal 9"), HasSubstr("out-of-memory")));
    run.end = TestEnd::overtaken;
    EXPECT_THAT(judge(run, {gpu_a}).summary, AllOf(StartsWith("no verdict"), HasSubstr("changed while the self-test")));
    run.end = TestEnd::not_started;
    run.reason = "the machine is\ngone";
    EXPECT_EQ(judge(run, {gpu_a}).summary, "no verdict: the self-test could not be started: the machine is gone");
}

TEST(Verdict, takes_nothing_hostile_over) {
    std::string output =
        "not json\n[1,2]\n{\"check\":\"Bad Name\",\"result\":\"passed\"}\n"
        "{\"check\":\"x\",\"result\":\"great\"}\n{\"check\":7,\"result\":\"passed\"}\n"
        "{\"gpu\":\"GPU-nothex\"}\n{\"gpu\":[]}\n{\"end\":\"yes\"}\n{\"end\":1}\nnull\n" +
        std::string(5000, '[') +
        "\n{\"check\":\"ok\",\"result\":\"passed\",\"ms\":-5}\n"
        "{\"check\":\"big\",\"result\":\"passed\",\"ms\":1e308}\n"
        "{\"check\":\"huge\",\"result\":\"passed\",\"ms\":1e999}\n"
        "{\"check\":\"text\",\"result\":\"passed\",\"ms\":\"1\",\"detail\":{}}\n" +
        end + check("after", "failed");
    Verdict verdict = judge(run_with(output), {});
    EXPECT_EQ(verdict.result, VerdictResult::passed);
    ASSERT_EQ(verdict.checks.size(), 3u);
    EXPECT_EQ(verdict.checks[0].milliseconds, 0);
    EXPECT_EQ(verdict.checks[1].milliseconds, 24.0 * 3600 * 1000);
    EXPECT_EQ(verdict.checks[2].detail, "");
    EXPECT_THAT(verdict.gpu_uuids, IsEmpty());
}

TEST(Verdict, cleans_and_cuts_details) {
    Verdict verdict = judge(run_with(check("init", "failed", "\\u001b[31m\\nred \xff" + std::string(2000, 'x'))), {});
    EXPECT_THAT(verdict.summary, StartsWith("failed: init: \xef\xbf\xbd[31m red \xef\xbf\xbdxxx"));
    EXPECT_EQ(verdict.checks.at(0).detail.size(), 512u);
}

TEST(Verdict, keeps_the_worse_of_two_reports_of_one_check) {
    std::string output = check("init", "passed") + check("init", "failed", "bad") + check("init", "passed") + end;
    Verdict verdict = judge(run_with(output), {});
    EXPECT_EQ(verdict.checks.size(), 1u);
    EXPECT_EQ(verdict.summary, "failed: init: bad");
}

TEST(Verdict, holds_a_bounded_number_of_checks) {
    std::string output;
    for (int i = 0; i < 5000; ++i) output += check("c" + std::to_string(i), "passed");
    EXPECT_EQ(judge(run_with(output), {}).checks.size(), 64u);
}

TEST(VerdictWords, are_fixed) {
    EXPECT_EQ(to_string(VerdictResult::no_verdict), "no-verdict");
    EXPECT_EQ(to_string(VerdictResult::none), "none");
    EXPECT_EQ(to_string(CheckResult::degraded), "degraded");
}

}  // namespace
}  // namespace cuda_nspawn
