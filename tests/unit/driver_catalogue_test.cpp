#include <gtest/gtest.h>

#include <set>

#include "driver/catalogue.hpp"
#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

TEST(Catalogue, recognises_names_with_and_without_version) {
    const auto cuda = parse_library_name("libcuda.so.580.159.04");
    ASSERT_TRUE(cuda);
    EXPECT_EQ(cuda->entry->base, "libcuda");
    EXPECT_EQ(cuda->entry->capability, Capability::compute);
    EXPECT_EQ(cuda->version, "580.159.04");
    EXPECT_EQ(parse_library_name("libnvidia-ml.so.1")->version, "1");
    EXPECT_EQ(parse_library_name("libnvidia-ml.so")->version, "");
    EXPECT_EQ(parse_library_name("libnvidia-egl-wayland.so.1.1.18")->entry->capability, Capability::graphics);
    EXPECT_EQ(parse_library_name("libnvidia-pkcs11-openssl3.so.550.1.2")->entry->base, "libnvidia-pkcs11-openssl3");
}

TEST(Catalogue, takes_no_stranger_by_a_part_of_its_name) {
    for (const auto* name : {"libcuda-foo.so.580.159.04",
                             "libcudart.so.12",
                             "libcudnn.so.9",
                             "libnvidia-container.so.1",
                             "libnvidia-container-go.so.1",
                             "libcuda.so.580.159.04.bak",
                             "libcuda.so.580.",
                             "libcuda.so.1~",
                             "libcuda.so.d",
                             "mylibcuda.so.580.1",
                             "libcuda.a",
                             "libGL.so.1",
                             "libEGL.so.1",
                             "libOpenCL.so.1",
                             "libvulkan.so.1",
                             "libnvidia-gtk3.so.580.159.04",
                             "libnvidia-nvvm7.so.4",
                             "libcuda",
                             "lib.so",
                             ".so",
                             ""})
        EXPECT_FALSE(parse_library_name(name)) << name;
}

TEST(Catalogue, has_every_library_of_the_capabilities_once) {
    std::set<std::string_view> bases;
    std::set<std::string_view> links;
    for (const auto& entry : library_entries()) {
        EXPECT_TRUE(bases.insert(entry.base).second) << entry.base;
        for (const auto link : entry.links) EXPECT_TRUE(link.empty() || links.insert(link).second) << link;
    }
    for (const auto* base : {"libnvidia-ml", "libnvidia-cfg", "libcuda", "libcudadebugger", "libnvidia-opencl",
                             "libnvidia-gpucomp", "libnvidia-ptxjitcompiler", "libnvidia-nvvm", "libnvidia-allocator"})
        EXPECT_TRUE(bases.contains(base)) << base;
    for (const auto* link : {"libcuda.so", "libGLX_indirect.so.0", "libnvidia-opticalflow.so", "gbm/nvidia-drm_gbm.so"})
        EXPECT_TRUE(links.contains(link)) << link;
}

TEST(DriverVersion, is_told_from_a_soname_and_from_versions_of_other_projects) {
    for (const auto* text : {"580.159.04", "550.54", "999.42.01", "96.43.23"})
        EXPECT_TRUE(is_driver_version(text)) << text;
    for (const auto* text : {"", "1", "580", "1.1.2", "580.", ".580.1", "580..1", "580.1a", "x86.64"})
        EXPECT_FALSE(is_driver_version(text)) << text;
}

TEST(DriverVersion, is_compared_by_number) {
    EXPECT_TRUE(compare_versions("580.9", "580.10") < 0);
    EXPECT_TRUE(compare_versions("99.1", "580.1") < 0);
    EXPECT_TRUE(compare_versions("550.54", "550.54.14") < 0);
    EXPECT_TRUE(compare_versions("535.054", "535.54") == 0);
    EXPECT_TRUE(compare_versions("580.159.04", "580.159.03") > 0);
}

}  // namespace
}  // namespace cuda_nspawn
