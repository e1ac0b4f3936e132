#include "worker/examine.hpp"

#include <fmt/format.h>

#include <exception>
#include <utility>

#include "guest/rootfs_reader.hpp"
#include "policy/machine_name.hpp"
#include "worker/examined_cache.hpp"
#include "worker/image_mount.hpp"
#include "worker/images.hpp"

namespace cuda_nspawn {

namespace {

namespace fs = std::filesystem;

Examined look_into(const GuestTree& tree, const ExamineRequest& request) {
    Examined examined;
    examined.guest = examine_guest(tree);
    if (examined.guest->libc != Libc::glibc) return examined;
    examined.software = examine_software(tree, *examined.guest);
    if (!request.program.empty())
        examined.program =
            examine_program(tree, *examined.guest, *examined.software, request.program, request.library_path);
    return examined;
}

Examined look_remembering(const GuestTree& tree, const std::string& machine, const std::string& image,
                          const ExamineRequest& request, const ExaminedCache& cache) {
    if (auto known = cache.find(machine, image, tree)) return *known;
    const RecordingTree recording(tree);
    Examined examined = look_into(recording, request);
    examined.path = image;
    // A look that was cut short may have been so by a slow disk.
    if (!examined.software || examined.software->notes.empty()) cache.keep(machine, examined, recording);
    return examined;
}

Examined examine_machine(const std::string& machine, const ExamineRequest& request, const ExamineHost& host) {
    Examined examined;
    const std::string image = find_image(host.root, machine);
    const fs::path place = host.root / (image.empty() ? "" : image.substr(1));
    examined.path = image;
    if (image.empty()) return examined;
    try {
        std::optional<ImageMount> mounted;
        if (!fs::is_directory(place)) {
            if (!request.images) return examined;
            mounted.emplace(place);
        }
        const RootfsReader tree(mounted ? mounted->place() : place,
                                mounted ? RootfsReader::Mounts::are_entered : RootfsReader::Mounts::are_absent);
        const bool is_audit = request.machines.empty() && !mounted && !host.cache.empty();
        examined = is_audit ? look_remembering(tree, machine, image, request, ExaminedCache(host.cache))
                            : look_into(tree, request);
        examined.path = image;
    } catch (const std::exception& error) {
        examined.failure = error.what();
    }
    return examined;
}

}  // namespace

ExamineReport examine(const ExamineRequest& request, const ExamineHost& host) {
    const bool is_audit = request.machines.empty();
    const std::vector<std::string> machines = is_audit ? list_images(host.root) : request.machines;
    ExamineReport report;
    for (const std::string& machine : machines)
        if (is_machine_name(machine)) report[machine] = examine_machine(machine, request, host);
    if (is_audit && !host.cache.empty()) ExaminedCache(host.cache).forget_others(machines);
    return report;
}

// --- what was asked for ----------------------------------------------------------------------------------------------

void RecordingTree::note(std::string_view path) const {
    if (known_.find(path) != known_.end()) return;
    known_.emplace(path);
    stamp_.add(tree_, path);
    paths_.emplace_back(path);
}

std::vector<std::string> RecordingTree::paths() const { return paths_; }

std::optional<std::string> RecordingTree::read(std::string_view path, std::size_t limit) const {
    note(path);
    return tree_.read(path, limit);
}
std::vector<std::string> RecordingTree::list(std::string_view path, std::size_t limit) const {
    note(path);
    return tree_.list(path, limit);
}
bool RecordingTree::is_file(std::string_view path) const {
    note(path);
    return tree_.is_file(path);
}
bool RecordingTree::is_directory(std::string_view path) const {
    note(path);
    return tree_.is_directory(path);
}
std::optional<TreeEntry> RecordingTree::find(std::string_view path) const {
    note(path);
    return tree_.find(path);
}
std::unique_ptr<Bytes> RecordingTree::open(std::string_view path) const {
    note(path);
    return tree_.open(path);
}

// FNV-1a, 64 bits: it tells states apart, and protects from nobody. A guest that forges its own ctime deceives the
// audit of itself.
void Stamp::add(const GuestTree& tree, std::string_view path) {
    const TreeEntry entry = tree.find(path).value_or(TreeEntry{});
    for (const std::uint64_t value : {static_cast<std::uint64_t>(entry.type), entry.device, entry.inode, entry.size,
                                      static_cast<std::uint64_t>(entry.changed_nsec)})
        for (int shift = 0; shift < 64; shift += 8) sum_ = (sum_ ^ ((value >> shift) & 0xff)) * 0x100000001b3;
}

std::string Stamp::text() const { return fmt::format("{:016x}", sum_); }

std::string stamp_of(const GuestTree& tree, const std::vector<std::string>& paths) {
    Stamp stamp;
    for (const std::string& path : paths) stamp.add(tree, path);
    return stamp.text();
}

}  // namespace cuda_nspawn
