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

Findings in_policy(const Evidence& evidence) { return found(find_in_policy, evidence); }
Finding in_policy(const Evidence& evidence, std::string_view code) {
    EXPECT_LT(rank_of(code), finding_catalogue().size()) << code;
    return only(in_policy(evidence), code);
}
Findings in_image(const Evidence& evidence) { return found(find_in_image, evidence); }
Finding in_image(const Evidence& evidence, std::string_view code) {
    EXPECT_LT(rank_of(code), finding_catalogue().size()) << code;
    return only(in_image(evidence), code);
}

TEST(DoctorPolicyRules, say_nothing_of_a_policy_and_an_image_that_are_well) {
    EXPECT_THAT(in_policy(healthy()), IsEmpty());
    EXPECT_THAT(in_image(healthy()), IsEmpty());
}

TEST(DoctorPolicyRules, miss_a_policy_and_make_one) {
    Evidence evidence = healthy();
    evidence.policy.reset();
    const Finding finding = in_policy(evidence, "no-policy");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "There is no policy for machine \"trainer\".");
    EXPECT_THAT(finding.evidence, ElementsAre("/etc/cuda-nspawn/machines/trainer.yaml: not there"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "echo 'gpus: all' >/etc/cuda-nspawn/machines/trainer.yaml");
}

TEST(DoctorPolicyRules, name_all_mistakes_of_a_policy) {
    Evidence evidence = healthy();
    evidence.policy.reset();
    evidence.policy_errors = {{"/etc/cuda-nspawn/machines/trainer.yaml", 3, 1, "unknown key \"gpu\""},
                              {"/etc/cuda-nspawn/machines/trainer.yaml", 5, 7, "no such level"}};
    const Finding finding = in_policy(evidence, "policy-invalid");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "/etc/cuda-nspawn/machines/trainer.yaml:3:1: unknown key \"gpu\"");
    EXPECT_THAT(finding.evidence, ElementsAre(finding.text, HasSubstr(":5:7: no such level")));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_EQ(finding.fix, "Mend line 3 of /etc/cuda-nspawn/machines/trainer.yaml: cuda-nspawn.yaml(5)");
    EXPECT_EQ(in_policy(evidence).size(), 1u) << "there is one, if of no use";
    evidence.policy_errors.front().line = evidence.policy_errors.front().column = 0;
    EXPECT_EQ(in_policy(evidence, "policy-invalid").fix,
              "Mend /etc/cuda-nspawn/machines/trainer.yaml: cuda-nspawn.yaml(5)");
}

TEST(DoctorPolicyRules, only_warn_of_mistakes_while_the_last_good_policy_is_in_force) {
    Evidence evidence = healthy();
    evidence.policy_errors = {{"/etc/cuda-nspawn/machines/trainer.yaml", 3, 1, "unknown key \"gpu\""}};
    const Finding finding = in_policy(evidence, "policy-invalid");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, HasSubstr("unknown key \"gpu\"; the last good policy stays in force"));
}

TEST(DoctorPolicyRules, know_a_policy_that_grants_none) {
    Evidence evidence = healthy();
    evidence.policy->all_gpus = false;
    const Finding finding = in_policy(evidence, "policy-grants-none");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "/etc/cuda-nspawn/machines/trainer.yaml grants no GPU (gpus: none).");
    EXPECT_THAT(finding.evidence, ElementsAre("/etc/cuda-nspawn/machines/trainer.yaml"));
    EXPECT_EQ(finding.where, FixPlace::policy);
    EXPECT_EQ(finding.fix, "gpus: all");
}

// --- the image -------------------------------------------------------------------------------------------------------

TEST(DoctorPolicyRules, miss_the_image) {
    Evidence evidence = healthy();
    evidence.image = Image{};
    const Finding finding = in_image(evidence, "no-image");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "There is no image of machine \"trainer\".");
    EXPECT_THAT(finding.evidence, ElementsAre("/var/lib/machines/trainer: not there"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix,
                AllOf(HasSubstr("/var/lib/machines/trainer"), HasSubstr("machinectl import-tar FILE trainer")));
    evidence.image.reset();
    EXPECT_THAT(in_image(evidence), IsEmpty()) << "nobody has looked";
}

TEST(DoctorPolicyRules, say_nothing_of_a_raw_image_that_was_not_looked_into) {
    Evidence evidence = healthy();
    evidence.image->guest.reset();
    EXPECT_THAT(in_image(evidence), IsEmpty());
}

struct Unfit {
    const char* code;
    Guest guest;
};

// Each with the reason of guest_problem(), which the plan gives too: a cause is one sentence, whoever says it.
TEST(DoctorPolicyRules, have_a_code_for_each_reason_that_a_guest_does_not_run_the_driver) {
    Evidence evidence = healthy();
    const Guest good = guest_of(evidence);
    const auto but = [&](auto change) {
        Guest guest = good;
        change(guest);
        return guest;
    };
    const std::vector<Unfit> all{{"guest-empty", {}},
                                 {"guest-nixos", but([](Guest& guest) { guest.os_id = "nixos"; })},
                                 {"guest-musl", but([](Guest& guest) { guest.libc = Libc::musl; })},
                                 {"guest-no-glibc", but([](Guest& guest) { guest.libc = Libc::none; })},
                                 {"guest-other-architecture", but([](Guest& guest) { guest.architecture = "s390x"; })},
                                 {"guest-glibc-too-old", but([](Guest& guest) { guest.libc_version = "2.12"; })},
                                 {"guest-no-ldconfig", but([](Guest& guest) { guest.has_ldconfig = false; })},
                                 {"guest-glibc-too-old", but([](Guest& guest) {
                                      guest.libc_version = "2.12";
                                      guest.has_ldconfig = false;
                                  })}};
    for (const auto& [code, guest] : all) {
        evidence.image->guest = guest;
        const Findings findings = in_image(evidence);
        ASSERT_EQ(findings.size(), 1u) << code;
        EXPECT_EQ(findings.front().code, code);
        EXPECT_LT(rank_of(code), finding_catalogue().size());
        EXPECT_EQ(findings.front().severity, FindingSeverity::error);
        EXPECT_EQ(findings.front().text, guest_problem(guest, host_architecture)) << code;
        EXPECT_EQ(findings.front().evidence.front(), "/var/lib/machines/trainer");
        EXPECT_EQ(findings.front().where, FixPlace::none);
        EXPECT_FALSE(findings.front().fix.empty());
    }
}

TEST(DoctorPolicyRules, show_what_guest_it_is) {
    Evidence evidence = healthy();
    guest_of(evidence).libc_version = "2.12";
    const Finding old = in_image(evidence, "guest-glibc-too-old");
    EXPECT_THAT(old.evidence, ElementsAre("/var/lib/machines/trainer", "os-release: Debian GNU/Linux 13 (trixie)",
                                          "glibc 2.12 for x86-64"));
    EXPECT_THAT(old.fix, HasSubstr("glibc 2.17 or newer"));
    evidence = healthy();
    guest_of(evidence).has_ldconfig = false;
    EXPECT_THAT(in_image(evidence, "guest-no-ldconfig").fix, HasSubstr("libc-bin on Debian"));
    guest_of(evidence).libc = Libc::musl;
    EXPECT_THAT(in_image(evidence, "guest-musl").evidence,
                ElementsAre("/var/lib/machines/trainer", "os-release: Debian GNU/Linux 13 (trixie)"));
}

TEST(DoctorPolicyRules, tell_of_an_image_that_could_not_be_looked_into) {
    Evidence evidence = healthy();
    evidence.image->guest.reset();
    evidence.image_failure = "no partition table";
    const Finding finding = only(found(find_in_image, evidence), "not-examined");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, HasSubstr("no partition table"));
    EXPECT_THAT(finding.evidence, ElementsAre("/var/lib/machines/trainer"));
}

}  // namespace
}  // namespace cuda_nspawn
