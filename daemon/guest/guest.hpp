// What is known of a machine's root file system, from evidence read through a GuestTree.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/bytes.hpp"

namespace cuda_nspawn {

enum class FileType { directory, regular, other };

// What a path leads to, links followed.
struct TreeEntry {
    FileType type = FileType::other;
    std::uint64_t device = 0;  // with the inode, the same for all paths that lead here
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::string real_name = {};     // the last component of where it really is
    std::string real_path = {};     // where it really is, as the guest sees it; "" when that cannot be told
    std::int64_t changed_nsec = 0;  // ctime
};

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
    virtual std::optional<TreeEntry> find(std::string_view path) const = 0;
    // A regular file, to read pieces of; nothing as for read().
    virtual std::unique_ptr<Bytes> open(std::string_view path) const = 0;
};

enum class Libc { none, glibc, musl };

// copy: of a driver, as its packages install it; compat, stub: of a CUDA toolkit; empty: a file of no bytes, as is
// left where something was bound over a name that was not there.
enum class BundledKind { copy, compat, stub, empty };

// A library in the guest that has the name of one of the driver's.
struct BundledLibrary {
    std::string path;
    std::string version;  // "535.183.01", from the name of the file that it is; "" when that does not say
    BundledKind kind = BundledKind::copy;
    bool operator==(const BundledLibrary&) const = default;
};

struct Toolkit {
    std::string path;
    std::string version;  // "12.4.1"
    bool operator==(const Toolkit&) const = default;
};

struct Guest {
    std::string os_id;    // os-release ID, "" when unknown
    std::string os_name;  // PRETTY_NAME, cleaned of control characters, at most 128 characters
    Libc libc = Libc::none;
    std::string libc_version;  // "2.36", "" when not found
    std::string architecture;  // of the dynamic loader/libc found: "x86-64", "aarch64", "x86", "other", "" unknown
    bool has_systemd = false;  // a systemd that boots: /usr/lib/systemd/systemd or /lib/systemd/systemd
    bool has_ldconfig = false;
    // Where its loader looks, in that order, and how many of them come before what our fragment would name.
    std::vector<std::string> library_directories = {};
    std::size_t before_fragment = 0;
    std::vector<BundledLibrary> bundled = {};  // in these and where toolkits and others have them
    std::vector<Toolkit> toolkits = {};
    bool operator==(const Guest&) const = default;
};

Guest examine_guest(const GuestTree& tree);

// Why this guest cannot run the driver, as a sentence with the way out; nothing if it can.
// host_architecture in Guest's words ("x86-64").
std::optional<std::string> guest_problem(const Guest& guest, std::string_view host_architecture);

// What is odd about it and may make a program fail that the self-test does not know of; a sentence each.
std::vector<std::string> guest_warnings(const Guest& guest);

}  // namespace cuda_nspawn
