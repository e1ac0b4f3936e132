#include "doctor/diagnose.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "doctor/catalogue.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<std::string> codes(const Findings& findings) {
    std::vector<std::string> all;
    for (const Finding& finding : findings) all.push_back(finding.code);
    return all;
}

std::vector<std::string> codes_of_consequences(const Finding& finding) {
    std::vector<std::string> all;
    for (const std::string& one : finding.consequences) all.push_back(one.substr(0, one.find(':')));
    return all;
}

Program no_program() {
    Program program;
    program.path = "/a";
    program.problem = "there is no such file";
    return program;
}

// --- findings of a machine -------------------------------------------------------------------------------------------

TEST(DoctorDiagnose, finds_nothing_in_a_machine_in_which_all_is_well) {
    EXPECT_THAT(codes(diagnose(healthy())), IsEmpty());
    EXPECT_THAT(codes(diagnose_guest(healthy())), IsEmpty());
}

TEST(DoctorDiagnose, asks_every_rule) {
    const auto with = [](auto change) {
        Evidence evidence = healthy();
        change(evidence);
        return codes(diagnose(evidence));
    };
    EXPECT_THAT(with([](Evidence& evidence) { evidence.policy.reset(); }), ElementsAre("no-policy"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.host.unified_cgroups = false; }), ElementsAre("cgroup-v1"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.on_host.binds = {{4, "/x", "/x", false, false}}; }),
                ElementsAre("bind-source-missing"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.running->mounted = false; }), ElementsAre("mounts-missing"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.failure = "it failed"; }), ElementsAre("step-failed"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.image = Image{}; }), ElementsAre("no-image"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.software->container_tools = {"/usr/bin/docker"}; }),
                ElementsAre("nested-containers"));
    EXPECT_THAT(with([](Evidence& evidence) { evidence.program = no_program(); }), ElementsAre("program-missing"));
    EXPECT_THAT(with([](Evidence& evidence) { guest_of(evidence).toolkits = {{"/usr/local/cuda", "15.0.0"}}; }),
                testing::Not(IsEmpty()));
}

TEST(DoctorDiagnose, asks_what_is_on_the_host_only_for_one_who_wants_it) {
    Evidence evidence = healthy();
    evidence.policy->all_gpus = false;
    evidence.host.unified_cgroups = false;
    evidence.on_host.binds = {{4, "/x", "/x", false, false}};
    evidence.failure = "it failed";
    evidence.software->container_tools = {"/usr/bin/docker"};
    EXPECT_THAT(codes(diagnose(evidence)), ElementsAre("policy-grants-none", "nested-containers"));
}

TEST(DoctorDiagnose, tells_of_a_root_file_system_only_what_is_in_it) {
    Evidence evidence = healthy();
    evidence.policy.reset();
    evidence.driver.gpus.clear();
    evidence.failure = "it failed";
    evidence.program = no_program();
    evidence.software->container_tools = {"/usr/bin/docker"};
    EXPECT_THAT(codes(diagnose_guest(evidence)), ElementsAre("nested-containers"));
    guest_of(evidence).libc = Libc::musl;
    EXPECT_THAT(codes(diagnose_guest(evidence)), ElementsAre("guest-musl", "nested-containers"));
    guest_of(evidence).libc = Libc::glibc;
    guest_of(evidence).toolkits = {{"/usr/local/cuda", "15.0.0"}};
    EXPECT_EQ(diagnose_guest(evidence).size(), 2u) << "its CUDA is, too";
}

// --- order and folding -----------------------------------------------------------------------------------------------

TEST(DoctorDiagnose, puts_errors_first_and_of_these_what_is_the_cause_of_most) {
    Evidence evidence = healthy();
    evidence.software->container_tools = {"/usr/bin/docker"};                    // info
    evidence.policy->sockets = {HostSocket::fabricmanager};                      // warning
    evidence.on_host.binds = {{4, "/dev/nvidia0", "/dev/nvidia0", true, false},  // warning, later
                              {5, "/srv", "/usr/lib", true, true}};              // error, latest
    evidence.running->mounted = false;                                           // error, later still
    evidence.host.unified_cgroups = false;                                       // error, early
    EXPECT_THAT(codes(diagnose(evidence)), ElementsAre("cgroup-v1", "library-directory-bound", "mounts-missing",
                                                       "socket-missing", "node-bound-by-hand", "nested-containers"));
}

TEST(DoctorDiagnose, leaves_findings_of_one_code_in_the_order_in_which_they_were_found) {
    Evidence evidence = healthy();
    evidence.on_host.binds = {{4, "/b", "/b", false, false}, {5, "/a", "/a", false, false}};
    const Findings findings = diagnose(evidence);
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_THAT(findings[0].text, HasSubstr("binds /b"));
    EXPECT_THAT(findings[1].text, HasSubstr("binds /a"));
}

TEST(DoctorDiagnose, names_a_consequence_under_its_cause) {
    Evidence evidence = failing(healthy(), "init", "cuInit: 999");
    evidence.driver.control = {{"nvidiactl", 195, 255}};
    const Findings findings = diagnose(evidence);
    ASSERT_THAT(codes(findings), ElementsAre("uvm-missing"));
    EXPECT_THAT(findings.front().consequences, ElementsAre("self-test-failed: failed: init: cuInit: 999"));
}

TEST(DoctorDiagnose, leaves_alone_what_the_cause_does_not_explain) {
    Evidence evidence = healthy();
    evidence.driver.control = {{"nvidiactl", 195, 255}};
    evidence.failure = "the disk is full";
    EXPECT_THAT(codes(diagnose(evidence)), ElementsAre("uvm-missing", "step-failed"));
}

constexpr const char* preferred =
    "the guest's loader prefers its own /usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01 to the host's driver: x";

// A bind of an old library (warning) → the loader prefers it (error) → a stub is there too (info), self-test failed.
TEST(DoctorDiagnose, folds_over_several_steps_and_makes_the_cause_as_severe_as_the_worst_of_them) {
    ASSERT_TRUE(explains("host-library-bound", "libcuda-in-the-way"));
    ASSERT_TRUE(explains("libcuda-in-the-way", "guest-stub"));
    ASSERT_FALSE(explains("host-library-bound", "guest-stub"));
    Evidence evidence = failing(healthy(), "library", preferred);
    const std::string library = "/usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01";
    guest_of(evidence).bundled = {{"/usr/local/cuda/lib64/stubs/libcuda.so.1", "", BundledKind::stub}};
    EXPECT_THAT(codes(diagnose(evidence)), ElementsAre("libcuda-in-the-way"));
    evidence.on_host.binds = {{4, library, library, true, false}};
    evidence.policy->sockets = {HostSocket::fabricmanager};
    evidence.host.unified_cgroups = true;
    const Findings findings = diagnose(evidence);
    ASSERT_THAT(codes(findings), ElementsAre("host-library-bound", "socket-missing"));
    EXPECT_EQ(findings.front().severity, FindingSeverity::error) << "alone it would be a warning";
    EXPECT_EQ(findings.back().severity, FindingSeverity::warning);
    EXPECT_THAT(codes_of_consequences(findings.front()),
                testing::UnorderedElementsAre("libcuda-in-the-way", "self-test-failed", "guest-stub"));
}

// --- the sentence of a failure ---------------------------------------------------------------------------------------

TEST(DoctorDiagnose, a_failure_without_a_finding_stays_as_it_is) {
    EXPECT_EQ(explain("It failed.", {}), "It failed.");
    EXPECT_EQ(explain("It failed.", {{.code = "gpu-busy", .severity = FindingSeverity::warning, .text = "Busy."}}),
              "It failed.")
        << "a warning is no cause";
}

TEST(DoctorDiagnose, a_failure_is_told_with_its_first_cause_the_way_out_and_the_code) {
    const Finding cause{
        .code = "uvm-missing", .text = "Something lacks.", .where = FixPlace::host, .fix = "modprobe nvidia-uvm"};
    EXPECT_EQ(explain("failed: init: 999", {cause, {.code = "step-failed", .text = "Other."}}),
              "failed: init: 999. Cause: Something lacks. On the host: modprobe nvidia-uvm [uvm-missing]");
}

TEST(DoctorDiagnose, a_sentence_is_not_said_twice) {
    const Finding cause{
        .code = "no-module", .text = "no module is loaded.", .where = FixPlace::host, .fix = "modprobe"};
    EXPECT_EQ(explain("no module is loaded", {cause}), "no module is loaded. On the host: modprobe [no-module]");
    EXPECT_EQ(explain("a: no module is loaded; b.", {cause}),
              "a: no module is loaded; b. On the host: modprobe [no-module]");
}

TEST(DoctorDiagnose, a_fix_is_said_to_be_for_where_it_is) {
    const auto said = [](FixPlace where) {
        return explain("f", {{.code = "c", .text = "T", .where = where, .fix = "F"}});
    };
    EXPECT_EQ(said(FixPlace::none), "f. Cause: T. F [c]");
    EXPECT_EQ(said(FixPlace::host), "f. Cause: T. On the host: F [c]");
    EXPECT_EQ(said(FixPlace::machine), "f. Cause: T. In the machine: F [c]");
    EXPECT_EQ(said(FixPlace::policy), "f. Cause: T. In the policy: F [c]");
}

// --- the catalogue ---------------------------------------------------------------------------------------------------

std::string text_of(const std::filesystem::path& path) {
    std::ifstream stream(path);
    EXPECT_TRUE(stream) << path;
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::set<std::string> matches(const std::string& text, const char* pattern) {
    const std::regex expression(pattern);
    std::set<std::string> all;
    for (std::sregex_iterator match(text.begin(), text.end(), expression), end; match != end; ++match)
        all.insert((*match)[1]);
    return all;
}

std::set<std::string> catalogued() {
    std::set<std::string> all;
    for (const CatalogueEntry& entry : finding_catalogue()) all.emplace(entry.code);
    return all;
}

TEST(DoctorCatalogue, has_no_code_twice_and_explains_what_it_has) {
    EXPECT_EQ(catalogued().size(), finding_catalogue().size());
    for (const CatalogueEntry& entry : finding_catalogue()) {
        EXPECT_EQ(std::set(entry.explains.begin(), entry.explains.end()).size(), entry.explains.size()) << entry.code;
        for (const std::string_view other : entry.explains)
            EXPECT_TRUE(catalogued().contains(std::string(other))) << entry.code << " explains " << other;
    }
}

// Else the folding would never end.
TEST(DoctorCatalogue, explains_nothing_by_itself_over_others_either) {
    for (const CatalogueEntry& entry : finding_catalogue()) {
        std::set<std::string_view> reached;
        std::vector<std::string_view> next(entry.explains);
        while (!next.empty()) {
            const std::string_view code = next.back();
            next.pop_back();
            if (!reached.insert(code).second) continue;
            const auto& more = finding_catalogue().at(rank_of(code)).explains;
            next.insert(next.end(), more.begin(), more.end());
        }
        EXPECT_FALSE(reached.contains(entry.code)) << entry.code;
    }
}

TEST(DoctorCatalogue, ranks_by_its_order) {
    EXPECT_EQ(rank_of(finding_catalogue().front().code), 0u);
    EXPECT_EQ(rank_of(finding_catalogue().back().code), finding_catalogue().size() - 1);
    EXPECT_EQ(rank_of("no-such-code"), finding_catalogue().size());
    EXPECT_FALSE(explains("no-such-code", "no-module"));
    EXPECT_FALSE(explains("no-gpu-in-host", "uvm-missing"));
    EXPECT_TRUE(explains("no-gpu-in-host", "no-module"));
}

// A finding without a section on the page, or a section without a finding, is a mistake.
TEST(DoctorCatalogue, is_what_the_manual_page_has) {
    const std::string page = text_of(FINDINGS_PAGE);
    EXPECT_EQ(matches(page, "\n\\*([a-z0-9-]+)\\*\n\t"), catalogued());
}

TEST(DoctorCatalogue, is_what_the_rules_find) {
    std::string sources = text_of(DAEMON_DIR "/engine/diagnosis.cpp");
    for (const auto& entry : std::filesystem::directory_iterator(DAEMON_DIR "/doctor"))
        if (entry.path().filename().native().ends_with("_rules.cpp")) sources += text_of(entry.path());
    std::set<std::string> literals = matches(sources, "\"([a-z0-9]+(?:-[a-z0-9]+)*)\"");
    for (const std::string& code : catalogued()) EXPECT_TRUE(literals.contains(code)) << "nobody finds " << code;
    std::string assigned;  // what stands after "code =", up to the end of the expression
    for (const std::string& expression : matches(sources, "\\bcode = ([^,;]*)")) assigned += expression + "\n";
    for (const std::string& code : matches(assigned, "[?:=]? ?\"([a-z0-9-]+)\""))
        EXPECT_TRUE(catalogued().contains(code)) << code << " is not in the catalogue";
}

}  // namespace
}  // namespace cuda_nspawn
