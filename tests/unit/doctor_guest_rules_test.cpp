#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/catalogue.hpp"
#include "doctor/rules.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Findings in_guest(const Evidence& evidence) { return found(find_in_guest, evidence); }
Finding in_guest(const Evidence& evidence, std::string_view code) { return only(in_guest(evidence), code); }

TEST(DoctorGuestRules, say_nothing_of_a_machine_in_which_all_is_well) { EXPECT_THAT(in_guest(healthy()), IsEmpty()); }

TEST(DoctorGuestRules, say_nothing_where_nothing_was_seen) { EXPECT_THAT(in_guest(Evidence{}), IsEmpty()); }

TEST(DoctorGuestRules, say_nothing_of_a_machine_that_was_not_tested) {
    Evidence evidence = healthy();
    evidence.verdict = {};
    evidence.running.reset();
    evidence.software->has_cache = false;
    EXPECT_THAT(in_guest(evidence), IsEmpty());
}

// --- the self-test's library -----------------------------------------------------------------------------------------

std::string prefers(const std::string& path) {
    return "the guest's loader prefers its own " + path +
           " to the host's driver: remove it, or its directory from /etc/ld.so.conf.d, and run ldconfig";
}

TEST(DoctorGuestRules, name_the_libcuda_that_the_loader_prefers) {
    const Finding finding =
        in_guest(failing(healthy(), "library", prefers("/usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01")),
                 "libcuda-in-the-way");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "The guest's loader prefers the guest's own libcuda.so.535.183.01 (535.183.01) to the host's driver "
              "580.159.04.");
    EXPECT_EQ(finding.where, FixPlace::machine);
    EXPECT_EQ(finding.fix,
              "rm -f \"$(readlink -f /usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01)\" "
              "/usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01 && ldconfig; /run/cuda-nspawn/guest/setup apply");
}

TEST(DoctorGuestRules, leave_a_stub_where_it_is_and_take_its_directory_from_the_loader) {
    Evidence evidence =
        failing(healthy(), "library", prefers("/usr/local/cuda-12.4/targets/x86_64-linux/lib/stubs/libcuda.so"));
    guest_of(evidence).library_directories.insert(guest_of(evidence).library_directories.begin(),
                                                  "/usr/local/cuda/lib64/stubs");
    EXPECT_EQ(in_guest(evidence, "libcuda-in-the-way").fix,
              "grep -rlxF /usr/local/cuda/lib64/stubs /etc/ld.so.conf /etc/ld.so.conf.d | xargs -r sed -i -E "
              "'\\,^/usr/local/cuda/lib64/stubs$,d' && ldconfig; /run/cuda-nspawn/guest/setup apply");
}

TEST(DoctorGuestRules, quote_a_hostile_path_in_the_fix) {
    const Finding finding =
        in_guest(failing(healthy(), "library", prefers("/opt/a';reboot;'b $(x)/libcuda.so.1")), "libcuda-in-the-way");
    EXPECT_THAT(finding.fix, HasSubstr(R"('/opt/a'\'';reboot;'\''b $(x)/libcuda.so.1')"));
}

TEST(DoctorGuestRules, have_no_command_for_a_path_that_was_cut_or_cannot_be_typed) {
    for (const std::string& path : {std::string("libcuda.so.1"), std::string("/opt/a\nb/libcuda.so.1")}) {
        const Finding finding = in_guest(failing(healthy(), "library", prefers(path)), "libcuda-in-the-way");
        EXPECT_EQ(finding.where, FixPlace::none) << path;
        EXPECT_THAT(finding.fix, HasSubstr("Remove that library"));
    }
    EXPECT_EQ(
        in_guest(failing(healthy(), "library", "the guest's loader prefers its own /usr/li"), "libcuda-in-the-way")
            .where,
        FixPlace::none);
}

TEST(DoctorGuestRules, know_a_cache_that_does_not_lead_to_the_driver) {
    const Evidence evidence = failing(healthy(), "library",
                                      "the guest's loader cannot load libcuda.so.1: libcuda.so.1: cannot open shared "
                                      "object file: No such file or directory");
    const Finding finding = in_guest(evidence, "loader-cache-stale");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("/etc/ld.so.cache"), HasSubstr("580.159.04")));
    EXPECT_EQ(finding.where, FixPlace::machine);
    EXPECT_EQ(finding.fix, "ldconfig; /run/cuda-nspawn/guest/setup apply");
    Evidence detached = evidence;
    detached.detached = true;
    EXPECT_THAT(in_guest(detached), IsEmpty());
    Evidence none = evidence;
    none.generation.clear();
    EXPECT_THAT(in_guest(none), IsEmpty()) << "there is no driver to lead to";
}

TEST(DoctorGuestRules, take_a_set_up_that_failed_for_the_loader_as_a_stale_cache) {
    EXPECT_EQ(in_guest(failing(healthy(), "set-up", "the loader cannot learn of the driver: no space left"),
                       "loader-cache-stale")
                  .severity,
              FindingSeverity::error);
    EXPECT_THAT(in_guest(failing(healthy(), "set-up", "/dev/nvidia0 cannot be linked")), IsEmpty());
}

TEST(DoctorGuestRules, miss_the_cache_only_where_the_library_was_not_found) {
    Evidence evidence = healthy();
    evidence.software->has_cache = false;
    EXPECT_THAT(in_guest(evidence), IsEmpty()) << "the set-up may have bound one over it";
    evidence.verdict.result = VerdictResult::no_verdict;
    evidence.verdict.checks.clear();
    EXPECT_THAT(in_guest(evidence, "loader-cache-stale").evidence, Contains("/etc/ld.so.cache: not there"));
}

TEST(DoctorGuestRules, know_a_c_library_that_is_too_old) {
    const Finding finding =
        in_guest(failing(healthy(), "library",
                         "the guest's loader cannot load libcuda.so.1: /lib/x86_64-linux-gnu/libc.so.6: version "
                         "`GLIBC_2.99' not found (required by /run/cuda-nspawn-store/580/compute/lib/libcuda.so.1)"),
                 "guest-library-unusable");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(
        finding.text,
        "The guest's C library (glibc 2.41) has no GLIBC_2.99, which libcuda.so.1 needs, so CUDA cannot be loaded "
        "there.");
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, HasSubstr("newer release"));
}

TEST(DoctorGuestRules, remove_a_library_of_the_guests_that_is_too_new_for_it) {
    const Finding finding = in_guest(failing(healthy(), "library",
                                             "the guest's loader cannot load libcuda.so.1: libc.so.6: version "
                                             "`GLIBC_2.99' not found (required by /opt/x/libcuda.so.1)"),
                                     "guest-library-unusable");
    EXPECT_EQ(finding.fix, "rm -f \"$(readlink -f /opt/x/libcuda.so.1)\" /opt/x/libcuda.so.1 && ldconfig");
}

// --- variables -------------------------------------------------------------------------------------------------------

Evidence with_setting(EnvironmentSetting setting) {
    Evidence evidence = healthy();
    evidence.software->environment = {std::move(setting)};
    return evidence;
}

TEST(DoctorGuestRules, name_the_library_path_that_wins) {
    Evidence evidence = with_setting(
        {"/etc/systemd/system/worker.service", 7, "worker.service", "LD_LIBRARY_PATH", "/opt/x:/opt/old/"});
    evidence.software->libraries = {{"/opt/old/libnvidia-ml.so.1", "535.183.01", BundledKind::copy},
                                    {"/opt/old/libcuda.so.1", "535.183.01", BundledKind::copy}};
    const Finding finding = in_guest(evidence, "library-path-wins");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(
        finding.text,
        "LD_LIBRARY_PATH in /etc/systemd/system/worker.service:7 (worker.service) names /opt/old, so the programs "
        "of worker.service get libcuda.so.1 (535.183.01) and not the host's driver 580.159.04.");
    EXPECT_EQ(finding.where, FixPlace::machine);
    EXPECT_EQ(finding.fix,
              R"(sed -i -E '7{:a;s,(^|["\x27=: ])/opt/old/*(["\x27: ;&$]|$),\1\2,;ta;)"
              R"-(s,(LD_LIBRARY_PATH=["\x27]?(\$\{LD_LIBRARY_PATH:\+)?):+,\1,g;s,::+,:,g;s,:+(["\x27 ;&]|$),\1,g}' )-"
              "/etc/systemd/system/worker.service && systemctl daemon-reload && "
              "systemctl try-restart worker.service");
    EXPECT_TRUE(explains("library-path-wins", "guest-libcuda"));
}

TEST(DoctorGuestRules, leave_a_library_path_that_leads_to_nothing_else) {
    Evidence evidence = with_setting({"/etc/environment", 1, "", "LD_LIBRARY_PATH", "/opt/x:/run/cuda-nspawn/driver"});
    EXPECT_THAT(in_guest(evidence), IsEmpty());
    evidence.software->libraries = {{"/opt/x/libcuda.so.1", "580.159.04", BundledKind::copy}};
    EXPECT_EQ(in_guest(evidence, "library-path-wins"), Finding{}) << "the same as the host's";
    EXPECT_EQ(in_guest(evidence, "guest-libcuda").severity, FindingSeverity::info);
    EXPECT_THAT(in_guest(evidence, "guest-libcuda").text,
                HasSubstr("the same as the host's until the host is upgraded"));
}

TEST(DoctorGuestRules, do_not_say_that_a_stub_is_loaded_by_a_name_that_it_does_not_have) {
    Evidence evidence = with_setting({"/etc/environment", 1, "", "LD_LIBRARY_PATH", "/usr/local/cuda/lib64/stubs"});
    guest_of(evidence).bundled = {{"/usr/local/cuda/lib64/stubs/libcuda.so", "", BundledKind::stub}};
    EXPECT_THAT(in_guest(evidence, "library-path-wins").text,
                HasSubstr("so programs that load libcuda.so by this name get libcuda.so and not the host's"));
}

TEST(DoctorGuestRules, quote_hostile_names_of_files_and_directories) {
    Evidence evidence = with_setting({"/etc/profile.d/a b.sh", 2, "", "LD_LIBRARY_PATH", "/opt/$(x)"});
    evidence.software->libraries = {{"/opt/$(x)/libcuda.so.1", "", BundledKind::copy}};
    EXPECT_THAT(in_guest(evidence, "library-path-wins").fix,
                AllOf(HasSubstr(R"(/opt/\$\(x\)/*)"), testing::EndsWith(" '/etc/profile.d/a b.sh'")));
}

TEST(DoctorGuestRules, name_a_library_that_is_preloaded) {
    const Finding finding =
        in_guest(with_setting({"/etc/environment", 3, "", "LD_PRELOAD", "libjemalloc.so /opt/old/libcuda.so.1"}),
                 "library-preloaded");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("LD_PRELOAD in /etc/environment:3 names /opt/old/libcuda.so.1"),
                                    HasSubstr("580.159.04")));
    EXPECT_THAT(finding.fix, HasSubstr("/opt/old/libcuda\\.so\\.1"));
    for (const char* value : {"libcuda.so.1", "/run/cuda-nspawn/driver/compute/lib/libcuda.so.1", "/opt/libx.so"})
        EXPECT_THAT(in_guest(with_setting({"/etc/environment", 3, "", "LD_PRELOAD", value})), IsEmpty()) << value;
}

TEST(DoctorGuestRules, name_what_hides_all_gpus) {
    for (const char* value : {"", "-1", "NoDevFiles", "void", "none", "7", "GPU-bbbb"}) {
        const Finding finding =
            in_guest(with_setting({"/etc/environment", 3, "", "CUDA_VISIBLE_DEVICES", value}), "gpus-hidden");
        EXPECT_EQ(finding.severity, FindingSeverity::error) << value;
        EXPECT_EQ(finding.text, std::string("CUDA_VISIBLE_DEVICES=") + value +
                                    " in /etc/environment:3 hides all GPUs from programs.");
        EXPECT_EQ(finding.fix,
                  R"(sed -i -E '3s/CUDA_VISIBLE_DEVICES=("[^"]*"|[^" ;&]*)/CUDA_VISIBLE_DEVICES=0/' /etc/environment)");
    }
    EXPECT_EQ(in_guest(with_setting({"/u", 3, "a.service", "CUDA_VISIBLE_DEVICES", "-1"}), "gpus-hidden").severity,
              FindingSeverity::warning)
        << "one service of many";
}

TEST(DoctorGuestRules, leave_what_shows_all_gpus) {
    for (const char* value : {"0", "GPU-aaaaaaaa", "GPU-aaaaaaaa-0000-0000-0000-000000000000", "all", "MIG-x", "0,7"})
        EXPECT_THAT(in_guest(with_setting({"/etc/environment", 3, "", "CUDA_VISIBLE_DEVICES", value})), IsEmpty())
            << value;
    EXPECT_THAT(in_guest(with_setting({"/etc/environment", 3, "", "NVIDIA_VISIBLE_DEVICES", "all"})), IsEmpty());
}

TEST(DoctorGuestRules, tell_which_part_of_the_gpus_is_shown) {
    Evidence evidence = with_setting({"/etc/environment", 3, "", "CUDA_VISIBLE_DEVICES", "1"});
    evidence.driver.gpus.push_back(
        {1, 1, "GPU-bbbbbbbb-0000-0000-0000-000000000000", "0000:02:00.0", "NVIDIA H200", 195});
    const Finding finding = in_guest(evidence, "gpus-hidden");
    EXPECT_EQ(finding.severity, FindingSeverity::info);
    EXPECT_THAT(finding.text, HasSubstr("shows 1 of the machine's 2 GPUs to programs"));
    EXPECT_THAT(finding.fix, HasSubstr("CUDA_VISIBLE_DEVICES=0,1/"));
    EXPECT_EQ(in_guest(failing(evidence, "devices", "the guest does not see GPU-a"), "gpus-hidden").severity,
              FindingSeverity::error);
}

TEST(DoctorGuestRules, say_that_nvidias_variable_means_nothing_here) {
    const Finding finding =
        in_guest(with_setting({"/etc/environment", 3, "", "NVIDIA_VISIBLE_DEVICES", "void"}), "gpus-hidden");
    EXPECT_EQ(finding.severity, FindingSeverity::info);
    EXPECT_THAT(finding.text, HasSubstr("to CUDA in the machine itself it means nothing"));
}

// --- libraries -------------------------------------------------------------------------------------------------------

TEST(DoctorGuestRules, name_a_driver_of_the_guests_own) {
    Evidence evidence = healthy();
    guest_of(evidence).bundled = {{"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "535.183.01", BundledKind::copy},
                                  {"/usr/lib/x86_64-linux-gnu/libcuda.so.1", "535.183.01", BundledKind::copy}};
    const Finding finding = in_guest(evidence, "guest-libcuda");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.text,
              "The guest has its own libcuda.so.1 (535.183.01) and 1 more in /usr/lib/x86_64-linux-gnu, and the host's "
              "driver is 580.159.04; a program that looks there by itself (LD_LIBRARY_PATH, RPATH) gets it.");
    EXPECT_EQ(
        finding.fix,
        "for file in /usr/lib/x86_64-linux-gnu/libcuda.so.1 /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1; do rm -f "
        "\"$(readlink -f \"$file\")\" \"$file\"; done; ldconfig");
    guest_of(evidence).before_fragment = 3;
    EXPECT_THAT(in_guest(evidence, "guest-libcuda").text, HasSubstr("before all of ld.so.conf.d"));
    guest_of(evidence).library_directories.clear();
    EXPECT_THAT(in_guest(evidence, "guest-libcuda").text, HasSubstr("its loader does not look there"));
}

TEST(DoctorGuestRules, leave_a_toolkits_stubs_where_no_program_finds_them) {
    Evidence evidence = healthy();
    guest_of(evidence).bundled = {{"/usr/local/cuda/lib64/stubs/libcuda.so", "", BundledKind::stub}};
    EXPECT_THAT(in_guest(evidence), IsEmpty());
    guest_of(evidence).library_directories.emplace_back("/usr/local/cuda/lib64/stubs");
    const Finding finding = in_guest(evidence, "guest-stub");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("libcuda.so in /usr/local/cuda/lib64/stubs"), HasSubstr("(34)")));
    EXPECT_THAT(finding.fix, testing::StartsWith("grep -rlxF /usr/local/cuda/lib64/stubs "));
}

TEST(DoctorGuestRules, name_a_stub_that_has_the_name_that_programs_load) {
    Evidence evidence = healthy();
    guest_of(evidence).bundled = {{"/usr/local/cuda/lib64/stubs/libcuda.so.1", "", BundledKind::stub}};
    EXPECT_EQ(in_guest(evidence, "guest-stub").severity, FindingSeverity::info);
    EXPECT_EQ(in_guest(evidence, "guest-stub").fix, "rm -f /usr/local/cuda/lib64/stubs/libcuda.so.1");
}

TEST(DoctorGuestRules, name_a_file_of_no_bytes) {
    Evidence evidence = healthy();
    guest_of(evidence).bundled = {{"/usr/lib/x86_64-linux-gnu/libcuda.so.1", "", BundledKind::empty}};
    const Finding finding = in_guest(evidence, "guest-empty-library");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("libcuda.so.1 in /usr/lib/x86_64-linux-gnu"), HasSubstr("too short")));
    EXPECT_EQ(finding.fix,
              "rm -f \"$(readlink -f /usr/lib/x86_64-linux-gnu/libcuda.so.1)\" /usr/lib/x86_64-linux-gnu/libcuda.so.1 "
              "&& ldconfig");
    EXPECT_EQ(in_guest(failing(evidence, "library",
                               "the guest's loader cannot load libcuda.so.1: libcuda.so.1: file too short"),
                       "guest-empty-library")
                  .severity,
              FindingSeverity::error);
}

TEST(DoctorGuestRules, tell_of_a_compat_library_that_nothing_needs) {
    Evidence evidence = healthy();
    evidence.software->compat = {{"/usr/local/cuda/compat/libcuda.so.1", "590.48.01", CompatNote{"13.1", {580}}}};
    const Finding finding = in_guest(evidence, "guest-compat");
    EXPECT_EQ(finding.severity, FindingSeverity::info);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("590.48.01"), HasSubstr("580.159.04 (CUDA 13.0)")));
    EXPECT_EQ(finding.where, FixPlace::none);
}

TEST(DoctorGuestRules, tell_what_containers_in_the_machine_need) {
    Evidence evidence = healthy();
    evidence.software->container_tools = {"/usr/bin/podman"};
    const Finding finding = in_guest(evidence, "nested-containers");
    EXPECT_EQ(finding.severity, FindingSeverity::info);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("podman"), HasSubstr("nvidia.com/gpu")));
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("/etc/cdi"), HasSubstr("-v /run/cuda-nspawn:/run/cuda-nspawn:ro")));
    evidence.software->has_cdi_spec = true;
    EXPECT_THAT(in_guest(evidence), IsEmpty());
}

TEST(DoctorGuestRules, use_codes_of_the_catalogue_only) {
    Evidence evidence = failing(with_setting({"/e", 1, "", "CUDA_VISIBLE_DEVICES", "-1"}), "library", prefers("/x/l"));
    guest_of(evidence).bundled = {{"/a/libcuda.so.1", "1.2", BundledKind::copy},
                                  {"/b/libcuda.so.1", "", BundledKind::empty},
                                  {"/c/stubs/libcuda.so.1", "", BundledKind::stub}};
    const Findings findings = in_guest(evidence);
    EXPECT_EQ(findings.size(), 5u);
    for (const Finding& finding : findings) EXPECT_LT(rank_of(finding.code), finding_catalogue().size());
}

}  // namespace
}  // namespace cuda_nspawn
