// What the admin wants for a machine: one YAML file, checked. Pure: text in, Policy or diagnostics out.
// Format: docs/cuda-nspawn.yaml.5.scd
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cuda_nspawn {

enum class Capability { compute, utility, graphics, video, display, ngx, compat32 };
enum class HostSocket { persistenced, fabricmanager };
enum class SelfTestLevel { off, quick, full };
enum class OnFailure { warn, detach, stop };

std::string_view to_string(Capability value);
std::string_view to_string(HostSocket value);
std::string_view to_string(SelfTestLevel value);
std::string_view to_string(OnFailure value);
std::optional<Capability> parse_capability(std::string_view text);
std::optional<HostSocket> parse_host_socket(std::string_view text);

// One entry of `gpus:`. The index counts in PCI order, as nvidia-smi does.
struct GpuIndex {
    unsigned value;
    auto operator<=>(const GpuIndex&) const = default;
};
struct GpuUuid {
    std::string value;
    auto operator<=>(const GpuUuid&) const = default;
};  // "GPU-…", lower-case hex
struct GpuPciAddress {
    std::string value;
    auto operator<=>(const GpuPciAddress&) const = default;
};  // "0000:01:00.0", lower case
using GpuSelector = std::variant<GpuIndex, GpuUuid, GpuPciAddress>;
std::string to_string(const GpuSelector& selector);

struct Policy {
    std::string machine;            // from the file's name
    std::string path;               // the file, for messages and headers of generated files
    bool all_gpus = false;          // `gpus: all`
    std::vector<GpuSelector> gpus;  // empty and !all_gpus: `gpus: none`
    std::vector<Capability> capabilities{Capability::compute, Capability::utility};  // sorted, unique
    std::vector<HostSocket> sockets;                                                 // sorted, unique
    SelfTestLevel self_test = SelfTestLevel::quick;
    OnFailure on_failure = OnFailure::warn;

    bool wants_gpus() const { return all_gpus || !gpus.empty(); }
    bool operator==(const Policy&) const = default;
};

// A user's mistake, as data: all of them are reported at once.
struct Diagnostic {
    std::string path;
    unsigned line = 0;    // from 1; 0: the whole file
    unsigned column = 0;  // from 1; 0: the whole line
    std::string message;  // a sentence that names the thing and the way out

    bool operator==(const Diagnostic&) const = default;
};
std::string to_string(const Diagnostic& diagnostic);  // path:line:column: message

using PolicyResult = std::variant<Policy, std::vector<Diagnostic>>;

// `path` ends in NAME.yaml; NAME must be a machine name (see machine_name.hpp). `defaults` are the values
// used for keys that the text does not have.
PolicyResult parse_policy(std::string_view path, std::string_view text, const Policy& defaults = {});
// /etc/cuda-nspawn/defaults.yaml: same keys, nothing required.
std::variant<Policy, std::vector<Diagnostic>> parse_defaults(std::string_view path, std::string_view text);

}  // namespace cuda_nspawn
