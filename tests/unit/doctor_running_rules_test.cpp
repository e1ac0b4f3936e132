#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/catalogue.hpp"
#include "doctor/rules.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Findings in_running(const Evidence& evidence) { return found(find_in_running, evidence); }
Finding in_running(const Evidence& evidence, std::string_view code) {
    EXPECT_LT(rank_of(code), finding_catalogue().size()) << code;
    return only(in_running(evidence), code);
}
Findings in_verdict(const Evidence& evidence) { return found(find_in_verdict, evidence); }
Finding in_verdict(const Evidence& evidence, std::string_view code) {
    EXPECT_LT(rank_of(code), finding_catalogue().size()) << code;
    return only(in_verdict(evidence), code);
}

TEST(DoctorRunningRules, say_nothing_of_a_machine_that_has_everything) {
    EXPECT_THAT(in_running(healthy()), IsEmpty());
    EXPECT_THAT(in_verdict(healthy()), IsEmpty());
}

TEST(DoctorRunningRules, know_a_machine_that_was_detached) {
    Evidence evidence = healthy();
    evidence.detached = true;
    evidence.running->mounted = false;
    evidence.running->device_rules.clear();
    const Finding finding = in_running(evidence, "detached");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("The machine's GPUs were taken from it"));
    EXPECT_THAT(finding.evidence, ElementsAre("State of trainer: detached"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "systemctl start cuda-nspawn@trainer.service");
    EXPECT_EQ(in_running(evidence).size(), 1u) << "what a detach takes is not missed";
}

TEST(DoctorRunningRules, miss_the_mounts) {
    Evidence evidence = healthy();
    evidence.running->unit = "machine-trainer.scope";
    evidence.running->mounted = false;
    const Finding finding = in_running(evidence, "mounts-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("without cuda-nspawn's two mounts"));
    EXPECT_THAT(finding.evidence, ElementsAre("machine-trainer.scope has no /run/cuda-nspawn"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "cuda-nspawnctl attach --fresh --test trainer");
}

TEST(DoctorRunningRules, miss_device_rules) {
    Evidence evidence = healthy();
    evidence.running->device_rules = {"/dev/char/195:255 rw", "/dev/char/195:01 rw", "/dev/char/10:200 rwm"};
    const Finding finding = in_running(evidence, "rule-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("The device rules of systemd-nspawn@trainer.service lack "
                                              "/dev/char/510:0 (/dev/nvidia-uvm), /dev/char/195:0 (/dev/nvidia0):"),
                                    HasSubstr("EPERM"), Not(HasSubstr("nvidiactl"))));
    EXPECT_THAT(finding.evidence, ElementsAre("DeviceAllow=/dev/char/195:255 rw /dev/char/195:01 rw "
                                              "/dev/char/10:200 rwm"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "cuda-nspawnctl attach --fresh --test trainer");
}

TEST(DoctorRunningRules, take_rules_by_path_as_well) {
    Evidence evidence = healthy();
    evidence.running->device_rules = {"/dev/nvidia0 rw", "/dev/nvidia-uvm rw", "/dev/char/195:255 rw"};
    EXPECT_THAT(in_running(evidence), IsEmpty());
    evidence.running->device_rules.clear();
    EXPECT_NE(in_running(evidence, "rule-missing"), Finding{});
}

TEST(DoctorRunningRules, ask_nothing_of_machines_that_get_nothing) {
    Evidence evidence = healthy();
    evidence.running->mounted = false;
    evidence.policy->all_gpus = false;
    EXPECT_THAT(in_running(evidence), IsEmpty());
    evidence.policy.reset();
    EXPECT_THAT(in_running(evidence), IsEmpty());
    evidence = healthy();
    evidence.running.reset();
    evidence.detached = true;
    EXPECT_THAT(in_running(evidence), IsEmpty());
}

// --- the verdict -----------------------------------------------------------------------------------------------------

TEST(DoctorRunningRules, pass_on_a_failed_self_test) {
    const Evidence evidence = failing(healthy(), "init", "cuInit: 999");
    const Finding finding = in_verdict(evidence, "self-test-failed");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "failed: init: cuInit: 999");
    EXPECT_THAT(finding.evidence, ElementsAre("init: failed: cuInit: 999"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "cuda-nspawnctl attach --fresh --test trainer");
}

TEST(DoctorRunningRules, know_a_self_test_without_a_verdict) {
    Evidence evidence = healthy();
    evidence.verdict = {};
    evidence.verdict.result = VerdictResult::no_verdict;
    evidence.verdict.summary = "no verdict: the test did not end within 60 s";
    const Finding finding = in_verdict(evidence, "no-verdict");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, evidence.verdict.summary);
    EXPECT_THAT(finding.evidence, ElementsAre(evidence.verdict.summary));
    EXPECT_EQ(finding.fix, "cuda-nspawnctl attach --fresh --test trainer");
    EXPECT_EQ(in_verdict(evidence).size(), 1u);
}

TEST(DoctorRunningRules, only_warn_of_a_busy_gpu) {
    Evidence evidence = healthy();
    evidence.verdict.result = VerdictResult::degraded;
    evidence.verdict.summary = "degraded: context: the GPU's memory is full";
    evidence.verdict.checks.push_back({"context", CheckResult::degraded, 1, "the GPU's memory is full"});
    const Finding finding = in_verdict(evidence, "gpu-busy");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.text, evidence.verdict.summary);
    EXPECT_THAT(finding.evidence, ElementsAre("context: degraded: the GPU's memory is full"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("nvidia-smi"), HasSubstr("cuda-nspawnctl holders")));
    EXPECT_EQ(in_verdict(evidence).size(), 1u);
}

TEST(DoctorRunningRules, pass_on_a_step_that_failed) {
    Evidence evidence = healthy();
    evidence.failure = "systemd does not change the device rules: Access denied";
    const Finding finding = in_verdict(evidence, "step-failed");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, evidence.failure);
    EXPECT_THAT(finding.evidence, ElementsAre("journalctl -u cuda-nspawn@trainer.service"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "cuda-nspawnctl attach --fresh --test trainer");
}

}  // namespace
}  // namespace cuda_nspawn
