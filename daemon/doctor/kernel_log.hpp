// What the kernel's log says of NVIDIA's modules. Lines as journald has them, without time and host. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

// Whether a line is worth keeping: of NVIDIA's modules, of nouveau, or of a module that was refused.
bool is_of_interest(std::string_view line);

// "NVRM: Xid (PCI:0000:01:00): 79, pid=…, GPU has fallen off the bus." (NVIDIA: "XID Errors")
struct XidLine {
    unsigned number = 0;
    std::string address;  // "0000:01:00"
    std::string meaning;  // of the usual ones; empty: see NVIDIA's list
    std::string line;
    bool operator==(const XidLine&) const = default;
};
// The latest of each number and GPU.
std::vector<XidLine> find_xids(std::span<const std::string> log);

// A module of NVIDIA's that was refused for its signature (kernel: kernel/module/signing.c, security/lockdown).
std::optional<std::string> find_refused_module(std::span<const std::string> log);

}  // namespace cuda_nspawn
