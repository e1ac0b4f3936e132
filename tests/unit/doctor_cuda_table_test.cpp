#include <array>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/cuda_table.hpp"
#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::array all_toolkits{CudaVersion{9, 0},  CudaVersion{9, 1},  CudaVersion{9, 2},  CudaVersion{10, 0},
                                  CudaVersion{10, 1}, CudaVersion{10, 2}, CudaVersion{11, 0}, CudaVersion{11, 1},
                                  CudaVersion{11, 2}, CudaVersion{11, 3}, CudaVersion{11, 4}, CudaVersion{11, 5},
                                  CudaVersion{11, 6}, CudaVersion{11, 7}, CudaVersion{11, 8}, CudaVersion{12, 0},
                                  CudaVersion{12, 1}, CudaVersion{12, 2}, CudaVersion{12, 3}, CudaVersion{12, 4},
                                  CudaVersion{12, 5}, CudaVersion{12, 6}, CudaVersion{12, 8}, CudaVersion{12, 9},
                                  CudaVersion{13, 0}, CudaVersion{13, 1}, CudaVersion{13, 2}, CudaVersion{13, 3}};
constexpr std::array all_capabilities{
    ComputeCapability{3, 0},  ComputeCapability{3, 5},  ComputeCapability{3, 7},  ComputeCapability{5, 0},
    ComputeCapability{5, 2},  ComputeCapability{6, 0},  ComputeCapability{6, 1},  ComputeCapability{7, 0},
    ComputeCapability{7, 5},  ComputeCapability{8, 0},  ComputeCapability{8, 6},  ComputeCapability{8, 7},
    ComputeCapability{8, 9},  ComputeCapability{9, 0},  ComputeCapability{10, 0}, ComputeCapability{10, 3},
    ComputeCapability{11, 0}, ComputeCapability{12, 0}, ComputeCapability{12, 1}};

TEST(DoctorCudaTable, every_toolkit_has_a_driver_that_has_its_cuda_and_is_newer_than_the_one_before) {
    std::string before = "0";
    for (const CudaVersion toolkit : all_toolkits) {
        const std::string driver = oldest_driver(toolkit);
        ASSERT_NE(driver, "") << to_string(toolkit);
        EXPECT_TRUE(compare_versions(driver, before) > 0) << to_string(toolkit);
        EXPECT_EQ(cuda_of_driver(driver), toolkit);
        EXPECT_EQ(toolkit_fit(toolkit, driver), Fit::yes);
        before = driver;
    }
    EXPECT_EQ(newest_cuda(), all_toolkits.back());
    EXPECT_EQ(driver_branch(before), newest_branch());
}

TEST(DoctorCudaTable, cuda_of_a_newer_branch_is_never_older) {
    CudaVersion before;
    for (unsigned branch = 384; branch <= newest_branch(); ++branch) {
        const auto cuda = cuda_of_driver(std::to_string(branch) + ".10");
        ASSERT_TRUE(cuda) << branch;
        EXPECT_GE(*cuda, before) << branch;
        before = *cuda;
    }
}

TEST(DoctorCudaTable, the_oldest_compatible_driver_runs_the_toolkit_and_the_branch_before_does_not) {
    for (const CudaVersion toolkit : all_toolkits) {
        const std::string driver = oldest_compatible_driver(toolkit);
        EXPECT_TRUE(compare_versions(driver, oldest_driver(toolkit)) <= 0) << to_string(toolkit);
        EXPECT_THAT(toolkit_fit(toolkit, driver), testing::AnyOf(Fit::yes, Fit::minor_version)) << to_string(toolkit);
        if (toolkit.major < 10) continue;  // the branch before is older than the table
        EXPECT_EQ(toolkit_fit(toolkit, std::to_string(driver_branch(driver) - 1) + ".99"), Fit::no)
            << to_string(toolkit);
    }
}

TEST(DoctorCudaTable, every_gpu_has_toolkits_from_the_oldest_to_the_newest_and_none_beside) {
    for (const ComputeCapability gpu : all_capabilities) {
        const auto oldest = oldest_toolkit_for(gpu);
        const auto newest = newest_toolkit_for(gpu);
        ASSERT_TRUE(oldest && newest) << to_string(gpu);
        EXPECT_LE(*oldest, *newest);
        for (const CudaVersion toolkit : all_toolkits)
            EXPECT_EQ(compiles_for(toolkit, gpu), *oldest <= toolkit && toolkit <= *newest)
                << to_string(toolkit) << " for " << to_string(gpu);
    }
}

TEST(DoctorCudaTable, knows_the_cuda_of_drivers) {
    EXPECT_EQ(cuda_of_driver("580.159.04"), (CudaVersion{13, 0}));
    EXPECT_EQ(cuda_of_driver("535.183.01"), (CudaVersion{12, 2}));
    EXPECT_EQ(cuda_of_driver("545.29.06"), (CudaVersion{12, 3}));
    EXPECT_EQ(cuda_of_driver("550.163.01"), (CudaVersion{12, 4}));
    EXPECT_EQ(cuda_of_driver("555.58"), (CudaVersion{12, 5}));
    EXPECT_EQ(cuda_of_driver("565.57.01"), (CudaVersion{12, 7}));
    EXPECT_EQ(cuda_of_driver("470.256.02"), (CudaVersion{11, 4}));
    EXPECT_EQ(cuda_of_driver("585.1"), (CudaVersion{13, 0})) << "between two branches";
}

TEST(DoctorCudaTable, knows_which_driver_runs_which_toolkit) {
    EXPECT_EQ(oldest_driver({12, 4}), "550.54.14");
    EXPECT_EQ(oldest_compatible_driver({12, 4}), "525.60.13");
    EXPECT_EQ(oldest_compatible_driver({13, 9}), "580.65.06") << "by its major";
    EXPECT_EQ(oldest_compatible_driver({10, 2}), "440.33");
    EXPECT_EQ(toolkit_fit({12, 4}, "535.183.01"), Fit::minor_version);
    EXPECT_EQ(toolkit_fit({12, 4}, "550.54.14"), Fit::yes);
    EXPECT_EQ(toolkit_fit({13, 0}, "550.163.01"), Fit::no);
    EXPECT_EQ(toolkit_fit({13, 5}, "580.159.04"), Fit::minor_version);
    EXPECT_EQ(toolkit_fit({12, 0}, "525.53"), Fit::yes);
    EXPECT_EQ(toolkit_fit({12, 4}, "525.53"), Fit::no) << "older than 525.60.13";
    EXPECT_EQ(toolkit_fit({10, 2}, "418.87.00"), Fit::no) << "CUDA 10 has no minor-version compatibility";
    EXPECT_EQ(toolkit_fit({14, 0}, "580.159.04"), Fit::no);
}

TEST(DoctorCudaTable, knows_which_toolkit_compiles_for_which_gpu) {
    EXPECT_EQ(compiles_for({11, 7}, {9, 0}), false);
    EXPECT_EQ(compiles_for({11, 8}, {9, 0}), true);
    EXPECT_EQ(compiles_for({12, 9}, {7, 0}), true);
    EXPECT_EQ(compiles_for({13, 0}, {7, 0}), false);
    EXPECT_EQ(compiles_for({13, 0}, {7, 5}), true);
    EXPECT_EQ(compiles_for({12, 0}, {3, 5}), false);
    EXPECT_EQ(compiles_for({11, 0}, {3, 0}), false);
    EXPECT_EQ(compiles_for({9, 0}, {2, 1}), false);
    EXPECT_EQ(oldest_toolkit_for({2, 1}), std::nullopt);
    EXPECT_EQ(oldest_toolkit_for({12, 0}), (CudaVersion{12, 8}));
    EXPECT_EQ(newest_toolkit_for({7, 0}), (CudaVersion{12, 9}));
}

TEST(DoctorCudaTable, says_nothing_of_what_it_does_not_know) {
    EXPECT_TRUE(is_newer_than_table("999.10.01"));
    EXPECT_FALSE(is_newer_than_table("580.159.04"));
    EXPECT_EQ(cuda_of_driver("999.10.01"), std::nullopt);
    EXPECT_EQ(cuda_of_driver("340.108"), std::nullopt);
    EXPECT_EQ(toolkit_fit({99, 0}, "999.10.01"), Fit::unknown);
    EXPECT_EQ(toolkit_fit({12, 4}, "999.10.01"), Fit::yes) << "a driver runs all that is older";
    EXPECT_EQ(toolkit_fit({12, 4}, ""), Fit::unknown);
    EXPECT_EQ(compiles_for({99, 0}, {9, 0}), std::nullopt);
    EXPECT_EQ(compiles_for({13, 0}, {99, 0}), std::nullopt);
    EXPECT_EQ(compiles_for({8, 0}, {6, 0}), std::nullopt);
    EXPECT_EQ(oldest_driver({99, 0}), "");
    EXPECT_EQ(oldest_driver({12, 7}), "") << "there was none";
    EXPECT_THAT(what_fits("999.10.01"), AllOf(HasSubstr("driver 999.10.01 is newer than this version's table"),
                                              HasSubstr(fmt::format("branch {}", newest_branch()))));
    EXPECT_THAT(what_fits("340.108"), HasSubstr("older than this version's table"));
}

TEST(DoctorCudaTable, names_the_wheels_that_fit) {
    EXPECT_THAT(fitting_wheels("580.159.04"), ElementsAre("cu118", "cu12x", "cu13x"));
    EXPECT_THAT(fitting_wheels("535.183.01"), ElementsAre("cu118", "cu12x"));
    EXPECT_THAT(fitting_wheels("470.256.02"), ElementsAre("cu118"));
    EXPECT_THAT(fitting_wheels("418.87"), IsEmpty());
    EXPECT_THAT(fitting_wheels("580.159.04", ComputeCapability{12, 0}), ElementsAre("cu12x", "cu13x"));
    EXPECT_THAT(fitting_wheels("580.159.04", ComputeCapability{7, 0}), ElementsAre("cu118", "cu12x"));
    EXPECT_THAT(fitting_wheels("999.1"), ElementsAre("cu118", "cu12x", "cu13x"));
    EXPECT_THAT(fitting_wheels(""), IsEmpty());
}

TEST(DoctorCudaTable, says_in_a_sentence_what_fits) {
    EXPECT_EQ(what_fits("535.183.01", ComputeCapability{9, 0}),
              "driver 535.183.01 (CUDA 12.2) runs toolkits 11.8 to 12.2 on this GPU (compute capability 9.0), newer "
              "ones of CUDA 12 as far as they bring code for the GPU and not only PTX; of Python packages the families "
              "cu118, cu12x");
    EXPECT_THAT(what_fits("580.159.04", ComputeCapability{7, 0}),
                AllOf(HasSubstr("toolkits 9.0 to 12.9 on this GPU"), Not(HasSubstr("CUDA 13 as far"))));
    EXPECT_THAT(what_fits("535.183.01", ComputeCapability{12, 0}), HasSubstr("needs 12.8 or newer"));
    EXPECT_THAT(what_fits("440.33"), AllOf(HasSubstr("toolkits up to 10.2"), Not(HasSubstr("PTX"))));
}

TEST(DoctorCudaTable, parses_versions_and_nothing_else) {
    EXPECT_EQ(parse_cuda_version("12.4.1"), (CudaVersion{12, 4}));
    EXPECT_EQ(parse_cuda_version("12.4"), (CudaVersion{12, 4}));
    EXPECT_EQ(parse_cuda_version("12"), (CudaVersion{12, 0}));
    for (const char* text : {"", ".", "12.", "12.x", "x12", "-12", "+12", " 12", "12 ", "12.4;rm", "12.4.1\n", "0.1",
                             "99999999999999999999", "12.99999999999", "12345.1", "12..4"})
        EXPECT_EQ(parse_cuda_version(text), std::nullopt) << text;
    EXPECT_EQ(driver_branch("580.159.04"), 580u);
    for (const char* text : {"", "580", "580.x", "x", ".5", "99999999999.1", "580.1\n", "-580.1"})
        EXPECT_EQ(driver_branch(text), 0u) << text;
}

}  // namespace
}  // namespace cuda_nspawn
