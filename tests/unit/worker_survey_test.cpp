#include "worker/survey.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WorkerSurvey : public ::testing::Test {
protected:
    WorkerSurvey() {
        host.root = tree.at("/root");
        host.proc = tree.at("/proc");
        host.sys = tree.at("/sys");
        host.dev = tree.at("/dev");
        for (const auto& place : {host.root, host.proc, host.sys, host.dev}) std::filesystem::create_directories(place);
    }
    void add_pci(const std::string& address, const std::string& vendor, const std::string& pci_class,
                 const std::string& driver = "") const {
        const std::string directory = "/sys/bus/pci/devices/" + address;
        tree.write(directory + "/vendor", vendor + "\n");
        tree.write(directory + "/class", pci_class + "\n");
        if (!driver.empty()) tree.link(directory + "/driver", "../../../../bus/pci/drivers/" + driver);
    }
    void write(const std::string& path, const std::string& text) const { tree.write("/root" + path, text); }
    HostEvidence survey() const { return survey_host(host); }
    MachineEvidence survey_a() const { return survey_machine(host, "a"); }

    testing::TemporaryTree tree;
    SurveyHost host;
};

// --- the host --------------------------------------------------------------------------------------------------------

TEST_F(WorkerSurvey, finds_nothing_on_a_host_that_has_nothing) {
    HostEvidence nothing;
    nothing.kernel_release = survey().kernel_release;
    EXPECT_EQ(survey(), nothing);
    EXPECT_FALSE(nothing.kernel_release.empty());
}

TEST_F(WorkerSurvey, finds_modules_that_matter) {
    for (const char* module : {"vfio_pci", "nvidia_uvm", "nvidia", "i915", "nouveau", "nouveau_like"})
        tree.write(std::string("/sys/module/") + module + "/initstate", "live\n");
    tree.write("/sys/module/nvidia_built_in/parameters/x", "1\n");
    EXPECT_THAT(survey().modules, ElementsAre("nouveau", "nvidia", "nvidia_uvm", "vfio_pci"));
}

TEST_F(WorkerSurvey, finds_nvidias_functions_on_the_bus_and_who_holds_them) {
    add_pci("0000:02:00.0", "0x10de", "0x030200", "vfio-pci");
    add_pci("0000:01:00.0", "0x10de", "0x030000", "nvidia");
    add_pci("0000:05:00.0", "0x10de", "0x068000");
    add_pci("0000:00:02.0", "0x8086", "0x030000", "i915");
    add_pci("0000:06:00.0", "0x10de", "nonsense");
    EXPECT_THAT(survey().pci,
                ElementsAre(PciDevice{"0000:01:00.0", 0x0300, "nvidia"}, PciDevice{"0000:02:00.0", 0x0302, "vfio-pci"},
                            PciDevice{"0000:05:00.0", 0x0680, ""}));
}

TEST_F(WorkerSurvey, finds_nvidias_nodes) {
    if (::geteuid() != 0) GTEST_SKIP() << "device nodes need root";
    const auto node = [&](const char* name, unsigned minor) {
        return ::mknod(tree.at(std::string("/dev/") + name).c_str(), S_IFCHR | 0600, makedev(1, minor));
    };
    if (node("nvidia0", 3) != 0) GTEST_SKIP() << "device nodes are not allowed here";
    ASSERT_EQ(node("null", 3), 0);
    ASSERT_EQ(node("nvidia-uvm", 5), 0);
    ASSERT_EQ(::chmod(tree.at("/dev/nvidia0").c_str(), 0660), 0);
    tree.write("/dev/nvidia1", "no device");
    tree.link("/dev/nvidia2", "nvidia0");
    const auto nodes = survey().nodes;
    ASSERT_EQ(nodes.size(), 2u);
    EXPECT_EQ(nodes[0].path, "/dev/nvidia-uvm");
    EXPECT_EQ(nodes[1].path, "/dev/nvidia0");
    EXPECT_EQ(nodes[1].major, 1u);
    EXPECT_EQ(nodes[1].minor, 3u);
    EXPECT_EQ(nodes[1].mode, 0660u);
    struct stat status{};
    ASSERT_EQ(::stat(tree.at("/dev/nvidia0").c_str(), &status), 0);
    EXPECT_EQ(nodes[1].changed_usec / 1'000'000, static_cast<std::uint64_t>(status.st_ctim.tv_sec));
}

TEST_F(WorkerSurvey, finds_the_numbers_of_all_drivers) {
    tree.write("/proc/devices",
               "Character devices:\n  1 mem\n195 nvidia\n241 hidraw\n510 nvidia-uvm\n\nBlock devices:\n259 blkext\n");
    const std::map<std::string, unsigned, std::less<>> all{
        {"mem", 1}, {"nvidia", 195}, {"hidraw", 241}, {"nvidia-uvm", 510}};
    EXPECT_EQ(survey().majors, all) << "a number of somebody else is not nobody's";
}

TEST_F(WorkerSurvey, finds_divided_gpus) {
    tree.write("/proc/driver/nvidia/capabilities/gpu4/mig/gi1/access", "");
    tree.write("/proc/driver/nvidia/capabilities/gpu0/mig/gi11/ci0/access", "");
    tree.write("/proc/driver/nvidia/capabilities/gpu1/mig/config", "");
    tree.write("/proc/driver/nvidia/capabilities/mig/config", "");
    tree.write("/proc/driver/nvidia/capabilities/gpux/mig/gi1/access", "");
    EXPECT_THAT(survey().mig_gpus, ElementsAre(0u, 4u));
}

TEST_F(WorkerSurvey, finds_sockets_of_nvidias_daemons) {
    write("/run/nvidia-fabricmanager/socket", "");
    EXPECT_THAT(survey().sockets, ElementsAre("/run/nvidia-fabricmanager/socket"));
    write("/run/nvidia-persistenced/socket", "");
    EXPECT_THAT(survey().sockets, ElementsAre("/run/nvidia-persistenced/socket", "/run/nvidia-fabricmanager/socket"));
}

TEST_F(WorkerSurvey, finds_the_fabric_manager_by_the_name_that_the_kernel_has_room_for) {
    tree.write("/proc/12/comm", "nv-fabricmanage2\n");
    tree.write("/proc/nv/comm", "nv-fabricmanage\n");
    EXPECT_FALSE(survey().fabric_manager);
    tree.write("/proc/77/comm", "nv-fabricmanage\n");
    EXPECT_TRUE(survey().fabric_manager);
}

TEST_F(WorkerSurvey, finds_secure_boot_in_the_firmwares_variable_and_else_in_the_kernels_lockdown) {
    const std::string variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    tree.write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
    EXPECT_FALSE(survey().secure_boot);
    tree.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
    EXPECT_TRUE(survey().secure_boot);
    tree.write(variable, std::string("\x06\0\0\0\0", 5));
    EXPECT_FALSE(survey().secure_boot) << "the variable says so";
    tree.write(variable, std::string("\x06\0\0\0\1", 5));
    EXPECT_TRUE(survey().secure_boot);
    tree.write("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
    tree.write(variable, "");
    EXPECT_TRUE(survey().secure_boot);
}

TEST_F(WorkerSurvey, finds_an_iommu_by_its_groups) {
    std::filesystem::create_directories(tree.at("/sys/kernel/iommu_groups"));
    EXPECT_FALSE(survey().iommu);
    std::filesystem::create_directories(tree.at("/sys/kernel/iommu_groups/0"));
    EXPECT_TRUE(survey().iommu);
}

TEST_F(WorkerSurvey, knows_the_hierarchy_of_control_groups_by_its_file_system) {
    EXPECT_TRUE(survey().unified_cgroups) << "of what is not known nobody complains";
    std::filesystem::create_directories(tree.at("/sys/fs/cgroup"));
    EXPECT_FALSE(survey().unified_cgroups);
}

TEST_F(WorkerSurvey, keeps_the_kernels_lines_without_what_a_terminal_would_obey) {
    host.kernel_log = [] {
        return std::vector<std::string>{"NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=\x1b[2J", std::string(5000, 'x')};
    };
    const auto log = survey().kernel_log;
    ASSERT_EQ(log.size(), 2u);
    EXPECT_EQ(log[0], "NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=\xef\xbf\xbd[2J");
    EXPECT_LE(log[1].size(), 1024u);
}

TEST_F(WorkerSurvey, looks_at_this_very_host) {
    const HostEvidence evidence = survey_host(real_host());
    EXPECT_TRUE(evidence.majors.contains("mem"));
}

// --- unit files ------------------------------------------------------------------------------------------------------

TEST(WorkerUnitFile, has_the_lines_that_concern_devices_with_their_numbers) {
    EXPECT_THAT(
        parse_unit_file("/u.conf",
                        "# made by hand\n[Unit]\nDeviceAllow=/dev/of-unit\n\n[Service]\nDeviceAllow=\n"
                        "  DevicePolicy = strict \r\nExecStart=/bin/true DeviceAllow=x\nPrivateDevices=yes\n"
                        ";SystemCallFilter=~a\nSystemCallFilter=~ioctl\n[Install]\nDeviceAllow=/dev/y\n"
                        "[Service]\nDeviceAllow=/dev/z rw"),
        ElementsAre(UnitSetting{"/u.conf", 6, "DeviceAllow", ""}, UnitSetting{"/u.conf", 7, "DevicePolicy", "strict"},
                    UnitSetting{"/u.conf", 9, "PrivateDevices", "yes"},
                    UnitSetting{"/u.conf", 11, "SystemCallFilter", "~ioctl"},
                    UnitSetting{"/u.conf", 15, "DeviceAllow", "/dev/z rw"}));
}

TEST(WorkerUnitFile, joins_lines_that_go_on_and_skips_comments_among_them) {
    EXPECT_THAT(parse_unit_file("/u",
                                "[Service]\nSystemCallFilter=~a \\\n# of no meaning\n  ioctl \\\n; nor this\nb\n"
                                "DeviceAllow=/dev/x\n"),
                ElementsAre(UnitSetting{"/u", 2, "SystemCallFilter", "~a  ioctl  b"},
                            UnitSetting{"/u", 7, "DeviceAllow", "/dev/x"}));
}

TEST(WorkerUnitFile, is_read_whatever_stands_in_it) {
    for (const char* text :
         {"", "\n\n", "[Service", "=", "[Service]\n=x\nDeviceAllow\n", "DeviceAllow=/dev/x\n", "\\", "[Service]\n\\\n"})
        EXPECT_THAT(parse_unit_file("/u", text), IsEmpty()) << text;
    EXPECT_THAT(parse_unit_file("/u", "[Service]\nDeviceAllow=/dev/x\\"), IsEmpty()) << "it has no end";
}

// --- the machine -----------------------------------------------------------------------------------------------------

TEST_F(WorkerSurvey, reads_drop_ins_of_all_directories_and_for_all_units_of_the_kind) {
    const std::string line = "[Service]\nDevicePolicy=closed\n";
    const std::vector<std::string> paths{"/etc/systemd/system.control/systemd-nspawn@a.service.d/50-DeviceAllow.conf",
                                         "/run/systemd/system.control/systemd-nspawn@a.service.d/50-DevicePolicy.conf",
                                         "/etc/systemd/system/systemd-nspawn@a.service",
                                         "/etc/systemd/system/systemd-nspawn@.service",
                                         "/etc/systemd/system/systemd-nspawn@a.service.d/10-first.conf",
                                         "/etc/systemd/system/systemd-nspawn@a.service.d/20-second.conf",
                                         "/etc/systemd/system/systemd-nspawn@.service.d/x.conf",
                                         "/etc/systemd/system/service.d/y.conf",
                                         "/run/systemd/system/systemd-nspawn@a.service.d/z.conf",
                                         "/usr/local/lib/systemd/system/systemd-nspawn@.service.d/z.conf",
                                         "/usr/lib/systemd/system/systemd-nspawn@.service.d/z.conf"};
    for (const std::string& path : paths) write(path, line);
    std::vector<std::string> read;
    for (const UnitSetting& setting : survey_a().unit) read.push_back(setting.path);
    EXPECT_EQ(read, paths);
}

TEST_F(WorkerSurvey, leaves_out_systemds_unit_and_what_is_ours) {
    const std::string line = "[Service]\nDeviceAllow=/dev/x rw\n";
    for (const char* path : {"/usr/lib/systemd/system/systemd-nspawn@.service",
                             "/run/systemd/system/systemd-nspawn@a.service.d/"
                             "50-cuda-nspawn.conf",
                             "/usr/lib/systemd/system/systemd-nspawn@.service.d/10-cuda-nspawn.conf",
                             "/run/systemd/system.control/systemd-nspawn@a.service.d/50-DeviceAllow.conf",
                             "/etc/systemd/system/systemd-nspawn@b.service.d/10-of-another.conf",
                             "/etc/systemd/system/systemd-nspawn@a.service.d/10-mine.conf.bak"})
        write(path, line);
    EXPECT_THAT(survey_a().unit, IsEmpty());
}

TEST_F(WorkerSurvey, tells_what_the_settings_file_binds_and_whether_it_is_there) {
    write("/srv/data/file", "");
    write("/etc/systemd/nspawn/a.nspawn",
          "[Files]\nBind=/srv/data\nBindReadOnly=/srv/data/file:/file:idmap\nBind=/srv/gone:/gone\n"
          "Bind=/srv/data/file/below:/x\nBind=+/in/the/image:/y\nBind=:/z\nTemporaryFileSystem=/t\n");
    const MachineEvidence evidence = survey_a();
    EXPECT_EQ(evidence.settings, (AdminSettings{SettingsOrigin::trusted, "/etc/systemd/nspawn/a.nspawn", ""}))
        << "the text is not kept";
    EXPECT_EQ(evidence.settings_lines.size(), 7u);
    EXPECT_THAT(evidence.binds, ElementsAre(SettingsBind{2, "/srv/data", "/srv/data", true, true},
                                            SettingsBind{3, "/srv/data/file", "/file", true, false},
                                            SettingsBind{4, "/srv/gone", "/gone", false, false},
                                            SettingsBind{5, "/srv/data/file/below", "/x", false, false}));
    EXPECT_THAT(evidence.settings_notes, IsEmpty());
}

// The worker has no capability: what is closed to it is no less there.
TEST_F(WorkerSurvey, takes_the_source_of_a_bind_for_there_that_it_may_not_look_at) {
    tree.link("/root/srv/loop", "loop");
    write("/etc/systemd/nspawn/a.nspawn", "[Files]\nBind=/srv/loop:/x\n");
    EXPECT_THAT(survey_a().binds, ElementsAre(SettingsBind{2, "/srv/loop", "/x", true, false}));
}

TEST_F(WorkerSurvey, tells_what_has_no_effect_in_a_file_beside_the_image) {
    write("/var/lib/machines/a/etc/os-release", "");
    write("/var/lib/machines/a.nspawn", "[Exec]\nBoot=yes\nCapability=CAP_SYS_ADMIN\n[Files]\nBind=/srv/gone:/x\n");
    const MachineEvidence evidence = survey_a();
    EXPECT_EQ(evidence.settings, (AdminSettings{SettingsOrigin::untrusted, "/var/lib/machines/a.nspawn", ""}));
    EXPECT_THAT(evidence.binds, IsEmpty()) << "it is not made";
    EXPECT_THAT(evidence.settings_notes,
                ElementsAre("/var/lib/machines/a.nspawn:3: Capability= has no effect in a file beside the image, as "
                            "ever with systemd-nspawn.",
                            HasSubstr(".nspawn:5: Bind= has no effect")));
}

TEST_F(WorkerSurvey, leaves_a_broken_settings_file_to_who_composes_it) {
    write("/etc/systemd/nspawn/a.nspawn", "[Files]\nBind\n");
    const MachineEvidence evidence = survey_a();
    EXPECT_EQ(evidence.settings.path, "/etc/systemd/nspawn/a.nspawn");
    EXPECT_THAT(evidence.settings_lines, IsEmpty());
    EXPECT_THAT(evidence.binds, IsEmpty());
}

TEST_F(WorkerSurvey, asks_the_journal_for_the_machines_unit) {
    host.unit_log = [](const std::string& unit) { return std::vector{unit, std::string("\x1b[31mFailed to x")}; };
    EXPECT_THAT(survey_a().unit_log, ElementsAre("systemd-nspawn@a.service", "\xef\xbf\xbd[31mFailed to x"));
}

}  // namespace
}  // namespace cuda_nspawn
