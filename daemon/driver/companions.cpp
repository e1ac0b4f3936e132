// What goes with the libraries: programs, data and firmware.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <set>
#include <utility>

#include "driver/catalogue.hpp"
#include "driver/host_machine.hpp"
#include "driver/icd.hpp"
#include "driver/userspace.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t max_icd_size = 65536;

DriverFile to_driver_file(const HostFile& file, Capability capability, FileKind kind, std::string name) {
    DriverFile result;
    result.capability = capability;
    result.kind = kind;
    result.source = file.path;
    result.name = std::move(name);
    result.size = file.size;
    result.mtime_ns = file.mtime_ns;
    return result;
}

// Of several drivers side by side, the programs have to be those of the libraries.
std::vector<std::string> program_directories(const Libraries& libraries) {
    std::vector<std::string> directories{parent_directory(libraries.cuda_directory) + "/bin",
                                         fmt::format("/usr/lib/nvidia/{}", file_name(libraries.cuda_directory))};
    for (const auto path : program_directory_patterns()) directories.emplace_back(path);
    return directories;
}

// Of several places the first that has one which can be used.
std::optional<DriverFile> find_program(const HostTree& tree, const ProgramEntry& entry,
                                       const std::vector<std::string>& directories, Libraries& libraries) {
    std::set<std::string> seen;
    for (const auto& directory : directories) {
        const auto file = tree.find_file(fmt::format("{}/{}", directory, entry.name));
        if (!file || !file->executable || !seen.insert(file->path).second) continue;
        const auto result = inspect_elf(tree, *file);
        const auto* elf = std::get_if<ElfFile>(&result);
        if (!elf || !elf->is_64bit) {
            const Refusal refusal = elf ? Refusal{"it is a 32-bit program"} : std::get<Refusal>(result);
            libraries.notes.push_back(fmt::format("{} is not used: {}", file->path, refusal.reason));
            if (refusal.unreadable && libraries.unreadable.empty())
                libraries.unreadable = fmt::format("{}: {}", file->path, refusal.reason);
            continue;
        }
        if (entry.has_public_source && is_too_new_for_guests(tree, *file, libraries.glibc)) {
            libraries.foreign.push_back(file->path);
            continue;
        }
        auto program = to_driver_file(*file, entry.capability, FileKind::program, std::string(entry.name));
        program.build_id = elf->build_id;
        return program;
    }
    return std::nullopt;
}

class DataSearch {
public:
    DataSearch(const HostTree& tree, const Libraries& libraries, std::vector<std::string>& notes)
        : tree_(tree), libraries_(libraries), notes_(notes) {
        for (const auto& file : libraries.files) {
            if (file.kind != FileKind::library) continue;
            provided_.insert(file.name);
            provided_.insert(file.links.begin(), file.links.end());
        }
    }

    std::vector<DriverFile> run() {
        for (const auto& entry : data_entries()) {
            const std::string directory = with_version(entry.directory);
            for (const auto root : entry.kind == FileKind::firmware ? firmware_roots() : data_roots())
                search(entry, fmt::format("{}/{}", root, directory), directory);
            if (entry.beside_libcuda) search(entry, libraries_.cuda_directory, directory);
        }
        return std::move(files_);
    }

private:
    std::string with_version(std::string_view text) const {
        constexpr std::string_view placeholder = "VERSION";
        std::string result(text);
        if (const auto at = result.find(placeholder); at != std::string::npos)
            result.replace(at, placeholder.size(), libraries_.version);
        return result;
    }

    void search(const DataEntry& entry, const std::string& host_directory, const std::string& directory) {
        const std::string pattern = with_version(entry.pattern);
        const auto listing = tree_.list(host_directory);
        if (!listing) return;
        for (const auto& name : listing->names)
            if (::fnmatch(pattern.c_str(), name.c_str(), FNM_PERIOD) == 0)
                add(entry, fmt::format("{}/{}", host_directory, name), fmt::format("{}/{}", directory, name));
    }

    void add(const DataEntry& entry, const std::string& path, const std::string& name) {
        const auto file = tree_.find_file(path);
        if (!file || names_.contains({entry.kind, name})) return;
        auto data = to_driver_file(*file, entry.capability, entry.kind, name);
        if (!is_usable(path, data)) return;
        names_.insert({entry.kind, name});
        files_.push_back(std::move(data));
    }

    // An ICD file must lead to a library of the generation; a loader complains about every other.
    bool is_usable(const std::string& path, DriverFile& data) {
        const bool is_json = data.name.ends_with(".json");
        if (!is_json && !data.name.ends_with(".icd")) return true;
        const auto text = tree_.read_text(data.source, max_icd_size);
        const auto icd = !text ? std::nullopt : is_json ? parse_icd_json(*text) : parse_opencl_icd(*text);
        if (!icd) {
            notes_.push_back(fmt::format("{} is not used: it names no library", path));
            return false;
        }
        for (const auto& library : icd->libraries)
            if (!provided_.contains(library)) {
                // Of one that the distribution built there is a note already.
                const auto name = parse_library_name(library);
                if (name && name->entry->has_public_source && !libraries_.foreign.empty()) return false;
                notes_.push_back(
                    fmt::format("{} is not used: its library {} is not among the driver's files", path, library));
                return false;
            }
        data.text = icd->relative_text.value_or("");
        return true;
    }

    const HostTree& tree_;
    const Libraries& libraries_;
    std::vector<std::string>& notes_;
    std::set<std::string> provided_;
    std::set<std::pair<FileKind, std::string>> names_;
    std::vector<DriverFile> files_;
};

}  // namespace

std::vector<DriverFile> find_programs(const HostTree& tree, Libraries& libraries) {
    const auto directories = program_directories(libraries);
    std::vector<DriverFile> files;
    for (const auto& entry : program_entries())
        if (auto program = find_program(tree, entry, directories, libraries)) files.push_back(std::move(*program));
    return files;
}

std::vector<DriverFile> find_data(const HostTree& tree, Libraries& libraries) {
    return DataSearch(tree, libraries, libraries.notes).run();
}

}  // namespace cuda_nspawn
