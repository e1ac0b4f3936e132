#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/rules.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Findings in_cuda(const Evidence& evidence) { return found(find_in_cuda, evidence); }
Finding in_cuda(const Evidence& evidence, std::string_view code) { return only(in_cuda(evidence), code); }

Evidence with_toolkit(const std::string& driver, const std::string& version) {
    Evidence evidence = healthy_with_driver(driver);
    guest_of(evidence).toolkits = {{"/usr/local/cuda-" + version, version}};
    return evidence;
}

Evidence with_packages(const std::string& driver, std::vector<CudaPackage> packages) {
    Evidence evidence = healthy_with_driver(driver);
    evidence.software->packages = std::move(packages);
    return evidence;
}

constexpr const char* venv = "/opt/venv/lib/python3.11/site-packages";

TEST(DoctorCudaRules, say_nothing_of_a_machine_in_which_all_is_well) {
    EXPECT_THAT(in_cuda(healthy()), IsEmpty());
    EXPECT_THAT(in_cuda(Evidence{}), IsEmpty());
}

TEST(DoctorCudaRules, say_nothing_of_toolkits_that_the_driver_runs) {
    for (const char* version : {"11.8.0", "12.4.1", "13.0.2", "13.2.0"})
        EXPECT_THAT(in_cuda(with_toolkit("580.159.04", version)), IsEmpty()) << version;
    EXPECT_THAT(in_cuda(with_toolkit("535.183.01", "12.6.3")), IsEmpty()) << "minor-version compatibility";
    EXPECT_THAT(in_cuda(with_toolkit("535.183.01", "nonsense")), IsEmpty());
}

TEST(DoctorCudaRules, name_a_toolkit_that_needs_a_newer_driver) {
    const Finding finding = in_cuda(with_toolkit("550.163.01", "13.0.2"), "toolkit-needs-newer-driver");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(
        finding.text,
        "The guest's CUDA toolkit 13.0.2 in /usr/local/cuda-13.0.2 needs driver 580.65.06 or newer, and the host's "
        "is 550.163.01 (CUDA 12.4): what is built with it fails with cudaErrorInsufficientDriver (35).");
    EXPECT_THAT(finding.evidence, Contains(HasSubstr("runs toolkits 11.8 to 12.4 on this GPU")));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_EQ(finding.fix,
              "Use a toolkit of CUDA 12.4 or older in the machine, or driver 580.65.06 or newer on the host");
}

TEST(DoctorCudaRules, know_that_a_compat_library_would_help) {
    Evidence evidence = with_toolkit("550.163.01", "13.0.2");
    evidence.software->compat = {{"/usr/local/cuda/compat/libcuda.so.1", "580.95.05", CompatNote{"13.0", {535, 550}}}};
    EXPECT_THAT(in_cuda(evidence, "toolkit-needs-newer-driver").fix,
                HasSubstr("LD_LIBRARY_PATH=/usr/local/cuda/compat"));
    EXPECT_THAT(found(find_in_guest, evidence), IsEmpty()) << "it is of use";
    evidence.driver.gpus.front().model = "NVIDIA GeForce RTX 4090";
    EXPECT_THAT(in_cuda(evidence, "toolkit-needs-newer-driver").fix, HasSubstr("or driver 580.65.06 or newer"));
    evidence.software->compat.front().note->drivers = {535};
    EXPECT_THAT(in_cuda(evidence, "toolkit-needs-newer-driver").evidence, Not(Contains(HasSubstr("compat"))));
}

TEST(DoctorCudaRules, name_a_toolkit_that_does_not_know_the_gpu) {
    const Finding finding = in_cuda(with_toolkit("580.159.04", "11.7.1"), "toolkit-too-old-for-gpu");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.text,
              "The guest's CUDA toolkit 11.7.1 in /usr/local/cuda-11.7.1 is too old to compile for the machine's GPU "
              "(compute capability 9.0), which CUDA 11.8 was the first to know.");
    EXPECT_EQ(finding.fix, "Use a toolkit from CUDA 11.8 to 13.3 in the machine that fits the driver");
}

TEST(DoctorCudaRules, name_a_toolkit_that_knows_the_gpu_no_more) {
    Evidence evidence = with_toolkit("580.159.04", "13.0.0");
    evidence.verdict.capabilities = {"7.0"};
    EXPECT_THAT(in_cuda(evidence, "toolkit-too-old-for-gpu").text,
                HasSubstr("no longer compiles for the machine's GPU (compute capability 7.0), for which CUDA "
                          "12.9 was the last"));
    evidence.verdict.capabilities = {};
    EXPECT_THAT(in_cuda(evidence), IsEmpty()) << "the GPU is not known";
    evidence.verdict.capabilities = {"99.0", "; reboot"};
    EXPECT_THAT(in_cuda(evidence), IsEmpty());
}

TEST(DoctorCudaRules, name_packages_and_what_to_install_instead) {
    const Finding finding =
        in_cuda(with_packages("550.163.01", {{PackageKind::wheel, "nvidia-cuda-runtime", "13.0.48", "13.0", venv},
                                             {PackageKind::wheel, "torch", "2.9.0+cu130", "13.0", venv},
                                             {PackageKind::wheel, "cupy-cuda12x", "13.3.0", "12", venv}}),
                "packages-need-newer-driver");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.text,
              "torch 2.9.0+cu130 in /opt/venv/lib/python3.11/site-packages (and 1 more) is made for CUDA 13.0, which "
              "needs driver 580.65.06 or newer, and the host's is 550.163.01 (CUDA 12.4).");
    EXPECT_EQ(finding.where, FixPlace::machine);
    EXPECT_EQ(
        finding.fix,
        "/opt/venv/bin/python3.11 -m pip uninstall -y torch nvidia-cuda-runtime && /opt/venv/bin/python3.11 -m pip "
        "install torch --index-url https://download.pytorch.org/whl/cu126");
}

TEST(DoctorCudaRules, know_the_families_of_cupy) {
    EXPECT_EQ(in_cuda(with_packages("550.163.01", {{PackageKind::wheel, "cupy-cuda13x", "13.6", "13",
                                                    "/usr/local/lib/python3.11/dist-packages"}}),
                      "packages-need-newer-driver")
                  .fix,
              "PIP_BREAK_SYSTEM_PACKAGES=1 python3.11 -m pip uninstall -y cupy-cuda13x && PIP_BREAK_SYSTEM_PACKAGES=1 "
              "python3.11 -m pip install cupy-cuda12x");
    EXPECT_THAT(in_cuda(with_packages("470.256.02", {{PackageKind::wheel, "cupy-cuda12x", "13.3", "12", venv}}),
                        "packages-need-newer-driver")
                    .fix,
                testing::EndsWith("-m pip install cupy-cuda11x"));
}

TEST(DoctorCudaRules, install_the_parts_by_themselves_where_nothing_else_brings_them) {
    EXPECT_THAT(in_cuda(with_packages("550.163.01", {{PackageKind::wheel, "nvidia-cublas", "13.0.0", "13.0", venv},
                                                     {PackageKind::wheel, "nvidia-nccl-cu13", "2.27", "13", venv}}),
                        "packages-need-newer-driver")
                    .fix,
                testing::EndsWith("-m pip install nvidia-cublas-cu12 nvidia-nccl-cu12"));
}

TEST(DoctorCudaRules, take_the_wheels_of_a_gpu_that_needs_newer_ones) {
    Evidence evidence = with_packages("570.172.08", {{PackageKind::wheel, "torch", "2.9.0+cu130", "13.0", venv}});
    evidence.verdict.capabilities = {"12.0"};
    EXPECT_THAT(in_cuda(evidence, "packages-need-newer-driver").fix, testing::EndsWith("/whl/cu128"));
}

TEST(DoctorCudaRules, know_condas_way) {
    EXPECT_EQ(
        in_cuda(with_packages("550.163.01", {{PackageKind::conda, "cuda-cudart", "13.0.48", "13.0", "/opt/my env"}}),
                "packages-need-newer-driver")
            .fix,
        "conda install -y -p '/opt/my env' cuda-version=12.4");
}

TEST(DoctorCudaRules, have_a_sentence_for_packages_and_places_that_they_do_not_know) {
    for (const CudaPackage& package :
         {CudaPackage{PackageKind::wheel, "vllm", "0.11+cu130", "13.0", venv},
          CudaPackage{PackageKind::wheel, "torch", "2.9.0+cu130", "13.0", "/srv/packages"},
          CudaPackage{PackageKind::wheel, "nvidia-x; reboot", "1", "13.0", venv},
          CudaPackage{PackageKind::wheel, "torch", "2.9.0+cu130", "13.0", "/opt/a\nb/lib/python3.11/site-packages"}}) {
        const Finding finding = in_cuda(with_packages("550.163.01", {package}), "packages-need-newer-driver");
        EXPECT_EQ(finding.where, FixPlace::none) << package.name;
        EXPECT_THAT(finding.fix, HasSubstr("Install packages that fit in the machine (cu118, cu12x)"));
    }
}

TEST(DoctorCudaRules, quote_hostile_paths) {
    EXPECT_THAT(in_cuda(with_packages("550.163.01", {{PackageKind::wheel, "torch", "2", "13.0",
                                                      "/opt/$(x)/lib/python3.11/site-packages"}}),
                        "packages-need-newer-driver")
                    .fix,
                testing::StartsWith("'/opt/$(x)/bin/python3.11' -m pip uninstall"));
}

TEST(DoctorCudaRules, say_nothing_of_packages_that_fit) {
    EXPECT_THAT(in_cuda(with_packages("535.183.01", {{PackageKind::wheel, "torch", "2.7.0+cu128", "12.8", venv},
                                                     {PackageKind::wheel, "cupy-cuda11x", "13", "11", venv},
                                                     {PackageKind::wheel, "x", "1", "", venv}})),
                IsEmpty());
}

Evidence with_compat(CompatLibrary library, const std::string& library_path) {
    Evidence evidence = healthy();
    evidence.software->compat = {std::move(library)};
    if (!library_path.empty())
        evidence.software->environment = {{"/etc/environment", 1, "", "LD_LIBRARY_PATH", library_path}};
    return evidence;
}

TEST(DoctorCudaRules, name_a_compat_library_that_is_older_than_the_driver) {
    const Evidence evidence =
        with_compat({"/usr/local/cuda/compat/libcuda.so.1", "550.54.15", CompatNote{"12.4", {470, 535}}},
                    "/usr/local/cuda/compat:/x");
    const Finding finding = in_cuda(evidence, "compat-does-not-fit");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("libcuda.so.1 (550.54.15) in /usr/local/cuda/compat is older than the "
                                              "host's driver 580.159.04"),
                                    HasSubstr("803"), HasSubstr("804")));
    EXPECT_THAT(finding.fix, AllOf(HasSubstr("/usr/local/cuda/compat/*"), HasSubstr(" /etc/environment")));
    EXPECT_THAT(found(find_in_guest, evidence), IsEmpty()) << "one finding is enough";
}

TEST(DoctorCudaRules, name_a_compat_library_that_is_not_for_this_branch) {
    EXPECT_THAT(in_cuda(with_compat({"/c/libcuda.so.1", "590.48.01", CompatNote{"13.1", {535, 570}}}, "/c"),
                        "compat-does-not-fit")
                    .text,
                HasSubstr("is for drivers of the branches 535, 570, and the host's is 580.159.04"));
    EXPECT_THAT(in_cuda(with_compat({"/c/libcuda.so.1", "590.48.01", {}}, "/c"), "compat-does-not-fit").text,
                HasSubstr("is of the same CUDA as the host's driver"))
        << "without a note only a newer major fits";
}

TEST(DoctorCudaRules, leave_a_compat_library_that_fits) {
    Evidence evidence = with_compat({"/c/libcuda.so.1", "590.48.01", CompatNote{"13.1", {580}}}, "/c");
    EXPECT_THAT(in_cuda(evidence), IsEmpty());
    EXPECT_THAT(found(find_in_guest, evidence), IsEmpty());
    evidence.driver.gpus.front().model = "NVIDIA GeForce RTX 4090";
    EXPECT_THAT(in_cuda(evidence, "compat-does-not-fit").text, HasSubstr("works on data-center GPUs only"));
}

TEST(DoctorCudaRules, call_it_an_error_when_the_self_test_got_it) {
    const CompatLibrary library{"/usr/local/cuda/compat/libcuda.so.1", "550.54.15", CompatNote{"12.4", {535}}};
    const Finding finding = in_cuda(failing(with_compat(library, ""), "init",
                                            "cuInit gave CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803): …; the library is "
                                            "/usr/local/cuda-12.4/compat/libcuda.so.550.54.15"),
                                    "compat-does-not-fit");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.fix,
              "rm -f \"$(readlink -f /usr/local/cuda/compat/libcuda.so.1)\" /usr/local/cuda/compat/libcuda.so.1 && "
              "ldconfig");
    EXPECT_THAT(in_cuda(with_compat(library, "")), IsEmpty()) << "nothing uses it";
}

TEST(DoctorCudaRules, say_that_a_driver_is_newer_than_the_table_where_that_matters) {
    EXPECT_THAT(in_cuda(with_toolkit("999.10.01", "12.4.1")), IsEmpty()) << "a driver runs all that is older";
    const Finding finding = in_cuda(with_toolkit("999.10.01", "14.0.0"), "driver-newer-than-table");
    EXPECT_EQ(finding.severity, FindingSeverity::info);
    EXPECT_THAT(finding.text, HasSubstr("Driver 999.10.01 is newer than this version's table, which ends with branch "
                                        "610 (CUDA 13.3)"));
    EXPECT_EQ(in_cuda(with_packages("999.10.01", {{PackageKind::wheel, "torch", "9", "14.0", venv}}),
                      "driver-newer-than-table")
                  .severity,
              FindingSeverity::info);
    EXPECT_THAT(in_cuda(healthy_with_driver("999.10.01")), IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
