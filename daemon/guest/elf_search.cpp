#include "guest/elf_search.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <elf.h>

#include <fmt/format.h>

#include "guest/loader_configuration.hpp"
#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t most_objects = 512;
constexpr std::size_t most_names = 2048;  // asked for
constexpr std::size_t most_parts = 64;    // of a search path
constexpr std::size_t longest_path = 1024;

std::string_view directory_of(std::string_view path) { return path.substr(0, path.rfind('/')); }

std::string_view platform_of(const ElfFile& elf) {
    switch (elf.machine) {
        case EM_X86_64:
            return "x86_64";
        case EM_AARCH64:
            return "aarch64";
        default:
            return "i686";
    }
}

// $LIB is where this distribution's loader looks: Debian's is "lib/x86_64-linux-gnu", Fedora's "lib64".
std::string lib_of(const GuestTree& tree, const ElfFile& elf, const std::vector<std::string>& directories) {
    const std::string& first = directories.front();
    if (first != "/lib64" && tree.is_directory(first)) return first.substr(1);
    return elf.is_64bit ? "lib64" : "lib";
}

}  // namespace

std::string ElfSearch::architecture_of(const ElfFile& elf) {
    if (elf.machine == EM_X86_64 && elf.is_64bit) return "x86-64";
    if (elf.machine == EM_AARCH64 && elf.is_64bit) return "aarch64";
    if (elf.machine == EM_386 && !elf.is_64bit) return "x86";
    return "other";
}

ElfSearch::ElfSearch(const BoundedTree& tree, LoadedObject program, std::string_view library_path,
                     const std::vector<std::string>& directories)
    : tree_(tree), library_path_(library_path), cache_(tree), configured_directories_(directories) {
    objects_.push_back(std::move(program));
    const LoadedObject& first = objects_.front();
    files_.insert(identity(first.entry));
    default_directories_ = built_in_directories(architecture_of(first.elf));
    lib_ = lib_of(tree, first.elf, default_directories_);
    platform_ = platform_of(first.elf);
}

bool ElfSearch::load_all() {
    for (std::size_t by = 0; by < objects_.size(); ++by) {
        for (std::size_t place = 0; place < objects_[by].elf.needed.size(); ++place) {
            const std::string& name = objects_[by].elf.needed[place];
            if (!names_.insert(name).second) continue;
            if (objects_.size() >= most_objects || outcomes_.size() >= most_names || tree_.is_spent()) return false;
            load({name, by});
        }
    }
    return true;
}

void ElfSearch::load(const Request& request) {
    const Location location = find(request.name, request.by);
    const auto entry = location.path.empty() ? std::nullopt : tree_.find(location.path);
    outcomes_.push_back({request, location, entry ? entry->real_name : ""});
    if (!entry || !files_.insert(identity(*entry)).second) return;
    const auto bytes = tree_.open(location.path);
    auto elf = bytes ? read_elf(*bytes) : std::variant<ElfFile, std::string>("it cannot be read");
    if (!std::holds_alternative<ElfFile>(elf)) return;
    LoadedObject object{request.name,
                        location.path,
                        std::string(directory_of(location.path)),
                        *entry,
                        std::get<ElfFile>(std::move(elf)),
                        request.by};
    if (!object.elf.soname.empty()) names_.insert(object.elf.soname);
    objects_.push_back(std::move(object));
}

Location ElfSearch::find(std::string_view name, std::size_t for_object) const {
    if (name.find('/') != std::string_view::npos) {
        // Counted from the working directory, of which nothing is known, if it is no absolute one.
        const std::string path = expand(name, objects_[for_object].origin);
        return path.starts_with('/') && is_taken(path) ? Location{path, FoundBy::rpath} : Location{};
    }
    Location location = find_in_paths(name, for_object);
    return location.path.empty() ? find_by_default(name) : location;
}

Location ElfSearch::find_in_paths(std::string_view name, std::size_t for_object) const {
    const LoadedObject& object = objects_[for_object];
    // RPATH holds for what its object's libraries load too, unless there is a RUNPATH, which does not.
    if (object.elf.runpath.empty()) {
        for (std::optional<std::size_t> at = for_object; at; at = objects_[*at].loader) {
            const LoadedObject& above = objects_[*at];
            if (!above.elf.runpath.empty()) continue;
            if (std::string path = find_in(above.elf.rpath, name, above.origin); !path.empty())
                return {std::move(path), FoundBy::rpath};
        }
    }
    if (std::string path = find_in(library_path_, name, objects_.front().origin); !path.empty())
        return {std::move(path), FoundBy::library_path};
    if (std::string path = find_in(object.elf.runpath, name, object.origin); !path.empty())
        return {std::move(path), FoundBy::runpath};
    return {};
}

std::vector<std::string> ElfSearch::cached(std::string_view name) const {
    return cache_.paths_of(name, abi_of(architecture_of(objects_.front().elf)));
}

Location ElfSearch::find_by_default(std::string_view name) const {
    for (std::string& path : cached(name))
        if (is_of_host(path) || is_taken(path)) return {std::move(path), FoundBy::cache};
    const auto look = [&](const std::vector<std::string>& directories) {
        for (const std::string& directory : directories)
            if (std::string path = fmt::format("{}/{}", directory, name); is_taken(path)) return path;
        return std::string();
    };
    if (!cache_.is_there())
        if (std::string path = look(configured_directories_); !path.empty()) return {std::move(path), FoundBy::cache};
    std::string path = look(default_directories_);
    return path.empty() ? Location{} : Location{std::move(path), FoundBy::standard_directory};
}

// A file of another class or for another processor is passed over; at any other that is no library it ends with an
// error, so that none behind it is found either.
bool ElfSearch::is_taken(const std::string& path) const {
    const auto bytes = tree_.open(path);
    if (!bytes) return false;  // absent, or no regular file
    std::array<unsigned char, 20> header{};
    if (!bytes->read(0, header.data(), header.size()) || header[EI_MAG0] != ELFMAG0) return true;
    const ElfFile& program = objects_.front().elf;
    const unsigned machine = header[18] | static_cast<unsigned>(header[19]) << 8;
    return header[EI_CLASS] == (program.is_64bit ? ELFCLASS64 : ELFCLASS32) && machine == program.machine;
}

std::string ElfSearch::find_in(std::string_view list, std::string_view name, const std::string& origin) const {
    for (std::size_t part = 0; !list.empty() && part < most_parts && !tree_.is_spent(); ++part) {
        const std::string directory = expand(list.substr(0, list.find_first_of(":;")), origin);
        list.remove_prefix(std::min(list.find_first_of(":;"), list.size() - 1) + 1);
        if (!directory.starts_with('/')) continue;  // counted from the working directory
        std::string path = fmt::format("{}{}{}", directory, directory.ends_with('/') ? "" : "/", name);
        const bool is_hosts = is_of_host(path) && is_driver_library(name);
        if (path.size() <= longest_path && (is_hosts || is_taken(path))) return path;
    }
    return "";
}

// Dynamic string tokens, ld.so(8). What cannot be shown as it is is not followed.
std::string ElfSearch::expand(std::string_view path, const std::string& origin) const {
    std::string result;
    while (!path.empty() && result.size() <= longest_path) {
        bool is_token = false;
        for (const auto& [token, value] : {std::pair<std::string_view, const std::string&>{"ORIGIN", origin},
                                           {"LIB", lib_},
                                           {"PLATFORM", platform_}})
            for (const std::string& written : {fmt::format("${{{}}}", token), fmt::format("${}", token)})
                if (!is_token && path.starts_with(written)) {
                    is_token = true;
                    result += value;
                    path.remove_prefix(written.size());
                }
        if (is_token) continue;
        result += path.front();
        path.remove_prefix(1);
    }
    return printable(result, longest_path) == result ? result : "";
}

}  // namespace cuda_nspawn
