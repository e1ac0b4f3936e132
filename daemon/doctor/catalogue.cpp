#include "doctor/catalogue.hpp"

#include <algorithm>

namespace cuda_nspawn {

// NOLINTNEXTLINE(readability-function-size): a table
const std::vector<CatalogueEntry>& finding_catalogue() {
    static const std::vector<CatalogueEntry> catalogue{
        // The policy: without one nothing else matters.
        {"no-policy", {}},
        {"policy-invalid", {}},
        {"policy-grants-none", {}},

        // The host's GPU and its module.
        {"no-gpu-in-host", {"no-module", "no-gpu", "driver-files-missing", "gpu-not-found"}},
        {"gpu-taken-by-vfio", {"no-gpu", "gpu-not-found", "no-module"}},
        {"nouveau-in-the-way", {"no-module", "no-gpu"}},
        {"module-refused", {"no-module", "uvm-missing"}},
        {"no-module", {"driver-files-missing", "version-mismatch", "uvm-missing", "gpu-not-found", "no-gpu"}},
        {"gpu-off-the-bus", {"no-gpu", "gpu-not-found", "self-test-failed", "no-verdict", "gpu-error"}},
        {"no-gpu", {"gpu-not-found"}},
        {"driver-files-missing", {"driver-part-missing", "version-mismatch"}},
        {"version-mismatch", {"driver-part-missing", "self-test-failed"}},
        {"driver-not-copied", {"driver-part-missing"}},
        {"uvm-missing", {"self-test-failed", "rule-missing"}},
        {"cgroup-v1", {"rule-missing", "self-test-failed", "no-verdict"}},
        {"driver-part-missing", {"self-test-failed"}},
        {"fabric-manager-missing", {"self-test-failed", "socket-missing"}},
        {"gpu-in-mig-mode", {"self-test-failed", "gpu-not-found"}},
        {"gpu-not-found", {}},
        {"gpu-error", {"self-test-failed", "no-verdict"}},
        {"iommu-in-the-way", {"self-test-failed"}},
        {"host-node-stale", {}},
        {"socket-missing", {}},

        // The image.
        {"no-image", {"machine-not-started", "step-failed"}},
        {"guest-empty", {"machine-not-started", "step-failed"}},
        {"guest-nixos", {}},
        {"guest-musl", {"guest-no-ldconfig", "self-test-failed", "no-verdict"}},
        {"guest-no-glibc", {"guest-no-ldconfig"}},
        {"guest-other-architecture", {"machine-not-started"}},
        {"guest-glibc-too-old", {"self-test-failed", "guest-library-unusable"}},
        {"guest-no-ldconfig", {"loader-cache-stale"}},

        // The machine's settings and unit.
        {"settings-broken", {"settings-collide"}},
        {"settings-collide", {}},
        {"exec-start-defeats", {"rule-missing", "mounts-missing", "self-test-failed"}},
        {"bind-source-missing", {"machine-not-started", "step-failed"}},
        {"start-refused-after-kill", {"machine-not-started", "step-failed"}},
        {"device-rules-elsewhere",
         {"machine-not-started", "step-failed", "rule-missing", "self-test-failed", "rule-came-too-early",
          "rule-has-stale-number"}},
        {"rules-left-over", {"rule-has-stale-number", "rule-missing"}},
        {"rule-came-too-early", {"self-test-failed"}},
        {"rule-has-stale-number", {}},
        {"system-calls-denied", {"self-test-failed", "no-verdict"}},
        {"node-bound-by-hand", {"self-test-failed"}},
        {"library-directory-bound", {"self-test-failed", "host-library-bound"}},
        {"host-library-bound", {"self-test-failed", "libcuda-in-the-way", "guest-libcuda"}},
        {"settings-ignored", {}},
        {"machine-not-started", {"step-failed"}},

        // The machine while it runs.
        {"detached", {}},
        {"mounts-missing", {"loader-cache-stale", "self-test-failed", "no-verdict"}},
        {"rule-missing", {"self-test-failed"}},

        // What is in the guest.
        {"libcuda-in-the-way",
         {"self-test-failed", "guest-libcuda", "guest-stub", "guest-compat", "guest-empty-library",
          "compat-does-not-fit"}},
        {"loader-cache-stale", {"self-test-failed"}},
        {"library-path-wins", {"guest-libcuda", "guest-stub", "guest-compat"}},
        {"library-preloaded", {"guest-libcuda", "guest-stub", "guest-compat"}},
        {"gpus-hidden", {"self-test-failed"}},
        {"guest-library-unusable", {"self-test-failed"}},

        // A program that was asked about.
        {"program-missing", {}},
        {"program-other-architecture", {"program-no-loader", "program-library-missing"}},
        {"program-32-bit", {"program-no-loader", "program-library-missing"}},
        {"program-musl", {"program-no-loader", "program-library-missing"}},
        {"program-no-loader", {"program-library-missing"}},
        {"program-needs-newer-glibc", {}},
        {"program-finds-other-libcuda",
         {"guest-libcuda", "guest-stub", "guest-compat", "library-path-wins", "compat-does-not-fit"}},
        {"program-library-missing", {}},
        {"program-needs-newer-driver", {"toolkit-needs-newer-driver", "packages-need-newer-driver"}},

        // CUDA in the guest, against driver and GPU.
        {"toolkit-needs-newer-driver", {}},
        {"packages-need-newer-driver", {}},
        {"compat-does-not-fit", {"self-test-failed", "guest-compat"}},
        {"toolkit-too-old-for-gpu", {}},
        {"guest-compat", {}},
        {"guest-stub", {}},
        {"guest-libcuda", {}},
        {"guest-empty-library", {"self-test-failed"}},
        {"nested-containers", {}},
        {"driver-newer-than-table", {}},

        // What no rule explains.
        {"self-test-failed", {}},
        {"no-verdict", {}},
        {"gpu-busy", {}},
        {"blocked", {}},
        {"step-failed", {}},
        {"not-examined", {}},
    };
    return catalogue;
}

std::size_t rank_of(std::string_view code) {
    const auto& catalogue = finding_catalogue();
    return static_cast<std::size_t>(
        std::distance(catalogue.begin(), std::ranges::find(catalogue, code, &CatalogueEntry::code)));
}

bool explains(std::string_view code, std::string_view other) {
    const auto& catalogue = finding_catalogue();
    const auto place = std::ranges::find(catalogue, code, &CatalogueEntry::code);
    return place != catalogue.end() && std::ranges::find(place->explains, other) != place->explains.end();
}

}  // namespace cuda_nspawn
