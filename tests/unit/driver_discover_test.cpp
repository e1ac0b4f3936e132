#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::elf;
using testing::elf32;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_elf;
using testing::make_ld_cache;

const std::string version = "580.159.04";
const std::string cuda = "libcuda.so." + version;
const std::string multiarch = "/usr/lib/x86_64-linux-gnu";

class Discovery : public testing::HostFixture {};

TEST_F(Discovery, finds_nothing_on_an_empty_host_and_says_nothing) {
    const auto driver = discover();
    EXPECT_EQ(driver, Driver());
    EXPECT_EQ(generation_name(driver), "");
}

TEST_F(Discovery, describes_a_library_completely) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    std::filesystem::last_write_time(tree.at("/root" + multiarch + "/" + cuda),
                                     std::filesystem::file_time_type(std::chrono::file_clock::from_sys(
                                         std::chrono::sys_seconds(std::chrono::seconds(1000)))));
    const auto driver = discover();
    EXPECT_EQ(driver.kernel_version, version);
    EXPECT_EQ(driver.userspace_version, version);
    ASSERT_EQ(driver.files.size(), 1U);
    const DriverFile expected{Capability::compute,
                              FileKind::library,
                              multiarch + "/" + cuda,
                              cuda,
                              {"libcuda.so", "libcuda.so.1"},
                              elf("libcuda.so.1").size(),
                              1'000'000'000'000,
                              "0102ab",
                              ""};
    EXPECT_EQ(driver.files[0], expected);
    EXPECT_THAT(driver.notes, IsEmpty());
}

TEST_F(Discovery, sorts_libraries_into_capabilities_with_the_links_programs_rely_on) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add_library(multiarch, "libnvidia-ml", version);
    add_library(multiarch, "libnvidia-allocator", version);
    add_library(multiarch, "libGLX_nvidia", version, "0");
    add_library(multiarch, "libnvidia-opticalflow", version);
    add_library(multiarch, "libnvidia-ngx", version);
    add_library(multiarch + "/vdpau", "libvdpau_nvidia", version);
    add_library(multiarch, "libnvidia-egl-gbm", "1.1.2");
    add_library(multiarch, "libnvidia-nvvm70", "4", "4");
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda, "libnvidia-allocator.so." + version, "libnvidia-nvvm70.so.4",
                                           "libnvidia-ml.so." + version, "libGLX_nvidia.so." + version,
                                           "libnvidia-egl-gbm.so.1.1.2", "libnvidia-opticalflow.so." + version,
                                           "libvdpau_nvidia.so." + version, "libnvidia-ngx.so." + version));
    EXPECT_EQ(find(driver, "libnvidia-ml.so." + version)->capability, Capability::utility);
    EXPECT_EQ(find(driver, "libnvidia-ngx.so." + version)->capability, Capability::ngx);
    EXPECT_THAT(find(driver, "libGLX_nvidia.so." + version)->links,
                ElementsAre("libGLX_indirect.so.0", "libGLX_nvidia.so.0"));
    EXPECT_THAT(find(driver, "libnvidia-allocator.so." + version)->links, Contains("gbm/nvidia-drm_gbm.so"));
    EXPECT_THAT(find(driver, "libnvidia-opticalflow.so." + version)->links,
                ElementsAre("libnvidia-opticalflow.so", "libnvidia-opticalflow.so.1"));
    EXPECT_THAT(find(driver, "libnvidia-nvvm70.so.4")->links, IsEmpty());
    EXPECT_THAT(driver.notes, IsEmpty());
}

class Layout : public testing::HostFixture, public ::testing::WithParamInterface<const char*> {};

TEST_P(Layout, is_known_without_a_loader_cache) {
    add_kernel(version);
    add_library(GetParam(), "libcuda", version);
    add_library(GetParam(), "libnvidia-ml", version);
    EXPECT_EQ(discover().userspace_version, version);
    EXPECT_EQ(discover().files.size(), 2U);
    EXPECT_EQ(discover().files[0].source, std::string(GetParam()) + "/" + cuda);
}

INSTANTIATE_TEST_SUITE_P(Hosts, Layout,
                         ::testing::Values("/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/nvidia/current",
                                           "/usr/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu/nvidia/current",
                                           "/usr/lib/x86_64-linux-gnu/nvidia/tesla-535", "/usr/lib64",
                                           "/usr/lib64/nvidia", "/usr/lib", "/usr/lib/nvidia-580",
                                           "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib",
                                           "/run/opengl-driver/lib"));

TEST_F(Discovery, follows_debians_absolute_links_inside_the_root) {
    add_kernel(version);
    const std::string current = "/usr/lib/x86_64-linux-gnu/nvidia/current";
    add_library(current, "libcuda", version);
    add(current + "/nvidia-smi-real", "not this one");
    add_link(multiarch + "/libcuda.so.1", "/etc/alternatives/nvidia--libcuda.so.1-x86_64-linux-gnu");
    add_link("/etc/alternatives/nvidia--libcuda.so.1-x86_64-linux-gnu", current + "/libcuda.so.1");
    tree.write_program("/root/usr/lib/nvidia/current/nvidia-smi", elf());
    add_link("/usr/bin/nvidia-smi", "/etc/alternatives/nvidia--nvidia-smi");
    add_link("/etc/alternatives/nvidia--nvidia-smi", "/usr/lib/nvidia/current/nvidia-smi");
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda, "nvidia-smi"));
    EXPECT_EQ(driver.files[0].source, current + "/" + cuda);
    EXPECT_EQ(driver.files[1].source, "/usr/lib/nvidia/current/nvidia-smi");
    EXPECT_EQ(driver.files[1].capability, Capability::utility);
}

TEST_F(Discovery, follows_links_to_directories_it_does_not_know) {
    add_kernel(version);
    add_library("/nix/store/abc-nvidia-x11/lib", "libcuda", version);
    add_library("/nix/store/abc-nvidia-x11/lib", "libnvidia-ml", version);
    add_link("/run/opengl-driver/lib/libcuda.so.1", "/nix/store/abc-nvidia-x11/lib/libcuda.so.1");
    tree.write_program("/root/nix/store/abc-nvidia-x11/bin/nvidia-smi", elf());
    EXPECT_THAT(names(discover()), ElementsAre(cuda, "libnvidia-ml.so." + version, "nvidia-smi"));
}

TEST_F(Discovery, never_leaves_the_root) {
    add_kernel(version);
    tree.write("/outside/" + cuda, elf("libcuda.so.1"));
    add_link(multiarch + "/" + cuda, tree.at("/outside/" + cuda).string());
    add_link(multiarch + "/libcuda.so.1", "../../../../../../../../../../../outside/" + cuda);
    EXPECT_THAT(discover().files, IsEmpty());
}

TEST_F(Discovery, finds_a_directory_known_only_to_the_loader) {
    add_kernel(version);
    add_library("/opt/driver/lib", "libcuda", version);
    EXPECT_THAT(discover().files, IsEmpty());
    add("/etc/ld.so.conf.d/driver.conf", "# the driver\n  /opt/other:/opt/driver/lib  # here\n");
    EXPECT_THAT(names(discover()), ElementsAre(cuda));
    std::filesystem::remove(tree.at("/root/etc/ld.so.conf.d/driver.conf"));
    for (const bool compatible : {false, true}) {
        add("/etc/ld.so.cache", make_ld_cache({{"libcuda.so.1", "/opt/driver/lib/libcuda.so.1"}}, compatible));
        EXPECT_THAT(names(discover()), ElementsAre(cuda));
    }
}

TEST_F(Discovery, notes_stale_entries_of_the_loader_cache) {
    add_kernel(version);
    add_library("/usr/local/nvidia/lib64", "libcuda", version);
    add("/etc/ld.so.cache", make_ld_cache({{"libcuda.so.1", "/usr/lib64/libcuda.so.1"},
                                           {"libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"},
                                           {"libm.so.6", "/lib/gone/libm.so.6"}}));
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda));
    EXPECT_THAT(driver.notes,
                ElementsAre("/etc/ld.so.cache names files that are gone (run ldconfig): /usr/lib64/libcuda.so.1"));
}

TEST_F(Discovery, notes_an_unreadable_loader_cache_and_goes_on) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add("/etc/ld.so.cache", "musl has none of this");
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda));
    EXPECT_THAT(driver.notes, ElementsAre(HasSubstr("/etc/ld.so.cache cannot be read")));
}

TEST_F(Discovery, takes_no_strangers) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    for (const auto* name : {"libcuda-foo.so.580.159.04", "libcudart.so.12", "libnvidia-container.so.1", "libGL.so.1",
                             "libcuda.so.580.159.04.old", "libnvidia-gtk3.so.580.159.04"})
        add(multiarch + "/" + name, elf());
    add("/usr/local/cuda/lib64/stubs/libcuda.so", elf("libcuda.so.1"));
    add("/etc/ld.so.conf.d/cuda.conf", "/usr/local/cuda/lib64/stubs\n");
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda));
    EXPECT_THAT(driver.notes, IsEmpty());
}

TEST_F(Discovery, leaves_a_toolkits_compatibility_libraries_alone) {
    add_library("/usr/local/cuda-13/compat", "libcuda", "590.44.01");
    add("/etc/ld.so.conf.d/cuda.conf", "/usr/local/cuda-13/compat\n");
    EXPECT_THAT(discover().files, IsEmpty());
    add_library(multiarch, "libcuda", version);
    EXPECT_THAT(names(discover()), ElementsAre(cuda));
}

TEST_F(Discovery, takes_one_file_once_whatever_ways_lead_to_it) {
    add_kernel(version);
    add_library("/usr/lib64", "libcuda", version);
    add_link("/usr/lib64/libcuda.so", "libcuda.so.1");
    add_link("/lib64", "usr/lib64");
    add_link("/usr/lib/x86_64-linux-gnu", "../lib64");
    add("/etc/ld.so.cache",
        make_ld_cache({{"libcuda.so.1", "/lib64/libcuda.so.1"}, {"libcuda.so", "/usr/lib64/libcuda.so"}}));
    const auto driver = discover();
    ASSERT_EQ(driver.files.size(), 1U);
    EXPECT_EQ(driver.files[0].source, "/usr/lib64/" + cuda);
    EXPECT_THAT(driver.notes, IsEmpty());
}

TEST_F(Discovery, takes_the_loaders_one_of_two_directories_and_notes_a_difference) {
    add_kernel(version);
    add_library("/usr/lib64", "libcuda", version);
    add_library("/usr/local/nvidia/lib64", "libcuda", version);
    add_library("/usr/local/nvidia/lib64", "libnvidia-ml", version);
    add("/etc/ld.so.cache", make_ld_cache({{"libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"},
                                           {"libcuda.so.1", "/usr/lib64/libcuda.so.1"}}));
    EXPECT_THAT(discover().notes, IsEmpty());  // the same contents
    add("/usr/lib64/" + cuda, make_elf({.soname = "libcuda.so.1", .build_id = "other"}));
    const auto driver = discover();
    EXPECT_EQ(driver.files[0].source, "/usr/local/nvidia/lib64/" + cuda);
    EXPECT_THAT(driver.notes, ElementsAre(HasSubstr("/usr/lib64/" + cuda +
                                                    " is not used: it differs from /usr/local/nvidia/lib64/" + cuda)));
}

TEST_F(Discovery, takes_the_version_of_the_running_module) {
    add_kernel("550.163.01");
    add_library(multiarch, "libcuda", "550.163.01");
    add_library(multiarch, "libnvidia-ml", "550.163.01");
    add_library("/usr/lib64", "libcuda", version);
    add_library("/usr/lib64", "libnvidia-ml", version);
    add_library("/usr/lib64", "libnvidia-gpucomp", version);
    const auto driver = discover();
    EXPECT_EQ(driver.userspace_version, "550.163.01");
    EXPECT_THAT(names(driver), ElementsAre("libcuda.so.550.163.01", "libnvidia-ml.so.550.163.01"));
    EXPECT_THAT(
        driver.notes,
        ElementsAre("driver files of version 580.159.04 in /usr/lib64 are not used: the driver in use is 550.163.01"));
}

TEST_F(Discovery, takes_the_newest_version_when_the_modules_is_not_there) {
    add_kernel("570.86.15");
    add_library(multiarch, "libcuda", "99.10");
    add_library(multiarch, "libcuda", version);
    add_library(multiarch, "libcuda", "580.82.07");
    const auto driver = discover();
    EXPECT_EQ(driver.userspace_version, version);
    EXPECT_THAT(names(driver), ElementsAre(cuda));
    EXPECT_THAT(driver.notes,
                Contains(HasSubstr("kernel module is 570.86.15, but the newest driver files are 580.159.04")));
}

TEST_F(Discovery, prefers_an_unversioned_library_beside_the_chosen_libcuda) {
    add_kernel("535.274.02");
    const std::string current = multiarch + "/nvidia/current";
    const std::string tesla = multiarch + "/nvidia/tesla-535";
    add_library(current, "libcuda", version);
    add_library(current, "libnvidia-api", "1");
    add_library(tesla, "libcuda", "535.274.02");
    add_library(tesla, "libnvidia-api", "1");
    tree.write_program("/root/usr/bin/nvidia-smi", elf());
    tree.write_program("/root/usr/lib/nvidia/tesla-535/nvidia-smi", elf());
    const auto driver = discover();
    EXPECT_EQ(find(driver, "libnvidia-api.so.1")->source, tesla + "/libnvidia-api.so.1");
    EXPECT_EQ(find(driver, "nvidia-smi")->source, "/usr/lib/nvidia/tesla-535/nvidia-smi");
}

TEST_F(Discovery, skips_damaged_and_foreign_files_with_a_note) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add(multiarch + "/libnvidia-ml.so." + version, "");
    add(multiarch + "/libnvidia-cfg.so." + version, elf().substr(0, 300));
    add(multiarch + "/libnvidia-nvvm.so." + version, "a page of an error message instead of a library");
    add(multiarch + "/libnvcuvid.so." + version, make_elf({.soname = {}, .machine = EM_AARCH64}));
    add(multiarch + "/libnvoptix.so." + version, make_elf({.soname = {}, .is_64bit = false, .machine = EM_ARM}));
    std::filesystem::create_directories(tree.at("/root" + multiarch + "/libnvidia-encode.so." + version));
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda));
    EXPECT_THAT(driver.notes,
                ElementsAre(HasSubstr("libnvcuvid.so.580.159.04 is not used: it is made for another architecture"),
                            HasSubstr("libnvidia-cfg.so.580.159.04 is not used: it is truncated"),
                            HasSubstr("libnvidia-ml.so.580.159.04 is not used: it is empty"),
                            HasSubstr("libnvidia-nvvm.so.580.159.04 is not used: it is no ELF file"),
                            HasSubstr("libnvoptix.so.580.159.04 is not used: it is made for another architecture")));
}

TEST_F(Discovery, takes_an_older_driver_when_the_newer_libcuda_is_damaged) {
    add(multiarch + "/" + cuda, "");
    add_library(multiarch, "libcuda", "550.163.01");
    EXPECT_EQ(discover().userspace_version, "550.163.01");
}

TEST_F(Discovery, puts_32_bit_libraries_into_compat32_only) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add("/usr/lib/i386-linux-gnu/" + cuda, elf32("libcuda.so.1"));
    add("/usr/lib32/libnvidia-ml.so." + version, elf32("libnvidia-ml.so.1"));
    const auto driver = discover();
    ASSERT_EQ(driver.files.size(), 3U);
    EXPECT_EQ(driver.files[0].capability, Capability::compute);
    for (const std::size_t i : {1U, 2U}) {
        EXPECT_EQ(driver.files[i].capability, Capability::compat32);
        EXPECT_EQ(driver.files[i].kind, FileKind::library32);
    }
    EXPECT_THAT(driver.files[1].links, ElementsAre("libcuda.so", "libcuda.so.1"));
}

TEST_F(Discovery, tells_word_sizes_apart_where_one_directory_is_the_others_neighbour) {
    add_kernel(version);
    for (const auto& [wide, narrow] : {std::pair("/usr/lib64", "/usr/lib"), std::pair("/usr/lib", "/usr/lib32"),
                                       std::pair("/run/opengl-driver/lib", "/run/opengl-driver-32/lib")}) {
        add_library(wide, "libcuda", version);
        add(std::string(narrow) + "/" + cuda, elf32("libcuda.so.1"));
        const auto driver = discover();
        ASSERT_EQ(driver.files.size(), 2U) << wide;
        EXPECT_EQ(driver.files[0].source, std::string(wide) + "/" + cuda);
        EXPECT_EQ(driver.files[0].capability, Capability::compute);
        EXPECT_EQ(driver.files[1].source, std::string(narrow) + "/" + cuda);
        EXPECT_EQ(driver.files[1].capability, Capability::compat32);
        EXPECT_THAT(driver.notes, IsEmpty());
        std::filesystem::remove_all(tree.at("/root"));
        std::filesystem::create_directories(tree.at("/root"));
    }
}

TEST_F(Discovery, collects_one_driver_from_two_directories_at_once) {
    // As Debian has it: what is switched by alternatives in one, the rest in the other.
    add_kernel(version);
    add_library(multiarch + "/nvidia/current", "libcuda", version);
    add_library(multiarch, "libnvidia-gpucomp", version, version);
    add_library(multiarch, "libnvidia-eglcore", version, version);
    add_link(multiarch + "/libcuda.so.1", "nvidia/current/libcuda.so.1");
    add("/etc/ld.so.cache",
        make_ld_cache({{"libcuda.so.1", "/lib/x86_64-linux-gnu/libcuda.so.1"},
                       {"libcuda.so.1", "/lib/x86_64-linux-gnu/libcuda.so.1"},
                       {"libnvidia-gpucomp.so." + version, multiarch + "/libnvidia-gpucomp.so." + version}}));
    add_link("/lib", "usr/lib");
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda, "libnvidia-gpucomp.so." + version, "libnvidia-eglcore.so." + version));
    EXPECT_THAT(driver.notes, IsEmpty());
}

// NVIDIA publishes the source of some of its files, and distributions build them for their own glibc.
TEST_F(Discovery, leaves_out_what_the_distribution_built_for_a_newer_glibc) {
    const auto built_for = [](std::string soname, std::vector<std::string> needs) {
        return make_elf({.soname = std::move(soname), .needs = std::move(needs)});
    };
    add_kernel(version);
    add(multiarch + "/" + cuda, built_for("libcuda.so.1", {"GLIBC_2.2.5", "GLIBC_2.9"}));
    add(multiarch + "/libnvidia-egl-gbm.so.1.1.2", built_for("libnvidia-egl-gbm.so.1", {"GLIBC_2.34"}));
    add(multiarch + "/libnvidia-egl-wayland.so.1.1.13", built_for("libnvidia-egl-wayland.so.1", {"GLIBC_2.17"}));
    // NVIDIA's own: for whom it is too new does without it.
    add(multiarch + "/libnvidia-pkcs11-openssl3.so." + version, built_for("", {"GLIBC_2.34"}));
    add("/usr/share/egl/egl_external_platform.d/15_nvidia_gbm.json",
        R"({"ICD":{"library_path":"libnvidia-egl-gbm.so.1"}})");
    add("/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
        R"({"ICD":{"library_path":"libnvidia-egl-wayland.so.1"}})");
    tree.write_program("/root/usr/bin/nvidia-persistenced", built_for("", {"GLIBC_2.34"}));
    tree.write_program("/root/usr/bin/nvidia-smi", built_for("", {"GLIBC_2.34"}));
    auto driver = discover();
    EXPECT_THAT(names(driver),
                ElementsAre(cuda, "libnvidia-pkcs11-openssl3.so." + version, "nvidia-smi",
                            "libnvidia-egl-wayland.so.1.1.13", "egl/egl_external_platform.d/10_nvidia_wayland.json"));
    EXPECT_THAT(driver.notes, ElementsAre("built by the distribution for its own glibc, so not for machines, which "
                                          "install their own package where they need it: " +
                                          multiarch + "/libnvidia-egl-gbm.so.1.1.2, /usr/bin/nvidia-persistenced"));

    // Should NVIDIA itself build for a newer one some day, nothing else would be of use either.
    add(multiarch + "/" + cuda, built_for("libcuda.so.1", {"GLIBC_2.34"}));
    driver = discover();
    EXPECT_TRUE(find(driver, "libnvidia-egl-gbm.so.1.1.2"));
    EXPECT_TRUE(find(driver, "nvidia-persistenced"));
    EXPECT_THAT(driver.notes, IsEmpty());
}

// As root one can read everything, so this is looked at as somebody else.
TEST_F(Discovery, says_that_a_file_cannot_be_read) {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root to have a file that it may not read";
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add_library(multiarch, "libnvidia-ml", version);
    EXPECT_EQ(discover().unreadable, "");
    std::filesystem::permissions(tree.path(), std::filesystem::perms(0755));
    const auto library = multiarch + "/libnvidia-ml.so." + version;
    const auto discover_as_nobody = [this] {
        EXPECT_EQ(::seteuid(65534), 0);
        auto found = discover();
        EXPECT_EQ(::seteuid(0), 0);
        return found;
    };
    add_library("/usr/lib64", "libnvidia-cfg", "550.163.01");
    std::filesystem::permissions(tree.at("/root/usr/lib64/libnvidia-cfg.so.550.163.01"), std::filesystem::perms(0600));
    EXPECT_EQ(discover_as_nobody().unreadable, "") << "of another version";
    std::filesystem::permissions(tree.at("/root" + library), std::filesystem::perms(0600));
    const auto driver = discover_as_nobody();
    EXPECT_EQ(driver.unreadable, library + ": it cannot be opened (Permission denied)");
    EXPECT_THAT(names(driver), ElementsAre(cuda));
}

TEST_F(Discovery, does_not_call_a_32_bit_libcuda_a_driver) {
    add("/usr/lib/i386-linux-gnu/" + cuda, elf32("libcuda.so.1"));
    const auto driver = discover();
    EXPECT_EQ(driver.userspace_version, "");
    EXPECT_THAT(driver.files, IsEmpty());
    EXPECT_THAT(driver.notes, ElementsAre(HasSubstr("no usable 64-bit libcuda.so.VERSION")));
}

TEST_F(Discovery, makes_no_link_from_a_strange_soname) {
    add_kernel(version);
    add(multiarch + "/" + cuda, elf("../../etc/passwd"));
    const auto driver = discover();
    EXPECT_THAT(driver.files.at(0).links, ElementsAre("libcuda.so"));
    EXPECT_THAT(driver.notes, ElementsAre(HasSubstr("has the SONAME \"../../etc/passwd\"")));
}

TEST_F(Discovery, takes_programs_that_are_executable_elf_files) {
    add_kernel(version);
    add_library("/usr/local/nvidia/lib64", "libcuda", version);
    tree.write_program("/root/usr/local/nvidia/bin/nvidia-smi", elf());
    tree.write_program("/root/usr/bin/nvidia-smi", elf());
    tree.write_program("/root/usr/bin/nvidia-debugdump", "#!/bin/sh\n");
    tree.write_program("/root/usr/sbin/nvidia-cuda-mps-server", elf());
    add("/usr/bin/nvidia-cuda-mps-control", elf());  // not executable
    tree.write_program("/root/usr/bin/nvidia-settings", elf());
    const auto driver = discover();
    EXPECT_THAT(names(driver), ElementsAre(cuda, "nvidia-cuda-mps-server", "nvidia-smi"));
    EXPECT_EQ(find(driver, "nvidia-smi")->source, "/usr/local/nvidia/bin/nvidia-smi");
    EXPECT_EQ(find(driver, "nvidia-cuda-mps-server")->capability, Capability::compute);
    EXPECT_THAT(driver.notes, ElementsAre(HasSubstr("/usr/bin/nvidia-debugdump is not used: it is no ELF file")));
}

TEST_F(Discovery, takes_data_and_firmware_of_the_chosen_version) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add_library(multiarch, "libEGL_nvidia", version, "0");
    add_library(multiarch, "libnvidia-opencl", version);
    add("/usr/share/glvnd/egl_vendor.d/10_nvidia.json", R"({"ICD":{"library_path":"libEGL_nvidia.so.0"}})");
    add("/usr/share/glvnd/egl_vendor.d/50_mesa.json", R"({"ICD":{"library_path":"libEGL_mesa.so.0"}})");
    add("/etc/OpenCL/vendors/nvidia.icd", "libnvidia-opencl.so.1\n");
    add("/usr/share/nvidia/nvidia-application-profiles-" + version + "-rc", "{}");
    add("/usr/share/nvidia/nvidia-application-profiles-550.163.01-rc", "{}");
    add(multiarch + "/nvoptix.bin", "weights");
    add("/usr/lib/firmware/nvidia/" + version + "/gsp_ga10x.bin", "firmware");
    add("/usr/lib/firmware/nvidia/" + version + "/gsp_log.txt", "");
    add("/usr/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin", "firmware");
    add_link("/lib", "usr/lib");
    const auto driver = discover();
    EXPECT_THAT(names(driver),
                ElementsAre(cuda, "libnvidia-opencl.so." + version, "OpenCL/vendors/nvidia.icd",
                            "nvidia/" + version + "/gsp_ga10x.bin", "libEGL_nvidia.so." + version,
                            "glvnd/egl_vendor.d/10_nvidia.json",
                            "nvidia/nvidia-application-profiles-" + version + "-rc", "nvidia/nvoptix.bin"));
    EXPECT_EQ(driver.files[3].kind, FileKind::firmware);
    EXPECT_EQ(driver.files[5].kind, FileKind::data);
    EXPECT_EQ(driver.files[5].text, "");
    EXPECT_EQ(driver.files[7].source, multiarch + "/nvoptix.bin");
}

TEST_F(Discovery, cuts_absolute_library_paths_and_drops_icd_files_without_their_library) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    add_library(multiarch, "libGLX_nvidia", version, "0");
    add("/usr/share/vulkan/icd.d/nvidia_icd.json",
        R"({"ICD":{"library_path":"/usr/lib/x86_64-linux-gnu/libGLX_nvidia.so.0"}})");
    add("/usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
        R"({"ICD":{"library_path":"libnvidia-egl-wayland.so.1"}})");
    add("/usr/share/vulkan/implicit_layer.d/nvidia_layers.json", "not JSON");
    const auto driver = discover();
    ASSERT_THAT(names(driver), ElementsAre(cuda, "libGLX_nvidia.so." + version, "vulkan/icd.d/nvidia_icd.json"));
    EXPECT_THAT(driver.files[2].text, HasSubstr("\"library_path\": \"libGLX_nvidia.so.0\""));
    EXPECT_THAT(driver.notes, ElementsAre(HasSubstr("its library libnvidia-egl-wayland.so.1 is not among"),
                                          HasSubstr("nvidia_layers.json is not used")));
}

TEST_F(Discovery, reads_little_of_large_libraries) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    // A sparse terabyte: reading it all would take far longer than a test may.
    std::filesystem::resize_file(tree.at("/root" + multiarch + "/" + cuda), std::uintmax_t{1} << 40);
    EXPECT_EQ(discover().files.at(0).size, std::uint64_t{1} << 40);
}

TEST_F(Discovery, fails_with_a_sentence_when_the_root_is_gone) {
    try {
        discover_driver({tree.at("/nowhere"), tree.at("/proc"), tree.at("/sys")});
        FAIL() << "no exception";
    } catch (const std::system_error& error) {
        EXPECT_THAT(error.what(), HasSubstr(tree.at("/nowhere").string()));
    }
}

TEST_F(Discovery, names_a_generation_by_version_and_content) {
    add_kernel(version);
    add_library(multiarch, "libcuda", version);
    const auto driver = discover();
    const auto name = generation_name(driver);
    EXPECT_THAT(name, ::testing::MatchesRegex("580\\.159\\.04-[0-9a-f]{16}"));
    EXPECT_EQ(generation_name(discover()), name);

    const auto changed = [&driver](auto change) {
        auto other = driver;
        change(other.files[0]);
        return generation_name(other);
    };
    EXPECT_NE(changed([](DriverFile& file) { ++file.size; }), name);
    EXPECT_NE(changed([](DriverFile& file) { ++file.mtime_ns; }), name);
    EXPECT_NE(changed([](DriverFile& file) { file.build_id = "ff"; }), name);
    EXPECT_NE(changed([](DriverFile& file) { file.source += "x"; }), name);
    EXPECT_NE(changed([](DriverFile& file) { file.links.pop_back(); }), name);
    EXPECT_NE(changed([](DriverFile& file) { file.text = "x"; }), name);
    EXPECT_NE(changed([](DriverFile& file) { file.capability = Capability::utility; }), name);
    // Notes, GPUs and the module do not change what lies in a generation.
    auto same = driver;
    same.notes.emplace_back("x");
    same.kernel_version.clear();
    EXPECT_EQ(generation_name(same), name);
}

}  // namespace
}  // namespace cuda_nspawn
