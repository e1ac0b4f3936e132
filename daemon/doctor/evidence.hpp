// What a diagnosis is made from: facts as data, collected by others. Nothing in here opens a file or asks a bus.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "driver/driver.hpp"
#include "guest/guest.hpp"
#include "guest/software.hpp"
#include "guest/verdict.hpp"
#include "plan/plan.hpp"
#include "plan/settings.hpp"
#include "policy/policy.hpp"

namespace cuda_nspawn {

// A PCI function of NVIDIA's that is a display or 3D controller (class 03) or a bridge that may be an NVSwitch (0680).
struct PciDevice {
    std::string address;     // "0000:01:00.0"
    unsigned pci_class = 0;  // 0x0302
    std::string driver;      // that holds it: "nvidia", "nouveau", "vfio-pci"; empty: none
    bool operator==(const PciDevice&) const = default;
};

// A node /dev/nvidia… of the host's.
struct HostNode {
    std::string path;
    unsigned major = 0;
    unsigned minor = 0;
    unsigned mode = 0;
    std::uint64_t changed_usec = 0;  // CLOCK_REALTIME; when it was made, or its owner or mode changed
    bool operator==(const HostNode&) const = default;
};

struct HostEvidence {
    std::string kernel_release;
    std::vector<std::string> modules;  // loaded: nvidia, nvidia_uvm, nouveau, …, sorted
    std::vector<PciDevice> pci;
    std::vector<HostNode> nodes;
    std::map<std::string, unsigned, std::less<>> majors;  // of /proc/devices, character devices
    bool unified_cgroups = true;                          // /sys/fs/cgroup is a cgroup2
    bool secure_boot = false;
    bool iommu = false;                   // it has IOMMU groups
    std::vector<unsigned> mig_gpus;       // minors of GPUs that have MIG instances
    std::vector<std::string> kernel_log;  // since boot, of NVIDIA's modules and of refused ones, the latest 64
    std::vector<std::string> sockets;     // of NVIDIA's daemons that are there: "/run/nvidia-persistenced/socket"
    bool fabric_manager = false;          // it runs
    bool operator==(const HostEvidence&) const = default;
};

// A line of a unit file or drop-in of systemd-nspawn@NAME.service that is neither systemd's nor ours.
struct UnitSetting {
    std::string path;
    unsigned line = 0;
    std::string key;  // DeviceAllow, DevicePolicy, SystemCallFilter, …
    std::string value;
    bool operator==(const UnitSetting&) const = default;
};

// A Bind= or BindReadOnly= of the settings file.
struct SettingsBind {
    unsigned line = 0;
    std::string source;       // on the host
    std::string destination;  // in the guest
    bool is_there = true;     // the source
    bool is_directory = false;
    bool operator==(const SettingsBind&) const = default;
};

// What the host has for one machine besides its image.
struct MachineEvidence {
    AdminSettings settings;  // path and origin; the text is not kept
    std::vector<Setting> settings_lines;
    std::vector<SettingsBind> binds;
    std::vector<std::string> settings_notes;  // what nspawn ignores of an untrusted file, a sentence each
    std::vector<UnitSetting> unit;
    std::vector<std::string> unit_log;  // of its unit's last start, the latest 40 lines
    bool operator==(const MachineEvidence&) const = default;
};

// The machine while it runs.
struct RunningEvidence {
    std::string unit;  // systemd-nspawn@NAME.service, or a scope when it was started by hand
    std::uint64_t since_usec = 0;
    std::vector<std::string> device_rules;  // DeviceAllow: "/dev/char/195:0 rw"
    std::vector<DeviceNode> wanted;         // that it shall be able to open
    bool mounted = true;                    // it has our mounts
    bool operator==(const RunningEvidence&) const = default;
};

struct Evidence {
    std::string machine;
    std::optional<Policy> policy;
    std::vector<Diagnostic> policy_errors;
    Driver driver;
    std::string generation;       // in force; empty: none
    std::string pending_version;  // of driver files that wait for the module's reload
    bool files_missing = false;   // the host has no files of the driver, only the store may have
    std::string build_failure;    // why the driver's files could not be copied
    HostEvidence host;
    MachineEvidence on_host;
    std::optional<Image> image;  // nothing: not known
    std::string image_failure;   // why it was not looked into
    std::optional<GuestSoftware> software;
    std::optional<Program> program;
    Obstacles obstacles;                     // of the plan
    std::vector<std::string> expose_errors;  // the admin's settings file cannot be composed
    std::vector<std::string> notes;          // of composing
    std::string failure;                     // of the step that failed
    bool start_failed = false;               // its unit is failed, so what its last start said counts
    std::optional<RunningEvidence> running;
    bool detached = false;
    Verdict verdict;  // none: not tested
};

}  // namespace cuda_nspawn
