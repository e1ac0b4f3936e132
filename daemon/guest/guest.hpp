// What is known of a machine's root file system, from evidence read through a GuestTree.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

// Everything read from a root file system goes through one of these. Paths are absolute as the guest sees them;
// links are resolved inside the guest's root, whatever they say.
class GuestTree {
public:
    virtual ~GuestTree() = default;
    // A regular file's content, at most `limit` bytes of it; nothing if it is absent, not regular, or not readable.
    virtual std::optional<std::string> read(std::string_view path, std::size_t limit) const = 0;
    // Names in a directory (no . and ..), at most `limit`, sorted; empty if it is none.
    virtual std::vector<std::string> list(std::string_view path, std::size_t limit) const = 0;
    // Whether the path leads to something that is no directory / a directory.
    virtual bool is_file(std::string_view path) const = 0;
    virtual bool is_directory(std::string_view path) const = 0;
};

enum class Libc { none, glibc, musl };

struct Guest {
    std::string os_id;    // os-release ID, "" when unknown
    std::string os_name;  // PRETTY_NAME, cleaned of control characters, at most 128 characters
    Libc libc = Libc::none;
    std::string libc_version;  // "2.36", "" when not found
    std::string architecture;  // of the dynamic loader/libc found: "x86-64", "aarch64", "x86", "other", "" unknown
    bool has_systemd = false;  // a systemd that boots: /usr/lib/systemd/systemd or /lib/systemd/systemd
    bool has_ldconfig = false;
    bool operator==(const Guest&) const = default;
};

Guest examine_guest(const GuestTree& tree);

// Why this guest cannot run the driver, as a sentence with the way out; nothing if it can.
// host_architecture in Guest's words ("x86-64").
std::optional<std::string> guest_problem(const Guest& guest, std::string_view host_architecture);

}  // namespace cuda_nspawn
