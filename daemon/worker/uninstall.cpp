#include "worker/uninstall.hpp"

#include <fmt/format.h>

#include <set>
#include <sstream>
#include <utility>

#include "policy/machine_name.hpp"
#include "worker/tree.hpp"

namespace cuda_nspawn {

namespace {

constexpr std::string_view state_directory = "/run/cuda-nspawn/state";
constexpr std::string_view control_suffix = ".control";

// What is between the two in the names of a directory's entries, where that is a machine's name.
void add_machines(std::set<std::string>& machines, const std::filesystem::path& directory, std::string_view before,
                  std::string_view after) {
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error)) {
        std::string name = entry->path().filename();
        if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after))
            continue;
        name = name.substr(before.size(), name.size() - before.size() - after.size());
        if (is_machine_name(name)) machines.insert(std::move(name));
    }
}

// A machine that runs has its directory mounted, and takes itself back by what is in it.
void remove_names(const std::set<std::string>& machines, const ExposeHost& host, std::vector<std::string>& failures) {
    ExposeRequest request;
    for (const std::string& machine : machines) {
        Plan plan;
        plan.machine = machine;
        plan.keep_directory = std::filesystem::exists(host.root / machine_directory(machine).substr(1));
        request.plans.push_back(std::move(plan));
    }
    // What the files name goes only once they are gone: Exposed::incomplete.
    expose(request, host);
    for (const auto& [machine, exposed] : expose(request, host))
        if (!exposed.failure.empty()) failures.push_back(fmt::format("{}: {}", machine, exposed.failure));
}

void release_rules(const ExposeHost& host, std::vector<std::string>& failures) {
    Tree tree(host.root, "");
    for (const std::string& path : tree.list(std::string(state_directory))) {
        if (!path.ends_with(control_suffix)) continue;
        std::string unit = path.substr(state_directory.size() + 1);
        unit.resize(unit.size() - control_suffix.size());
        try {
            ExposeRequest request;
            request.releases[unit] = parse_control_file(tree.read(path).value_or(""));
            expose(request, host);
            tree.remove(path);
        } catch (const std::exception& error) {
            failures.push_back(fmt::format("{}: {}", unit, error.what()));
        }
    }
}

}  // namespace

std::vector<std::string> uninstall(const ExposeHost& host) {
    std::set<std::string> machines;
    std::vector<std::string> failures;
    add_machines(machines, host.root / "run/cuda-nspawn/machines", "", "");
    add_machines(machines, host.root / "run/systemd/nspawn", "", ".nspawn");
    add_machines(machines, host.root / "run/systemd/system", "systemd-nspawn@", ".service.d");
    remove_names(machines, host, failures);
    release_rules(host, failures);
    return failures;
}

}  // namespace cuda_nspawn
