// What the guest does with the driver that it is lent.
#include "doctor/guest_rules.hpp"

#include <fmt/format.h>

#include "doctor/guest_facts.hpp"
#include "doctor/rules.hpp"
#include "names.hpp"

namespace cuda_nspawn {
namespace {

// nvidia-ctk would look for the driver where packages put it, and find nothing.
void find_nested_containers(const Evidence& evidence, Findings& findings) {
    if (!evidence.software || evidence.software->container_tools.empty() || evidence.software->has_cdi_spec) return;
    const std::string& tool = evidence.software->container_tools.front();
    Finding finding{.code = "nested-containers",
                    .severity = FindingSeverity::info,
                    .text = fmt::format("The guest has {} and no CDI specification of kind nvidia.com/gpu, so its "
                                        "containers get no GPU by themselves.",
                                        shown(file_name_of(tool)))};
    for (const std::string& path : evidence.software->container_tools) finding.evidence.push_back(shown(path));
    finding.evidence.emplace_back("/etc/cdi, /var/run/cdi: nothing of kind nvidia.com/gpu");
    finding.fix = fmt::format(
        "Write a CDI specification in the machine's /etc/cdi, or give a container what it needs by hand: -v "
        "{0}:{0}:ro -v {1}:{1}:ro -e LD_LIBRARY_PATH={0}/driver/compute/lib, and a --device for each "
        "/dev/nvidia* of the machine; there is no nvidia-ctk for this",
        names::guest_directory, names::guest_store);
    findings.push_back(std::move(finding));
}

// Nothing was found there, since nobody looked.
void find_cut_short(const Evidence& evidence, Findings& findings) {
    if (!evidence.software || evidence.software->notes.empty()) return;
    findings.push_back({.code = "not-examined",
                        .severity = FindingSeverity::warning,
                        .text = fmt::format("Not all of the guest was looked at, as there is too much of it: {}",
                                            evidence.software->notes.front()),
                        .evidence = evidence.software->notes,
                        .fix =
                            "What was not looked at may hold a libcuda or packages of its own: ask about the program "
                            "that fails (cuda-nspawnctl diagnose --program)"});
}

}  // namespace

void find_in_guest(const Evidence& evidence, Findings& findings) {
    find_cut_short(evidence, findings);
    find_in_loader(evidence, findings);
    find_in_environment(evidence, findings);
    find_in_libraries(evidence, findings);
    find_idle_compat(evidence, findings);
    find_nested_containers(evidence, findings);
}

}  // namespace cuda_nspawn
