#include <elf.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "driver/catalogue.hpp"
#include "driver/host_machine.hpp"
#include "driver/userspace.hpp"
#include "elf/elf.hpp"
#include "elf/ld_cache.hpp"
#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t max_cache_size = std::size_t{16} << 20;

// A file that is there, and whose contents cannot be told.
struct Unreadable {
    std::string version;
    std::string sentence;
};

struct Candidate {
    const LibraryEntry* entry = nullptr;
    std::string version;
    HostFile file;
    ElfFile elf;
};

bool is_library_version(const LibraryEntry& entry, std::string_view version) {
    return is_driver_version(version) || (entry.own_version && !version.empty());
}

// Packages of CUDA's toolkit put a libcuda of another driver (forward compatibility) or none at all there.
bool is_toolkit_directory(std::string_view path) {
    const auto name = file_name(path);
    return name == "compat" || name == "stubs";
}

// Collects every usable library of the catalogue, once each, in the order of the directories.
class LibrarySearch {
public:
    LibrarySearch(const HostTree& tree, std::vector<std::string>& notes) : tree_(tree), notes_(notes) {}

    std::vector<Candidate> run() {
        follow_cache();
        for (auto& directory : library_directories(tree_)) add_directory(std::move(directory));
        // A link may lead to a directory that is not known yet: the list grows while it is walked.
        for (std::size_t i = 0; i < directories_.size(); ++i) scan(std::string(directories_[i]));
        return std::move(candidates_);
    }

    const std::vector<Unreadable>& unreadable() const { return unreadable_; }

private:
    void follow_cache() {
        const auto bytes = tree_.read_text("/etc/ld.so.cache", max_cache_size);
        if (!bytes) return;
        const auto entries = parse_ld_cache(*bytes);
        if (!entries) {
            notes_.emplace_back("/etc/ld.so.cache cannot be read as a cache of glibc's loader: run ldconfig");
            return;
        }
        std::vector<std::string> gone;
        for (const auto& entry : *entries) {
            if (!parse_library_name(entry.name) || !entry.path.starts_with('/')) continue;
            std::string path(entry.path);
            if (!consider(path)) gone.push_back(path);
            add_directory(parent_directory(path));
        }
        if (!gone.empty())
            notes_.push_back(
                fmt::format("/etc/ld.so.cache names files that are gone (run ldconfig): {}", fmt::join(gone, ", ")));
    }

    void add_directory(std::string directory) {
        if (known_directories_.insert(directory).second) directories_.push_back(std::move(directory));
    }

    void scan(const std::string& path) {
        const auto directory = tree_.list(path);
        if (!directory || !scanned_.insert(directory->path).second) return;
        for (const auto& name : directory->names)
            if (parse_library_name(name)) consider(directory->path + "/" + name);
        // libvdpau's plug-ins have a directory of their own.
        if (std::ranges::binary_search(directory->names, "vdpau")) add_directory(directory->path + "/vdpau");
    }

    // Whether the path leads to a file at all.
    bool consider(const std::string& path) {
        auto file = tree_.find_file(path);
        if (!file) return false;
        if (is_toolkit_directory(parent_directory(file->path)) || !seen_files_.insert(file->path).second) return true;
        const auto name = parse_library_name(file_name(file->path));
        if (!name || !is_library_version(*name->entry, name->version)) return true;
        add_directory(parent_directory(file->path));
        std::string version(name->version);
        if (auto elf = inspect(*file, version))
            candidates_.push_back({name->entry, std::move(version), std::move(*file), std::move(*elf)});
        return true;
    }

    std::optional<ElfFile> inspect(const HostFile& file, const std::string& version) {
        auto result = inspect_elf(tree_, file);
        if (const auto* refusal = std::get_if<Refusal>(&result)) {
            notes_.push_back(fmt::format("{} is not used: {}", file.path, refusal->reason));
            if (refusal->unreadable)
                unreadable_.push_back({version, fmt::format("{}: {}", file.path, refusal->reason)});
            return std::nullopt;
        }
        return std::get<ElfFile>(std::move(result));
    }

    const HostTree& tree_;
    std::vector<std::string>& notes_;
    std::vector<Unreadable> unreadable_;
    std::vector<std::string> directories_;
    std::set<std::string> known_directories_;  // as named
    std::set<std::string> scanned_;            // without links
    std::set<std::string> seen_files_;
    std::vector<Candidate> candidates_;
};

// The driver's version: the wanted one where its libcuda is there, else that of the newest 64-bit libcuda.
const Candidate* choose_cuda(const std::vector<Candidate>& candidates, std::string_view wanted) {
    const Candidate* best = nullptr;
    for (const auto& candidate : candidates) {
        if (candidate.entry->base != "libcuda" || !candidate.elf.is_64bit) continue;
        if (candidate.version == wanted) return &candidate;
        if (!best || compare_versions(candidate.version, best->version) > 0) best = &candidate;
    }
    return best;
}

// Orders the candidates for one name: the driver's version before an own one, the directory of libcuda before others,
// newer before older. Equal ones keep the order in which they were found, which is the loader's.
bool is_better(const Candidate& left, const Candidate& right, const Candidate& cuda) {
    const auto rank = [&cuda](const Candidate& candidate) {
        return std::tuple(candidate.version == cuda.version,
                          parent_directory(candidate.file.path) == parent_directory(cuda.file.path));
    };
    if (rank(left) != rank(right)) return rank(left) > rank(right);
    return compare_versions(left.version, right.version) > 0;
}

DriverFile to_driver_file(const Candidate& candidate, std::vector<std::string>& notes) {
    DriverFile file;
    file.capability = candidate.elf.is_64bit ? candidate.entry->capability : Capability::compat32;
    file.kind = candidate.elf.is_64bit ? FileKind::library : FileKind::library32;
    file.source = candidate.file.path;
    file.name = file_name(candidate.file.path);
    file.size = candidate.file.size;
    file.mtime_ns = candidate.file.mtime_ns;
    file.build_id = candidate.elf.build_id;
    const auto& soname = candidate.elf.soname;
    const auto parsed = parse_library_name(soname);
    if (parsed && parsed->entry == candidate.entry && soname != file.name)
        file.links.push_back(soname);
    else if (!soname.empty() && soname != file.name)
        notes.push_back(fmt::format("{} has the SONAME \"{}\", which does not go with its name", file.source, soname));
    for (const auto link : candidate.entry->links)
        if (!link.empty() && link != soname) file.links.emplace_back(link);
    std::ranges::sort(file.links);
    return file;
}

// One sentence per other version, and one per library that is there twice with different contents.
void note_unused(const std::vector<Candidate>& candidates, const std::vector<const Candidate*>& taken,
                 const Candidate& cuda, std::vector<std::string>& notes) {
    std::map<std::string, std::set<std::string>> other_versions;
    for (const auto& candidate : candidates) {
        if (is_driver_version(candidate.version) && candidate.version != cuda.version) {
            other_versions[candidate.version].insert(parent_directory(candidate.file.path));
            continue;
        }
        const auto twin = std::ranges::find_if(taken, [&candidate](const Candidate* other) {
            return other->entry == candidate.entry && other->elf.is_64bit == candidate.elf.is_64bit;
        });
        if (twin == taken.end() || *twin == &candidate) continue;
        if ((*twin)->file.size != candidate.file.size || (*twin)->elf.build_id != candidate.elf.build_id)
            notes.push_back(fmt::format("{} is not used: it differs from {}, which comes first", candidate.file.path,
                                        (*twin)->file.path));
    }
    for (const auto& [version, directories] : other_versions)
        notes.push_back(fmt::format("driver files of version {} in {} are not used: the driver in use is {}", version,
                                    fmt::join(directories, ", "), cuda.version));
}

}  // namespace

Libraries find_libraries(const HostTree& tree, std::string_view wanted) {
    Libraries result;
    LibrarySearch search(tree, result.notes);
    const auto candidates = search.run();
    const Candidate* cuda = choose_cuda(candidates, wanted);
    if (!cuda) {
        if (!candidates.empty())
            result.notes.push_back(
                fmt::format("NVIDIA libraries are there ({}), but no usable 64-bit libcuda.so.VERSION: install the "
                            "rest of the driver",
                            candidates.front().file.path));
        return result;
    }
    result.version = cuda->version;
    result.cuda_directory = parent_directory(cuda->file.path);
    // Of another version it is not missed.
    for (const auto& [version, sentence] : search.unreadable())
        if (result.unreadable.empty() && (version == result.version || !is_driver_version(version)))
            result.unreadable = sentence;
    result.glibc = needed_glibc(tree, cuda->file);

    std::map<std::pair<std::string_view, bool>, const Candidate*> best;
    for (const auto& candidate : candidates) {
        if (is_driver_version(candidate.version) && candidate.version != cuda->version) continue;
        if (candidate.entry->has_public_source && is_too_new_for_guests(tree, candidate.file, result.glibc)) {
            result.foreign.push_back(candidate.file.path);
            continue;
        }
        auto& place = best[{candidate.entry->base, candidate.elf.is_64bit}];
        if (!place || is_better(candidate, *place, *cuda)) place = &candidate;
    }
    std::vector<const Candidate*> taken;
    for (const auto& [key, candidate] : best) {
        taken.push_back(candidate);
        result.files.push_back(to_driver_file(*candidate, result.notes));
    }
    note_unused(candidates, taken, *cuda, result.notes);
    return result;
}

}  // namespace cuda_nspawn
