#include "doctor/kernel_log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cuda_nspawn {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<XidLine> xids(const std::vector<std::string>& log) { return find_xids(log); }

TEST(DoctorKernelLog, reads_xids_as_the_module_has_written_them_over_the_years) {
    const std::vector<std::string> log{
        "NVRM: Xid (PCI:0000:3b:00): 31, pid=1234, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE "
        "GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f5c_00000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_READ",
        "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0001:00:00): 79, GPU has fallen off the bus.",
        "NVRM: Xid (PCI:0000:84:00 GPU-I:05): 13, pid=77, name=a.out, Graphics SM Warp Exception",
        "NVRM: Xid (PCI:0000:af:00): 144, NVLINK: SAW_MVB Nonfatal XC0 i0 Link 02"};
    const auto found = xids(log);
    ASSERT_EQ(found.size(), 5u);
    EXPECT_EQ(found[0], (XidLine{31, "0000:3b:00", "a program used memory of the GPU that it does not have", log[0]}));
    EXPECT_EQ(found[1], (XidLine{79, "0000:01:00", "the GPU has fallen off the bus", log[1]}));
    EXPECT_EQ(found[2].address, "0001:00:00");
    EXPECT_EQ(found[3].number, 13u);
    EXPECT_EQ(found[3].address, "0000:84:00 GPU-I:05");
    EXPECT_EQ(found[4], (XidLine{144, "0000:af:00", "", log[4]})) << "NVIDIA's list knows it";
}

TEST(DoctorKernelLog, knows_the_usual_xids) {
    for (const unsigned number : {13u, 31u, 43u, 45u, 48u, 62u, 63u, 64u, 74u, 79u, 94u, 95u, 119u, 120u}) {
        const auto found = xids({"NVRM: Xid (PCI:0000:01:00): " + std::to_string(number) + ", something"});
        ASSERT_EQ(found.size(), 1u);
        EXPECT_FALSE(found.front().meaning.empty()) << number;
    }
}

TEST(DoctorKernelLog, keeps_the_latest_of_each_number_and_gpu) {
    const auto found = xids({"NVRM: Xid (PCI:0000:01:00): 31, first", "NVRM: Xid (PCI:0000:02:00): 31, other GPU",
                             "NVRM: Xid (PCI:0000:01:00): 43, other number", "NVRM: Xid (PCI:0000:01:00): 31, last"});
    std::vector<std::string> lines;
    for (const XidLine& xid : found) lines.push_back(xid.line.substr(xid.line.rfind(", ") + 2));
    EXPECT_THAT(lines, ElementsAre("other GPU", "other number", "last"));
}

TEST(DoctorKernelLog, takes_nothing_else_for_an_xid) {
    EXPECT_THAT(xids({"", "NVRM: Xid", "NVRM: Xid (PCI:", "NVRM: Xid (PCI:0000:01:00",
                      "NVRM: Xid (PCI:0000:01:00):", "NVRM: Xid (PCI:0000:01:00): ", "NVRM: Xid (PCI:0000:01:00): x",
                      "NVRM: Xid (PCI:0000:01:00): -1", "NVRM: Xid (PCI:0000:01:00): 99999999999999999999, too much",
                      "audit: comm=\"Xid (PCI:0000:01:00): 79, \"", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module"}),
                IsEmpty());
}

TEST(DoctorKernelLog, takes_the_name_of_a_process_for_no_second_xid) {
    const auto found = xids({"NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=Xid (PCI:x): 79, Ch 8"});
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found.front().number, 31u);
    EXPECT_EQ(found.front().address, "0000:01:00");
}

TEST(DoctorKernelLog, knows_what_the_kernel_says_of_a_module_that_it_refuses) {
    for (const std::string line :
         {"Loading of unsigned module is rejected", "Loading of module with unsupported crypto is rejected",
          "Loading of module with unavailable key is rejected",
          "Lockdown: modprobe: unsigned module loading is restricted; see man "
          "kernel_lockdown.7",
          "PKCS#7 signature not signed with a trusted key",
          "modprobe: ERROR: could not insert 'nvidia': Key was rejected by service"}) {
        EXPECT_EQ(find_refused_module(std::vector{std::string("nvidia: something"), line}), line);
        EXPECT_TRUE(is_of_interest(line)) << line;
    }
}

TEST(DoctorKernelLog, takes_no_key_and_no_taint_for_a_refusal) {
    for (const std::string line :
         {"integrity: Loaded X.509 cert 'DKMS module signing key: 0123456789abcdef0123456789abcdef01234567'",
          "nvidia: module verification failed: signature and/or required key missing - tainting kernel",
          "nvidia: loading out-of-tree module taints kernel.", "Loading of the firmware", "the request is rejected",
          ""})
        EXPECT_EQ(find_refused_module(std::vector{line}), std::nullopt) << line;
    EXPECT_EQ(find_refused_module({}), std::nullopt);
}

TEST(DoctorKernelLog, keeps_lines_of_nvidias_modules_and_of_nouveau_only) {
    for (const char* line :
         {"NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:762)",
          "nvidia-nvlink: Nvlink Core is being initialized, major device number 235",
          "nvidia 0000:01:00.0: enabling device (0000 -> 0003)", "nouveau 0000:01:00.0: NVIDIA GV100 (140000a1)"})
        EXPECT_TRUE(is_of_interest(line)) << line;
    for (const char* line : {"", "usb 1-1: new high-speed USB device", "nvme0n1: p1 p2",
                             "integrity: Loaded X.509 cert 'DKMS module signing key: 01'"})
        EXPECT_FALSE(is_of_interest(line)) << line;
}

}  // namespace
}  // namespace cuda_nspawn
