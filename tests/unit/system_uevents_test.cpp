#include "system/uevents.hpp"

#include <gmock/gmock.h>

#include <string>

namespace cuda_nspawn {
namespace {

using namespace std::string_literals;

const std::string module_added =
    "add@/module/nvidia\0ACTION=add\0DEVPATH=/module/nvidia\0SUBSYSTEM=module\0SEQNUM=7\0"s;

bool concerns(const std::string& subsystem, const std::string& devpath, const std::string& driver = "") {
    return concerns_driver({"change", subsystem, devpath, driver},
                           [](const std::string& address) { return address == "0000:01:00.0"; });
}

TEST(Uevents, a_module_that_is_loaded) {
    EXPECT_EQ(parse_uevent(module_added), (Uevent{"add", "module", "/module/nvidia", ""}));
}

TEST(Uevents, a_device_that_is_bound) {
    const std::string path = "/devices/pci0000:00/0000:00:01.0/0000:01:00.0";
    const auto event = parse_uevent("bind@" + path + "\0ACTION=bind\0DEVPATH="s + path +
                                    "\0SUBSYSTEM=pci\0DRIVER=nvidia\0PCI_CLASS=30200\0SEQNUM=8\0"s);
    EXPECT_EQ(event, (Uevent{"bind", "pci", path, "nvidia"}));
}

TEST(Uevents, what_is_no_message_of_the_kernels_is_left_out) {
    for (const std::string& message :
         {""s, "\0"s, "\0\0\0\0"s, "add@"s, "add@/module/nvidia"s, "libudev\0\xfe\xed\xca\xfe ACTION=add\0"s,
          "ACTION=add\0DEVPATH=/module/nvidia\0SUBSYSTEM=module\0"s, "add@/x\0ACTION=add\0SUBSYSTEM=module\0"s,
          "add@/x\0ACTION\0DEVPATH\0SUBSYSTEM\0"s, "add@/x\0ACTION=\0DEVPATH=\0SUBSYSTEM=\0"s, "@\0=\0=\0="s,
          std::string(8192, 'x'), std::string(8192, '\0'), std::string(8192, '='), std::string(8192, '@')})
        EXPECT_EQ(parse_uevent(message), std::nullopt) << message;
}

TEST(Uevents, a_message_cut_anywhere_is_survived) {
    for (std::size_t size = 0; size < module_added.size(); ++size) {
        const auto event = parse_uevent(std::string_view(module_added).substr(0, size));
        EXPECT_EQ(event.value_or(Uevent{"", "", "/module/nvidia", ""}).devpath, "/module/nvidia") << size;
    }
}

TEST(Uevents, modules_of_nvidias_concern_us_whatever_a_distribution_calls_them) {
    for (const char* name : {"nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia-current", "nvidia_current_uvm"})
        EXPECT_TRUE(concerns("module", std::string("/module/") + name)) << name;
    EXPECT_FALSE(concerns("module", "/module/nouveau"));
    EXPECT_FALSE(concerns("module", "/module/nvidia/holders/other"));
    EXPECT_FALSE(concerns("drivers", "/bus/pci/drivers/nvidia"));
    EXPECT_FALSE(concerns("module", ""));
}

TEST(Uevents, devices_concern_us_by_driver_or_by_address) {
    EXPECT_TRUE(concerns("pci", "/devices/pci0000:00/0000:05:00.0", "nvidia"));
    EXPECT_TRUE(concerns("pci", "/devices/pci0000:00/0000:00:01.0/0000:01:00.0")) << "unbound: no driver is named";
    EXPECT_FALSE(concerns("pci", "/devices/pci0000:00/0000:05:00.0", "nvme"));
    EXPECT_FALSE(concerns("pci", "/devices/pci0000:00/not-an-address"));
    EXPECT_FALSE(concerns("net", "/devices/pci0000:00/0000:01:00.0", "nvidia"));
}

}  // namespace
}  // namespace cuda_nspawn
