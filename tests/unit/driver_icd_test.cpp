#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver/icd.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;

TEST(IcdFile, is_left_as_it_is_when_it_names_a_soname) {
    const auto icd = parse_icd_json(R"({"file_format_version":"1.0.0","ICD":{"library_path":"libEGL_nvidia.so.0"}})");
    ASSERT_TRUE(icd);
    EXPECT_THAT(icd->libraries, ElementsAre("libEGL_nvidia.so.0"));
    EXPECT_EQ(icd->relative_text, std::nullopt);
}

TEST(IcdFile, has_absolute_paths_cut_to_the_file_name_and_the_rest_kept_in_order) {
    const auto icd = parse_icd_json(
        R"({"z":1,"layers":[{"library_path":"/nix/store/x/lib/libGLX_nvidia.so.0","name":"n"}],"a":[true]})");
    ASSERT_TRUE(icd);
    EXPECT_THAT(icd->libraries, ElementsAre("libGLX_nvidia.so.0"));
    EXPECT_EQ(icd->relative_text,
              "{\n    \"z\": 1,\n    \"layers\": [\n        {\n            \"library_path\": \"libGLX_nvidia.so.0\",\n"
              "            \"name\": \"n\"\n        }\n    ],\n    \"a\": [\n        true\n    ]\n}\n");
}

TEST(IcdFile, is_refused_when_it_is_no_json_or_names_no_library) {
    for (const auto* text : {"", "{", "[]", "{\"ICD\":{}}", "{\"library_path\":7}", "\"library_path\""})
        EXPECT_FALSE(parse_icd_json(text)) << text;
    EXPECT_FALSE(parse_icd_json(std::string(60000, '[')));
    EXPECT_FALSE(parse_icd_json(std::string(30000, '[') + std::string(30000, ']')));
}

TEST(OpenClIcdFile, is_one_line_with_a_library) {
    EXPECT_THAT(parse_opencl_icd("libnvidia-opencl.so.1\n")->libraries, ElementsAre("libnvidia-opencl.so.1"));
    EXPECT_EQ(parse_opencl_icd("libnvidia-opencl.so.1\n")->relative_text, std::nullopt);
    EXPECT_EQ(parse_opencl_icd("/run/opengl-driver/lib/libnvidia-opencl.so.1")->relative_text,
              "libnvidia-opencl.so.1\n");
    EXPECT_FALSE(parse_opencl_icd("\nlibnvidia-opencl.so.1"));
}

}  // namespace
}  // namespace cuda_nspawn
