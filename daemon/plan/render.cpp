// A plan as the complete list of what must exist on the host. docs/design.md, "What it puts where".
#include <fmt/format.h>

#include <iterator>
#include <set>

#include "driver/generation.hpp"
#include "names.hpp"
#include "plan/plan.hpp"

namespace cuda_nspawn {

namespace {

std::string header(const Plan& plan) { return fmt::format("{}{}\n", names::generated_mark, plan.policy_path); }

Entry directory(std::string path) { return {EntryKind::directory, std::move(path), "", {}}; }
Entry file(std::string path, std::string text) { return {EntryKind::file, std::move(path), std::move(text), {}}; }

std::string loader_text(const Plan& plan) {
    std::string text = header(plan);
    for (const Capability capability : plan.capabilities)
        text += fmt::format(
            "{}/driver/{}/{}\n", names::guest_directory, to_string(capability),
            generation_folder(capability == Capability::compat32 ? FileKind::library32 : FileKind::library));
    return text;
}

// What has a name of its own in the guest, and where it is.
std::string guest_links(const Plan& plan) {
    std::string text;
    for (const Capability capability : plan.capabilities)
        if (capability == Capability::utility)
            text += fmt::format("/usr/bin/nvidia-smi\t{}/driver/utility/bin/nvidia-smi\n", names::guest_directory);
    for (const HostSocket socket : plan.sockets)
        text += fmt::format("/run/{0}\t{1}/sockets/{0}\n", socket_directory(socket), names::guest_directory);
    return text;
}

void add_parents(std::set<std::string>& made, std::vector<Entry>& entries, const std::string& base,
                 std::string_view relative) {
    for (std::size_t slash = relative.find('/'); slash != std::string_view::npos;
         slash = relative.find('/', slash + 1)) {
        std::string path = fmt::format("{}/{}", base, relative.substr(0, slash));
        if (made.insert(path).second) entries.push_back(directory(std::move(path)));
    }
}

void render_machine_directory(const Plan& plan, const RenderContext& context, std::vector<Entry>& entries) {
    const std::string base = machine_directory(plan.machine);
    std::set<std::string> made;
    entries.push_back(directory(base));
    entries.push_back(directory(base + "/dev"));
    entries.push_back(directory(base + "/guest"));
    for (const InsideFile& inside : context.inside) {
        add_parents(made, entries, base + "/guest", inside.name);
        std::string path = fmt::format("{}/guest/{}", base, inside.name);
        if (inside.target.empty())
            entries.push_back({EntryKind::shared, std::move(path), inside.name, {}});
        else
            entries.push_back({EntryKind::link, std::move(path), inside.target, {}});
    }
    for (const DeviceNode& node : plan.nodes) {
        add_parents(made, entries, base + "/dev", node.name);
        entries.push_back(
            {EntryKind::node, fmt::format("{}/dev/{}", base, node.name), "", node, plan.node_mode, plan.node_owner});
    }
    if (!plan.sockets.empty()) entries.push_back(directory(base + "/sockets"));
    for (const HostSocket socket : plan.sockets) {
        const std::string name = fmt::format("sockets/{}", socket_directory(socket));
        entries.push_back(directory(fmt::format("{}/{}", base, name)));
        entries.push_back({EntryKind::shared, fmt::format("{}/{}/socket", base, name), name, {}});
    }
    if (plan.generation.empty()) return;
    entries.push_back(
        {EntryKind::link, base + "/driver", fmt::format("{}/{}", names::guest_store, plan.generation), {}});
    entries.push_back(file(base + "/guest/ld.so.conf", loader_text(plan)));
    entries.push_back(file(base + "/guest/links", guest_links(plan)));
}

std::string unit_drop_in(const Plan& plan, const AdminSettings& admin, bool mounts) {
    std::string text = header(plan) + fmt::format("[Unit]\nWants={}\n", our_unit(plan.machine));
    text += "[Service]\n";
    for (const DeviceNode& node : plan.nodes) text += fmt::format("DeviceAllow={} rw\n", device_rule(node));
    if (mounts && admin.origin == SettingsOrigin::trusted)
        text += fmt::format("BindReadOnlyPaths={}:{}\n", composed_settings_path(plan.machine), admin.path);
    return text;
}

std::string scope_drop_in(const Plan& plan) {
    std::string text = header(plan) + fmt::format("[Unit]\nWants={0}\nPropagatesStopTo={0}\n", our_unit(plan.machine));
    text += "[Scope]\n";
    for (const DeviceNode& node : plan.nodes) text += fmt::format("DeviceAllow={} rw\n", device_rule(node));
    return text;
}

}  // namespace

Rendered render(const Plan& plan, const RenderContext& context) {
    Rendered rendered;
    if (!plan.present) {
        if (plan.keep_directory) render_machine_directory(plan, context, rendered.entries);
        return rendered;
    }
    bool mounts = plan.mounts;
    ComposedSettings composed;
    if (mounts) {
        composed = compose_settings(plan.machine, plan.policy_path, context.admin, machine_directory(plan.machine),
                                    names::store_directory);
        rendered.notes = composed.notes;
        for (const Diagnostic& error : composed.errors) rendered.errors.push_back(to_string(error));
        mounts = composed.errors.empty();
    }
    // Without our mounts a grant would be a door without a house: the machine is left as it would be without us, but
    // for the pull of cuda-nspawn@NAME.service, whose failure text tells why.
    Plan effective = plan;
    if (!mounts) effective.nodes.clear(), effective.generation.clear(), effective.sockets.clear();
    // A guest that runs has the directory bound: it would not see a new one.
    if (plan.mounts || plan.keep_directory) render_machine_directory(effective, context, rendered.entries);
    if (mounts) {
        const bool beside_admin = context.admin.origin == SettingsOrigin::trusted;
        rendered.entries.push_back(
            file(beside_admin ? composed_settings_path(plan.machine) : settings_path(plan.machine), composed.text));
        rendered.entries.back().mode = 0600;  // it has the admin's text, which may be for root alone
    }
    rendered.entries.push_back(file(unit_drop_in_path(plan.machine), unit_drop_in(effective, context.admin, mounts)));
    rendered.entries.push_back(file(scope_drop_in_path(plan.machine), scope_drop_in(effective)));
    return rendered;
}

}  // namespace cuda_nspawn
