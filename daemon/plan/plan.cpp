#include "plan/plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "policy/machine_name.hpp"

namespace cuda_nspawn {

namespace {

bool contains(const std::vector<Capability>& capabilities, Capability wanted) {
    return std::find(capabilities.begin(), capabilities.end(), wanted) != capabilities.end();
}

DeviceNode gpu_node(const Gpu& gpu) { return {fmt::format("nvidia{}", gpu.minor), gpu.major, gpu.minor}; }

std::vector<DeviceNode> granted_nodes(const Driver& driver, const std::vector<Gpu>& gpus, const Policy& policy) {
    std::vector<DeviceNode> nodes = driver.control;
    for (const Gpu& gpu : gpus) nodes.push_back(gpu_node(gpu));
    if (driver.modeset && contains(policy.capabilities, Capability::display)) nodes.push_back(*driver.modeset);
    std::sort(nodes.begin(), nodes.end());
    return nodes;
}

Obstacles find_obstacles(const Policy& policy, const Driver& driver, const Image& image, GpuSelection& selection) {
    Obstacles obstacles;
    obstacles.guest = image.unit_problems;
    if (image.guest)
        if (const auto problem = guest_problem(*image.guest, host_architecture)) obstacles.guest.push_back(*problem);
    if (const auto problem = driver_problem(driver)) {
        obstacles.host.push_back(*problem);
        return obstacles;
    }
    selection = select_gpus(policy, driver);
    obstacles.host.insert(obstacles.host.end(), selection.errors.begin(), selection.errors.end());
    return obstacles;
}

}  // namespace

std::string Obstacles::text() const {
    std::vector<std::string> all = host;
    all.insert(all.end(), guest.begin(), guest.end());
    return fmt::format("{}", fmt::join(all, "; "));
}

Planned make_plan(const Policy& policy, const Driver& driver, std::string_view generation, const Image& image,
                  bool revoked) {
    Planned planned;
    planned.plan.machine = policy.machine;
    planned.plan.policy_path = policy.path;
    if (!policy.wants_gpus()) return planned;

    GpuSelection selection;
    planned.obstacles = find_obstacles(policy, driver, image, selection);
    planned.plan.present = true;
    planned.plan.mounts = planned.obstacles.guest.empty();
    if (planned.obstacles.any()) return planned;
    planned.gpus = selection.gpus;
    if (revoked || generation.empty()) return planned;

    planned.plan.generation = generation;
    planned.plan.capabilities = policy.capabilities;
    planned.plan.nodes = granted_nodes(driver, selection.gpus, policy);
    planned.plan.node_mode = driver.node_mode;
    planned.plan.sockets = policy.sockets;
    return planned;
}

std::vector<DeviceNode> all_nodes(const Driver& driver) {
    std::vector<DeviceNode> nodes = driver.control;
    for (const Gpu& gpu : driver.gpus) nodes.push_back(gpu_node(gpu));
    if (driver.modeset) nodes.push_back(*driver.modeset);
    std::sort(nodes.begin(), nodes.end());
    return nodes;
}

std::string_view to_string(EntryKind kind) {
    switch (kind) {
        case EntryKind::directory:
            return "directory";
        case EntryKind::file:
            return "file";
        case EntryKind::link:
            return "link";
        case EntryKind::node:
            return "node";
        case EntryKind::shared:
            return "shared";
    }
    return "unknown";
}

std::string machine_directory(std::string_view machine) { return fmt::format("/run/cuda-nspawn/machines/{}", machine); }
std::string settings_path(std::string_view machine) { return fmt::format("/run/systemd/nspawn/{}.nspawn", machine); }
std::string composed_settings_path(std::string_view machine) {
    return fmt::format("/run/cuda-nspawn/settings/{}.nspawn", machine);
}
std::string socket_directory(HostSocket socket) { return fmt::format("nvidia-{}", to_string(socket)); }
std::string nspawn_unit(std::string_view machine) { return fmt::format("systemd-nspawn@{}.service", machine); }
std::string scope_unit(std::string_view machine) { return fmt::format("machine-{}.scope", escape_unit_name(machine)); }
std::string our_unit(std::string_view machine) { return fmt::format("cuda-nspawn@{}.service", machine); }
std::string unit_drop_in_path(std::string_view machine) {
    return fmt::format("/run/systemd/system/{}.d/50-cuda-nspawn.conf", nspawn_unit(machine));
}
std::string scope_drop_in_path(std::string_view machine) {
    return fmt::format("/run/systemd/system/{}.d/50-cuda-nspawn.conf", scope_unit(machine));
}

std::string device_rule(const DeviceNode& node) { return fmt::format("/dev/char/{}:{}", node.major, node.minor); }

}  // namespace cuda_nspawn
