#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/rules.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

Findings in_program(const Evidence& evidence) { return found(find_in_program, evidence); }
Finding in_program(const Evidence& evidence, std::string_view code) { return only(in_program(evidence), code); }

Evidence with_program(const std::string& driver = "580.159.04") {
    Evidence evidence = healthy_with_driver(driver);
    Program program;
    program.path = "/usr/local/bin/train";
    program.architecture = "x86-64";
    program.interpreter = "/lib64/ld-linux-x86-64.so.2";
    program.needed_glibc = "2.34";
    program.libraries = {
        {"libcudart.so.12", "/usr/local/cuda/lib64/libcudart.so.12", FoundBy::cache, program.path, ""}};
    program.libcuda = LoadedLibrary{"libcuda.so.1", "/run/cuda-nspawn/driver/compute/lib/libcuda.so.1", FoundBy::cache,
                                    program.libraries.front().path, driver};
    program.cudart = "12.4";
    evidence.program = program;
    return evidence;
}

TEST(DoctorProgramRules, say_nothing_of_a_program_that_runs) {
    EXPECT_THAT(in_program(healthy()), IsEmpty());
    EXPECT_THAT(in_program(with_program()), IsEmpty());
    EXPECT_THAT(in_program(with_program("535.183.01")), IsEmpty()) << "minor-version compatibility";
}

TEST(DoctorProgramRules, tell_of_a_program_that_is_not_there) {
    Evidence evidence = healthy();
    evidence.program.emplace();
    evidence.program->path = "/usr/bin/x";
    evidence.program->problem = "there is no such file";
    const Findings findings = in_program(evidence);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].code, "program-missing");
    EXPECT_EQ(findings[0].severity, FindingSeverity::error);
    EXPECT_EQ(findings[0].text, "Nothing is known of /usr/bin/x: there is no such file.");
}

TEST(DoctorProgramRules, know_another_architecture) {
    Evidence evidence = with_program();
    evidence.program->architecture = "aarch64";
    evidence.program->has_interpreter = false;
    const Findings findings = in_program(evidence);
    ASSERT_EQ(findings.size(), 1u);
    EXPECT_EQ(findings[0].code, "program-other-architecture");
    EXPECT_THAT(findings[0].text, AllOf(HasSubstr("/usr/local/bin/train"), HasSubstr("aarch64"), HasSubstr("x86-64")));
}

TEST(DoctorProgramRules, know_a_32_bit_program_and_the_policy_that_it_needs) {
    Evidence evidence = with_program();
    evidence.program->architecture = "x86";
    evidence.program->is_64bit = false;
    const Finding finding = in_program(evidence, "program-32-bit");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.where, FixPlace::policy);
    EXPECT_EQ(finding.fix, "capabilities: [compute, utility, compat32]");
    evidence.policy->capabilities.push_back(Capability::compat32);
    EXPECT_THAT(in_program(evidence), IsEmpty());
}

TEST(DoctorProgramRules, know_a_program_for_musl) {
    Evidence evidence = with_program();
    evidence.program->interpreter = "/lib/ld-musl-x86_64.so.1";
    evidence.program->has_interpreter = false;
    EXPECT_THAT(in_program(evidence, "program-musl").text, HasSubstr("built for musl"));
    EXPECT_EQ(in_program(evidence, "program-no-loader"), Finding{});
}

TEST(DoctorProgramRules, know_a_loader_that_is_missing) {
    Evidence evidence = with_program();
    evidence.program->interpreter = "/opt/glibc/ld.so";
    evidence.program->has_interpreter = false;
    const Finding finding = in_program(evidence, "program-no-loader");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("/opt/glibc/ld.so"));
}

TEST(DoctorProgramRules, know_a_program_for_a_newer_glibc) {
    Evidence evidence = with_program();
    evidence.program->needed_glibc = "2.42";
    const Finding finding = in_program(evidence, "program-needs-newer-glibc");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "/usr/local/bin/train needs glibc 2.42, and the guest has 2.41.");
    evidence.program->needed_glibc = "2.9";
    EXPECT_THAT(in_program(evidence), IsEmpty()) << "9 is less than 41";
}

TEST(DoctorProgramRules, name_a_missing_library_and_the_toolkit_that_has_it) {
    Evidence evidence = with_program();
    evidence.program->libraries = {{"libcudart.so.12", "", FoundBy::none, "/usr/local/bin/train", ""},
                                   {"libnvidia-ml.so.1", "", FoundBy::none, "/usr/local/bin/train", ""}};
    Finding finding = in_program(evidence, "program-library-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, "/usr/local/bin/train needs libcudart.so.12, which the guest's loader does not find.")
        << "the driver's come from the host";
    EXPECT_EQ(finding.where, FixPlace::none);
    guest_of(evidence).toolkits = {{"/usr/local/cuda-13.0", "13.0.1"}, {"/usr/local/my cuda", "12.4.1"}};
    finding = in_program(evidence, "program-library-missing");
    EXPECT_EQ(finding.where, FixPlace::machine);
    EXPECT_EQ(finding.fix, "echo '/usr/local/my cuda/lib64' >/etc/ld.so.conf.d/cuda-toolkit.conf && ldconfig");
}

TEST(DoctorProgramRules, name_another_libcuda_by_library_path) {
    Evidence evidence = with_program();
    evidence.program->libcuda = LoadedLibrary{"libcuda.so.1", "/opt/old/libcuda.so.1", FoundBy::library_path,
                                              "/usr/local/bin/train", "535.183.01"};
    evidence.program->library_path = "/opt/old";
    Finding finding = in_program(evidence, "program-finds-other-libcuda");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "/usr/local/bin/train gets libcuda.so.1 (535.183.01) in /opt/old by LD_LIBRARY_PATH, and not the host's "
              "driver 580.159.04.");
    EXPECT_EQ(finding.fix, "env -u LD_LIBRARY_PATH /usr/local/bin/train");
    evidence.software->environment = {{"/etc/environment", 2, "", "LD_LIBRARY_PATH", "/opt/old"}};
    finding = in_program(evidence, "program-finds-other-libcuda");
    EXPECT_THAT(finding.fix, AllOf(testing::StartsWith("sed -i -E '2{"), testing::EndsWith(" /etc/environment")));
}

TEST(DoctorProgramRules, name_another_libcuda_by_rpath_or_cache) {
    Evidence evidence = with_program();
    evidence.program->libcuda =
        LoadedLibrary{"libcuda.so.1", "/opt/o'd/libcuda.so.1", FoundBy::rpath, "/usr/local/bin/train", ""};
    Finding finding = in_program(evidence, "program-finds-other-libcuda");
    EXPECT_THAT(finding.text, HasSubstr("by its RPATH"));
    EXPECT_EQ(finding.fix,
              R"-(rm -f "$(readlink -f '/opt/o'\''d/libcuda.so.1')" '/opt/o'\''d/libcuda.so.1' && ldconfig)-");
    evidence.program->libcuda->path = "/usr/local/cuda/lib64/stubs/libcuda.so.1";
    finding = in_program(evidence, "program-finds-other-libcuda");
    EXPECT_EQ(finding.where, FixPlace::none) << "the toolkit needs its stub";
    EXPECT_THAT(finding.fix, HasSubstr("RPATH"));
}

TEST(DoctorProgramRules, leave_a_libcuda_that_fits_as_well) {
    Evidence evidence = with_program();
    evidence.program->libcuda->path = "/opt/same/libcuda.so.1";
    EXPECT_THAT(in_program(evidence), IsEmpty()) << "the host's version";
    evidence.program->libcuda->path = "/c/libcuda.so.1";
    evidence.program->libcuda->version = "590.48.01";
    evidence.software->compat = {{"/c/libcuda.so.1", "590.48.01", CompatNote{"13.1", {580}}}};
    EXPECT_THAT(in_program(evidence), IsEmpty()) << "a compat library for this driver";
    evidence.program->libcuda->path.clear();
    EXPECT_THAT(in_program(evidence), IsEmpty()) << "the machine does not run";
}

TEST(DoctorProgramRules, know_a_program_for_a_newer_cuda) {
    Evidence evidence = with_program("550.163.01");
    evidence.program->cudart = "13";
    Finding finding = in_program(evidence, "program-needs-newer-driver");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "/usr/local/bin/train is built for CUDA 13, which needs driver 580.65.06 or newer, and the host's is "
              "550.163.01 (CUDA 12.4): it fails with cudaErrorInsufficientDriver (35).");
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_EQ(finding.fix, "Use a build of the program for an older CUDA, or driver 580.65.06 or newer on the host");
    evidence.software->compat = {{"/c/libcuda.so.1", "580.95.05", CompatNote{"13.0", {550}}}};
    finding = in_program(evidence, "program-needs-newer-driver");
    EXPECT_EQ(finding.where, FixPlace::machine);
    EXPECT_EQ(finding.fix, "env LD_LIBRARY_PATH=/c /usr/local/bin/train");
}

TEST(DoctorProgramRules, say_what_runs_a_script) {
    Evidence evidence = with_program();
    evidence.program->path = "/usr/local/bin/train.py";
    evidence.program->script_of = "/opt/venv/bin/python3";
    evidence.program->needed_glibc = "2.99";
    EXPECT_THAT(in_program(evidence, "program-needs-newer-glibc").text,
                HasSubstr("/usr/local/bin/train.py (which /opt/venv/bin/python3 runs)"));
}

}  // namespace
}  // namespace cuda_nspawn
