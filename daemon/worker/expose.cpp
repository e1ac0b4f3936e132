#include "worker/expose.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <sstream>
#include <utility>

#include "driver/generation.hpp"
#include "names.hpp"
#include "policy/machine_name.hpp"
#include "worker/images.hpp"
#include "worker/tree.hpp"
#include "worker/unified_diff.hpp"

namespace cuda_nspawn {

namespace {

constexpr std::size_t most_text = std::size_t{2} << 20;  // of a machine, that is compared for diffs
constexpr std::string_view inside_directory = "/run/cuda-nspawn/machines/.inside";

std::vector<InsideFile> list_inside(const std::filesystem::path& directory) {
    std::vector<InsideFile> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
        const std::string name = entry.path().lexically_relative(directory);
        if (entry.is_symlink())
            files.push_back({name, std::filesystem::read_symlink(entry.path())});
        else if (entry.is_regular_file())
            files.push_back({name, ""});
    }
    std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    return files;
}

// One machine's part of a request.
class Exposing {
public:
    Exposing(Tree& tree, const Plan& plan, const RenderContext& context, const ExposeRequest& request)
        : tree_(tree),
          plan_(plan),
          rendered_(render(plan, context)),
          dry_run_(request.dry_run),
          text_left_(request.diff ? most_text : 0) {
        for (const Entry& entry : rendered_.entries) wanted_.insert(entry.path);
        for (const InsideFile& file : context.inside)
            copies_.insert(fmt::format("{}/guest/{}", machine_directory(plan.machine), file.name));
    }

    Exposed run() {
        guest_sees_change_ = tree_.exists(unfinished_path());
        result_.notes = rendered_.notes;
        result_.errors = rendered_.errors;
        for (const std::string& path : {unit_drop_in_path(plan_.machine), scope_drop_in_path(plan_.machine),
                                        settings_path(plan_.machine), composed_settings_path(plan_.machine)})
            if (!dry_run_) tree_.remove_leftover(path);
        // A start that has read a settings file or drop-in of ours must find what they name. So they go first, and what
        // they name at the next run.
        bool was_named = remove_generated(unit_drop_in_path(plan_.machine), true);
        was_named = remove_generated(scope_drop_in_path(plan_.machine), true) || was_named;
        was_named = remove_generated(settings_path(plan_.machine), false) || was_named;
        result_.incomplete = was_named && !plan_.present && !dry_run_;
        if (result_.incomplete) wanted_.insert(machine_directory(plan_.machine));
        // Taking away comes first: a door that is closed in the cgroup already must not be left in the guest's sight.
        remove_stale(machine_directory(plan_.machine));
        for (const Entry& entry : rendered_.entries) make(entry);
        if (!result_.incomplete) remove_generated(composed_settings_path(plan_.machine), false);
        bump_epoch();
        if (!dry_run_) tree_.remove(unfinished_path());
        return std::move(result_);
    }

private:
    void note(std::string type, const std::string& path, std::string detail) {
        result_.changes.push_back({std::move(type), path, std::move(detail)});
        if (path.starts_with(machine_directory(plan_.machine) + "/")) guest_will_see_change();
        result_.units_changed = result_.units_changed || path.starts_with("/run/systemd/system/");
    }

    // Before the first change: who goes on after a kill finds it done, and must tell the guest all the same.
    void guest_will_see_change() {
        if (std::exchange(guest_sees_change_, true) || dry_run_ || !tree_.exists(epoch_path())) return;
        if (wanted_.contains(machine_directory(plan_.machine)))
            tree_.make({EntryKind::file, unfinished_path(), "", {}});
    }

    std::string unfinished_path() const { return machine_directory(plan_.machine) + "/.unfinished"; }

    std::string detail(const Entry& entry) const {
        if (entry.kind == EntryKind::node)
            return fmt::format("node {}:{}{}", entry.device.major, entry.device.minor,
                               plan_.is_restricted() ? fmt::format(", {:04o} of {}", entry.mode, entry.owner) : "");
        if (entry.kind == EntryKind::link) return fmt::format("link to {}", entry.content);
        return std::string(to_string(entry.kind));
    }

    void make(const Entry& entry) {
        if (tree_.holds(entry)) return;
        const std::string diff = entry.kind == EntryKind::file ? diff_of(entry.path, entry.content) : "";
        note(tree_.exists(entry.path) ? "replace" : "create", entry.path, diff.empty() ? detail(entry) : diff);
        if (!dry_run_) tree_.make(entry);
    }

    // Empty if none is asked for, or this is no text. A guest may have put anything in the place of its files, as much
    // as it likes.
    std::string diff_of(const std::string& path, const std::optional<std::string>& after) {
        if (text_left_ == 0 || copies_.contains(path)) return "";
        std::optional<std::string> before;
        if (tree_.is_file(path)) before = tree_.read(path, text_left_);
        const std::size_t size = (before ? before->size() : 0) + (after ? after->size() : 0);
        if (size >= text_left_) return "";
        text_left_ -= size;
        if ((before && !is_text(*before)) || (after && !is_text(*after))) return "";
        return unified_diff(path, before, after);
    }

    void remove(const std::string& path) {
        note("remove", path, diff_of(path, std::nullopt));
        if (!dry_run_) tree_.remove(path);
    }

    void remove_stale(const std::string& directory) {
        const std::string epoch = epoch_path();
        for (const std::string& path : tree_.list(directory)) {
            const bool kept = (path == epoch && wanted_.contains(directory + "/guest")) ||
                              (path == unfinished_path() && wanted_.contains(directory));
            if (!wanted_.contains(path) && !kept) remove(path);
        }
        if (!wanted_.contains(directory) && tree_.exists(directory)) remove(directory);
    }

    // A file of ours that the plan does not have. What lacks our mark is the admin's.
    bool remove_generated(const std::string& path, bool with_directory) {
        if (wanted_.contains(path)) return false;
        const auto text = tree_.read(path);
        if (!text || !text->starts_with(names::generated_mark)) return false;
        remove(path);
        if (with_directory && !dry_run_) tree_.remove_directory_if_empty(path.substr(0, path.rfind('/')));
        return true;
    }

    std::string epoch_path() const { return machine_directory(plan_.machine) + "/guest/epoch"; }

    // The guest's set-up answers with the number it saw, so it never repeats, not even when a directory is made anew.
    void bump_epoch() {
        if (!wanted_.contains(epoch_path().substr(0, epoch_path().rfind('/')))) return;
        const std::string present = tree_.read(epoch_path()).value_or("");
        result_.epoch = present.empty() ? 0 : std::strtoull(present.c_str(), nullptr, 10);
        if (dry_run_ || (!guest_sees_change_ && result_.epoch != 0)) return;
        const auto now =
            std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch());
        result_.epoch = std::max(result_.epoch + 1, static_cast<std::uint64_t>(now.count()));
        tree_.write_in_place(epoch_path(), fmt::format("{:020}\n", result_.epoch));
    }

    Tree& tree_;
    const Plan& plan_;
    Rendered rendered_;
    bool dry_run_;
    std::size_t text_left_;         // how much more is compared
    std::set<std::string> copies_;  // paths of what every machine has, and is not ours to explain
    bool guest_sees_change_ = false;
    std::set<std::string> wanted_;
    Exposed result_;
};

struct RuleFile {
    std::string text;
    std::set<std::string> rules;  // "PATH ACCESS"; systemd does not keep their order
};

// Only rules by number, as we make them, are ever taken out.
RuleFile without_rules(const std::string& text, const std::vector<std::string>& paths) {
    constexpr std::string_view key = "DeviceAllow=";
    RuleFile rest;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const std::string rule = line.starts_with(key) ? line.substr(key.size()) : "";
        const std::string path = rule.substr(0, rule.find(' '));
        if (path.starts_with("/dev/char/") && std::find(paths.begin(), paths.end(), path) != paths.end()) continue;
        if (!rule.empty()) rest.rules.insert(rule);
        rest.text += line + "\n";
    }
    return rest;
}

bool is_control_file_unit(const std::string& unit) {
    const bool known = unit.starts_with("systemd-nspawn@") || unit.starts_with("machine-");
    return known && unit.find('/') == std::string::npos && unit.size() < 256;
}

// systemd keeps what SetUnitProperties set in a file that would outlive the instance (systemd 252 to 257): always the
// whole list, so what an admin sets after us has our rules in it, and what we set has the admin's.
void release(Tree& tree, const std::string& unit, const ControlFile& control) {
    if (!is_control_file_unit(unit)) throw std::runtime_error(fmt::format("{} is no machine's unit", unit));
    for (const std::string_view base : {"/run/systemd/system.control", "/etc/systemd/system.control"}) {
        const std::string directory = fmt::format("{}/{}.d", base, unit);
        const std::string path = directory + "/50-DeviceAllow.conf";
        tree.remove_leftover(path);
        const auto text = tree.read(path);
        if (!text) continue;
        const RuleFile rest = without_rules(*text, control.ours);
        if (!control.existed && rest.rules == std::set(control.own.begin(), control.own.end())) {
            tree.remove(path);
            tree.remove_directory_if_empty(directory);
        } else if (rest.text != *text) {
            tree.make({EntryKind::file, path, rest.text, {}});
        }
    }
}

}  // namespace

std::string plan_error(const Plan& plan, const ExposeHost& host, bool dry_run) {
    if (const auto error = machine_name_error(plan.machine)) return *error;
    const bool clean_path = plan.policy_path.find_first_of("\n\r") == std::string::npos;
    if (!clean_path || (plan.present && !plan.policy_path.starts_with('/')))
        return fmt::format("\"{}\" is no path of a policy", plan.policy_path);
    if (!plan.generation.empty()) {
        const auto store = host.root / names::store_directory.substr(1);
        // Whether it is whole looks the daemon, which can mend it.
        if (dry_run ? !is_generation_name(plan.generation) : !generation_is_stored(plan.generation, store))
            return fmt::format("the store has no generation \"{}\"", plan.generation);
    }
    const std::vector<DeviceNode> known = all_nodes(host.driver);
    for (const DeviceNode& node : plan.nodes)
        if (std::find(known.begin(), known.end(), node) == known.end())
            return fmt::format("{} ({}:{}) is no NVIDIA device of this host", node.name, node.major, node.minor);
    if (!plan.nodes.empty() && plan.node_mode != host.driver.node_mode)
        return fmt::format("nodes of mode {:04o} are not what the NVIDIA kernel module was told ({:04o})",
                           plan.node_mode, host.driver.node_mode);
    if (plan.node_owner != 0 && plan.node_owner != host.find_root(plan.machine))
        return fmt::format("user {} is not the root of {}", plan.node_owner, plan.machine);
    return "";
}

ExposeReport expose(const ExposeRequest& request, const ExposeHost& host) {
    Tree tree(host.root, std::string(inside_directory));
    RenderContext context;
    context.inside = list_inside(host.inside);
    ComparedFiles none;
    ComparedFiles& compared = host.compared != nullptr ? *host.compared : none;
    if (!request.dry_run)
        for (const InsideFile& file : context.inside)
            if (file.target.empty()) tree.share(host.inside / file.name, file.name, compared);
    ExposeReport report;
    for (const Plan& plan : request.plans) {
        Exposed& result = report[plan.machine];
        try {
            result.failure = plan_error(plan, host, request.dry_run);
            if (!result.failure.empty()) continue;
            for (const HostSocket socket : plan.sockets)
                if (!tree.exists(fmt::format("{}/sockets/{}", inside_directory, socket_directory(socket))))
                    throw std::runtime_error(
                        fmt::format("cuda-nspawn-proxy@{0}.socket does not listen: start it, or see systemctl status "
                                    "cuda-nspawn-proxy@{0}.socket",
                                    socket_directory(socket)));
            context.admin = read_admin_settings(tree, plan.machine, find_image(host.root, plan.machine));
            result = Exposing(tree, plan, context, request).run();
        } catch (const std::exception& error) {
            result.failure = error.what();
        }
    }
    for (const auto& [unit, control] : request.releases) release(tree, unit, control);
    return report;
}

}  // namespace cuda_nspawn
