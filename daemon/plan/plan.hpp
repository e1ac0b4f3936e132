// The plan: everything a machine must have, as data. Made from policy, driver and guest; rendered to the complete list
// of files, links and nodes. The daemon makes plans; the worker that carries one out renders it again by itself, so
// that no text of a unit or settings file ever travels from the daemon to a privileged process.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "driver/driver.hpp"
#include "guest/guest.hpp"
#include "plan/settings.hpp"
#include "policy/policy.hpp"

namespace cuda_nspawn {

// What a machine is given. Three sizes: nothing at all (`present` false: everything of ours is removed), prepared (the
// machine starts with our mounts, so that a GPU can be attached later, but holds none), and granted.
struct Plan {
    std::string machine;
    std::string policy_path;      // for the first line of generated files
    bool present = false;         // a policy wants GPUs: the drop-ins pull in cuda-nspawn@NAME.service
    bool mounts = false;          // the settings file is written: the guest gets the two mounts
    bool keep_directory = false;  // without mounts: a running guest may have the directory, so it stays, empty
    std::string generation;       // in the store; empty: no driver is offered
    std::vector<Capability> capabilities;
    std::vector<DeviceNode> nodes;  // granted nodes, sorted; empty: no device is offered
    std::vector<HostSocket> sockets;
    unsigned node_mode = 0666;  // as on the host
    unsigned node_owner = 0;    // user and group of nodes that are not for everybody: the running guest's root
    // Not everybody may open the nodes.
    bool is_restricted() const { return (node_mode & 0006) != 0006; }
    bool operator==(const Plan&) const = default;
};

// Of the host that this was built for, in Guest's words.
#if defined(__x86_64__)
inline constexpr std::string_view host_architecture = "x86-64";
#elif defined(__aarch64__)
inline constexpr std::string_view host_architecture = "aarch64";
#else
inline constexpr std::string_view host_architecture = "other";
#endif

// What stands in the way of a grant, as sentences. Host-side ones may pass by themselves (a module gets loaded), so the
// machine is prepared all the same; guest-side ones leave the machine as it would be without us.
struct Obstacles {
    std::vector<std::string> host;
    std::vector<std::string> guest;
    bool any() const { return !host.empty() || !guest.empty(); }
    std::string text() const;  // all of them in one line, host first
};

// What was seen of the machine's image and unit before it runs.
struct Image {
    std::string path;                        // empty: no image of that name yet
    std::optional<Guest> guest;              // nothing: not looked into (a raw image)
    std::vector<std::string> unit_problems;  // see read_exec_start()
    std::optional<bool> settings_boot = {};  // what the settings file says of booting
    bool boots_systemd = true;               // by its own unit, as far as is known; a raw image is not looked into
    bool operator==(const Image&) const = default;
};

struct Planned {
    Plan plan;
    Obstacles obstacles;
    std::vector<Gpu> gpus;  // granted by the policy, in index order
};

// `revoked`: the running instance was detached, so the plan is at most prepared. `generation`: the one in force, empty
// while there is none. Plan::keep_directory is left to the caller.
Planned make_plan(const Policy& policy, const Driver& driver, std::string_view generation, const Image& image,
                  bool revoked);

// Every node a policy could be granted on this host; what the isolation probe tries.
std::vector<DeviceNode> all_nodes(const Driver& driver);

enum class EntryKind { directory, file, link, node, shared };
std::string_view to_string(EntryKind kind);

// One thing that must exist. Paths are absolute on the host.
struct Entry {
    EntryKind kind = EntryKind::file;
    std::string path;
    std::string content;   // file: text; link: target; shared: name below the inside directory (a hard link to it)
    DeviceNode device;     // node
    unsigned mode = 0644;  // file, node
    unsigned owner = 0;    // node: user and group
    bool operator==(const Entry&) const = default;
};

// What the plan's files need to know of the host besides the plan.
struct InsideFile {
    std::string name;    // below the inside directory: "setup", "units/cuda-nspawn-setup.service"
    std::string target;  // of a link; empty: a regular file
};
struct RenderContext {
    AdminSettings admin;  // the admin's settings file, as read by who renders
    std::vector<InsideFile> inside;
};

struct Rendered {
    std::vector<Entry> entries;       // parents before children
    std::vector<std::string> notes;   // of the settings' composing
    std::vector<std::string> errors;  // not empty: the admin's settings cannot be composed; then without our mounts
};
Rendered render(const Plan& plan, const RenderContext& context);

// Where a machine's things lie; the worker takes away what is there and in no plan.
std::string machine_directory(std::string_view machine);
std::string settings_path(std::string_view machine);           // /run/systemd/nspawn/NAME.nspawn
std::string composed_settings_path(std::string_view machine);  // /run/cuda-nspawn/settings/NAME.nspawn
std::string unit_drop_in_path(std::string_view machine);
std::string scope_drop_in_path(std::string_view machine);
std::string socket_directory(HostSocket socket);    // "nvidia-persistenced", below /run of host and guest
std::string nspawn_unit(std::string_view machine);  // systemd-nspawn@NAME.service
std::string scope_unit(std::string_view machine);   // machine-NAME.scope
std::string our_unit(std::string_view machine);     // cuda-nspawn@NAME.service

// "/dev/char/195:0": systemd resolves it by number, so no node has to exist (systemd.resource-control(5)).
std::string device_rule(const DeviceNode& node);

}  // namespace cuda_nspawn
