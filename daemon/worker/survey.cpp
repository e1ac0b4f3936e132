#include "worker/survey.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <linux/magic.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

#include "doctor/kernel_log.hpp"
#include "driver/kernel_side.hpp"
#include "guest/printable.hpp"
#include "worker/journal.hpp"

namespace cuda_nspawn {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_log_lines = 64;
constexpr std::size_t longest_line = 1024;
constexpr std::size_t longest_text = std::size_t{1} << 20;

std::string read_text(const fs::path& path) {
    std::ifstream stream(path, std::ios::binary);
    std::string text(longest_text, '\0');
    stream.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
    return text;
}

std::string first_line(const fs::path& path) {
    const std::string text = read_text(path);
    return text.substr(0, text.find('\n'));
}

template <class Each>
void for_each_entry(const fs::path& directory, Each&& each) {
    std::error_code ignored;
    for (fs::directory_iterator entry(directory, ignored), end; entry != end; entry.increment(ignored))
        each(entry->path());
}

// Those that can be unloaded show their state; parameters of what is built in have a directory there, too.
std::vector<std::string> read_modules(const SurveyHost& host) {
    std::vector<std::string> modules;
    for_each_entry(host.sys / "module", [&](const fs::path& directory) {
        const std::string name = directory.filename();
        std::error_code ignored;
        if ((name.starts_with("nvidia") || name == "nouveau" || name == "vfio_pci") &&
            fs::exists(directory / "initstate", ignored))
            modules.push_back(name);
    });
    std::ranges::sort(modules);
    return modules;
}

// Linux: Documentation/ABI/testing/sysfs-bus-pci
std::vector<PciDevice> read_pci(const SurveyHost& host) {
    std::vector<PciDevice> devices;
    for_each_entry(host.sys / "bus/pci/devices", [&](const fs::path& directory) {
        if (first_line(directory / "vendor") != "0x10de") return;
        const std::string pci_class = first_line(directory / "class");  // 0x030200: class, subclass, interface
        unsigned number = 0;
        if (!pci_class.starts_with("0x")) return;
        std::from_chars(pci_class.data() + 2, pci_class.data() + pci_class.size(), number, 16);
        std::error_code ignored;
        devices.push_back(
            {directory.filename(), number >> 8, fs::read_symlink(directory / "driver", ignored).filename()});
    });
    std::ranges::sort(devices, {}, &PciDevice::address);
    return devices;
}

std::vector<HostNode> read_nodes(const SurveyHost& host) {
    std::vector<HostNode> nodes;
    for_each_entry(host.dev, [&](const fs::path& path) {
        const std::string name = path.filename();
        struct stat status{};
        if (!name.starts_with("nvidia") || ::lstat(path.c_str(), &status) < 0 || !S_ISCHR(status.st_mode)) return;
        nodes.push_back({fmt::format("/dev/{}", name), major(status.st_rdev), minor(status.st_rdev),
                         status.st_mode & 07777,
                         static_cast<std::uint64_t>(status.st_ctim.tv_sec) * 1'000'000 +
                             static_cast<std::uint64_t>(status.st_ctim.tv_nsec) / 1000});
    });
    std::ranges::sort(nodes, {}, &HostNode::path);
    return nodes;
}

// GPUs that are divided: /proc/driver/nvidia/capabilities/gpuMINOR/mig/giN
std::vector<unsigned> read_mig_gpus(const SurveyHost& host) {
    std::vector<unsigned> minors;
    for_each_entry(host.proc / "driver/nvidia/capabilities", [&](const fs::path& directory) {
        constexpr std::string_view prefix = "gpu";
        const std::string name = directory.filename();
        unsigned minor = 0;
        if (!name.starts_with(prefix) ||
            std::from_chars(name.data() + prefix.size(), name.data() + name.size(), minor).ec != std::errc{})
            return;
        bool divided = false;
        for_each_entry(directory / "mig", [&](const fs::path& instance) {
            divided = divided || instance.filename().native().starts_with("gi");
        });
        if (divided) minors.push_back(minor);
    });
    std::ranges::sort(minors);
    return minors;
}

// UEFI's variable, 4 bytes of attributes and one of value; else what the kernel's lockdown says.
bool has_secure_boot(const SurveyHost& host) {
    constexpr const char* variable = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    const std::string value = read_text(host.sys / variable);
    if (value.size() == 5) return value.back() == 1;
    const std::string lockdown = read_text(host.sys / "kernel/security/lockdown");
    return lockdown.find("[integrity]") != std::string::npos || lockdown.find("[confidentiality]") != std::string::npos;
}

// A guest may have written of it: the name of a process of its stands in the line of an Xid.
std::vector<std::string> made_printable(std::vector<std::string> lines) {
    for (std::string& line : lines) line = printable(line, longest_line);
    return lines;
}

bool has_unified_cgroups(const SurveyHost& host) {
    struct statfs status{};
    if (::statfs((host.sys / "fs/cgroup").c_str(), &status) < 0) return true;  // not known, so not complained of
    return status.f_type == CGROUP2_SUPER_MAGIC;
}

// By the name that the kernel shows of it, 15 characters.
bool runs(const SurveyHost& host, std::string_view comm) {
    bool found = false;
    for_each_entry(host.proc, [&](const fs::path& process) {
        const std::string name = process.filename();
        if (!found && name.find_first_not_of("0123456789") == std::string::npos)
            found = first_line(process / "comm") == comm;
    });
    return found;
}

// --- unit files ------------------------------------------------------------------------------------------------------

std::string_view trim(std::string_view text) {
    const auto begin = text.find_first_not_of(" \t\r");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

bool concerns_devices(std::string_view key) {
    constexpr std::array keys{"DeviceAllow", "DevicePolicy", "PrivateDevices", "SystemCallFilter"};
    return std::ranges::any_of(keys, [&](std::string_view one) { return one == key; });
}

bool is_ours(const fs::path& path) { return path.filename().native().ends_with("-cuda-nspawn.conf"); }

void read_units(const SurveyHost& host, const std::string& machine, std::vector<UnitSetting>& settings) {
    const std::string unit = nspawn_unit(machine);
    const auto read = [&](const std::string& path) {
        const auto more = parse_unit_file(path, read_text(host.root / path.substr(1)));
        settings.insert(settings.end(), more.begin(), more.end());
    };
    for (const std::string_view directory :
         {"/etc/systemd/system.control", "/run/systemd/system.control", "/etc/systemd/system", "/run/systemd/system",
          "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"}) {
        read(fmt::format("{}/{}", directory, unit));
        if (directory != "/usr/lib/systemd/system") read(fmt::format("{}/systemd-nspawn@.service", directory));
        for (const std::string_view drop_ins :
             {std::string_view(unit), std::string_view("systemd-nspawn@.service"), std::string_view("service")}) {
            std::vector<std::string> paths;
            for_each_entry(host.root / directory.substr(1) / fmt::format("{}.d", drop_ins), [&](const fs::path& path) {
                if (path.extension() == ".conf" && !is_ours(path))
                    paths.push_back(fmt::format("{}/{}.d/{}", directory, drop_ins, path.filename().native()));
            });
            std::ranges::sort(paths);
            // What SetUnitProperties left while the machine runs is ours as well; when it has ended, ours is gone.
            for (const std::string& path : paths)
                if (!path.ends_with("/50-DeviceAllow.conf") || path.starts_with("/etc/")) read(path);
        }
    }
}

}  // namespace

SurveyHost real_host() {
    SurveyHost host;
    host.kernel_log = [] { return read_kernel_log(most_log_lines, is_of_interest); };
    host.unit_log = [](const std::string& unit) { return read_unit_log(unit, 40); };
    return host;
}

HostEvidence survey_host(const SurveyHost& host) {
    HostEvidence evidence;
    utsname name{};
    if (::uname(&name) == 0) evidence.kernel_release = name.release;
    evidence.modules = read_modules(host);
    evidence.pci = read_pci(host);
    evidence.nodes = read_nodes(host);
    evidence.majors = parse_character_majors(read_text(host.proc / "devices"));
    evidence.unified_cgroups = has_unified_cgroups(host);
    evidence.secure_boot = has_secure_boot(host);
    for_each_entry(host.sys / "kernel/iommu_groups", [&](const fs::path&) { evidence.iommu = true; });
    evidence.mig_gpus = read_mig_gpus(host);
    if (host.kernel_log) evidence.kernel_log = made_printable(host.kernel_log());
    std::error_code ignored;
    for (const HostSocket socket : {HostSocket::persistenced, HostSocket::fabricmanager})
        if (const std::string path = fmt::format("/run/{}/socket", socket_directory(socket));
            fs::exists(host.root / path.substr(1), ignored))
            evidence.sockets.push_back(path);
    evidence.fabric_manager = runs(host, "nv-fabricmanage");
    return evidence;
}

std::vector<UnitSetting> parse_unit_file(std::string_view path, std::string_view text) {
    std::vector<UnitSetting> settings;
    std::string_view section;
    unsigned number = 0;
    unsigned begin = 0;  // of a line that goes on
    std::string whole;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = trim(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        ++number;
        if (line.starts_with('#') || line.starts_with(';')) continue;  // within a line that goes on, too
        if (whole.empty()) begin = number;
        whole += line;
        if (whole.ends_with('\\')) {
            whole.back() = ' ';
            continue;
        }
        const std::string_view read = trim(whole);
        if (read.starts_with('[')) section = read == "[Service]" ? "Service" : "";
        const std::size_t equals = read.find('=');
        if (section == "Service" && equals != std::string_view::npos && concerns_devices(trim(read.substr(0, equals))))
            settings.push_back({std::string(path), begin, std::string(trim(read.substr(0, equals))),
                                std::string(trim(read.substr(equals + 1)))});
        whole.clear();
    }
    return settings;
}

MachineEvidence survey_machine(const SurveyHost& host, const std::string& machine) {
    MachineEvidence evidence;
    survey_settings(host, machine, evidence);
    read_units(host, machine, evidence.unit);
    if (host.unit_log) evidence.unit_log = made_printable(host.unit_log(nspawn_unit(machine)));
    return evidence;
}

}  // namespace cuda_nspawn
