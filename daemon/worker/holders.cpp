#include "worker/holders.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "elf/file_descriptor.hpp"
#include "guest/printable.hpp"
#include "worker/proc_text.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_file = std::size_t{1} << 20;  // status names up to 65536 groups before NSpid
constexpr std::size_t longest_name = 64;                    // 15 bytes, each of which may become U+FFFD
constexpr std::size_t most_notes = 16;

using Directory = std::unique_ptr<DIR, decltype(&::closedir)>;

Directory open_directory(int parent, const char* name) {
    const int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* directory = fd < 0 ? nullptr : ::fdopendir(fd);
    if (directory == nullptr && fd >= 0) ::close(fd);
    return {directory, ::closedir};
}

// Empty if it is gone.
std::string read_at(int directory, const std::string& name) {
    const FileDescriptor file(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text;
    char buffer[4096];
    ssize_t got = 0;
    while (file && text.size() < longest_file && (got = ::read(file.get(), buffer, sizeof buffer)) > 0)
        text.append(buffer, static_cast<std::size_t>(got));
    return text;
}

std::optional<unsigned> to_number(std::string_view text, int base = 10) {
    unsigned number = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), number, base);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
    return number;
}

// The unit that a cgroup belongs to: above it are slices only. What is below is its own to name, and a guest could name
// it after another machine's unit.
std::string_view unit_of(std::string_view cgroup) {
    while (!cgroup.empty()) {
        cgroup.remove_prefix(1);
        const std::string_view component = cgroup.substr(0, cgroup.find('/'));
        if (!component.ends_with(".slice")) return component;
        cgroup.remove_prefix(component.size());
    }
    return {};
}

class Search {
public:
    Search(const HoldersRequest& request, const HoldersLimits& limits)
        : request_(request), limits_(limits), files_left_(limits.files) {
        for (const auto& [machine, unit] : request.units)
            if (!unit.empty()) machines_[unit] = machine;
        for (const DeviceNode& node : request.nodes) nodes_[{node.major, node.minor}] = node.name;
    }

    Holders run(const std::filesystem::path& proc) {
        const Directory all = open_directory(AT_FDCWD, proc.c_str());
        if (!all) throw std::runtime_error(fmt::format("{} cannot be read", proc.string()));
        while (const dirent* entry = ::readdir(all.get())) {
            const auto pid = to_number(entry->d_name);
            if (!pid) continue;
            if (files_left_ == 0 || found_.holders.size() == limits_.holders) {
                note(
                    fmt::format("too much is open to see all that hold a GPU: process {} and later ones were not "
                                "looked at",
                                *pid));
                break;
            }
            // Everything is read below this descriptor: a number that is used again is another process's.
            if (const Directory process = open_directory(::dirfd(all.get()), entry->d_name))
                look_at(::dirfd(process.get()), *pid);
        }
        return std::move(found_);
    }

private:
    void look_at(int process, unsigned pid) {
        Holder holder;
        const auto machine = machines_.find(unit_of(unified_cgroup(read_at(process, "cgroup"))));
        if (machine != machines_.end()) holder.machine = machine->second;
        if (!request_.machine.empty() && holder.machine != request_.machine) return;
        const std::set<std::string> nodes = open_nodes(process, pid);
        if (nodes.empty()) return;
        holder.nodes.assign(nodes.begin(), nodes.end());
        holder.pid = pid;
        holder.pid_in_machine = holder.machine.empty() ? pid : pid_in_machine(process, pid);
        std::string name = read_at(process, "comm");
        if (name.ends_with('\n')) name.pop_back();
        holder.name = printable(name, longest_name);
        found_.holders.push_back(std::move(holder));
    }

    std::set<std::string> open_nodes(int process, unsigned pid) {
        std::set<std::string> names;
        const Directory files = open_directory(process, "fd");
        std::size_t seen = 0;
        while (const dirent* entry = files ? ::readdir(files.get()) : nullptr) {
            if (!to_number(entry->d_name)) continue;
            if (seen++ == limits_.files_of_one || files_left_ == 0) {
                note(fmt::format("process {} has too much open: {} files were looked at", pid, seen - 1));
                break;
            }
            --files_left_;
            const std::string* node = node_at(::dirfd(files.get()), entry->d_name);
            if (node != nullptr && is_open(process, entry->d_name)) names.insert(*node);
        }
        return names;
    }

    // What a descriptor is open on, asked of the kernel's own knowledge: a file system that a guest serves could keep
    // the answer for ever.
    const std::string* node_at(int files, const char* number) const {
        struct statx status{};
        if (::statx(files, number, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &status) != 0) return nullptr;
        if (!S_ISCHR(status.stx_mode)) return nullptr;
        const auto place = nodes_.find({status.stx_rdev_major, status.stx_rdev_minor});
        return place == nodes_.end() ? nullptr : &place->second;
    }

    // A descriptor with O_PATH names the node and holds no device.
    static bool is_open(int process, const std::string& number) {
        const std::string flags = status_field("\n" + read_at(process, "fdinfo/" + number), "flags");
        return (to_number(flags, 8).value_or(0) & O_PATH) == 0;
    }

    // In the machine's own process namespace, the one below the host's; there may be more within. As the kernel lists
    // them: "NSpid:\t1234\t56\t1".
    static unsigned pid_in_machine(int process, unsigned pid) {
        const std::string all = status_field(read_at(process, "status"), "NSpid");
        const std::size_t at = all.find('\t');
        if (at == std::string::npos) return pid;
        const std::string second = all.substr(at + 1, all.find('\t', at + 1) - at - 1);
        return to_number(second).value_or(0);
    }

    void note(std::string sentence) {
        if (found_.notes.size() < most_notes) found_.notes.push_back(std::move(sentence));
    }

    const HoldersRequest& request_;
    const HoldersLimits& limits_;
    std::size_t files_left_;
    std::map<std::string, std::string, std::less<>> machines_;  // by unit
    std::map<std::pair<unsigned, unsigned>, std::string> nodes_;
    Holders found_;
};

}  // namespace

Holders find_holders(const HoldersRequest& request, const std::filesystem::path& proc, const HoldersLimits& limits) {
    return Search(request, limits).run(proc);
}

}  // namespace cuda_nspawn
