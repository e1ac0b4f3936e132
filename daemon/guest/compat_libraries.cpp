// NVIDIA's cuda-compat libraries, and the notes in them that say which drivers they can be used with.
#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "elf/elf.hpp"
#include "guest/bundled_cuda.hpp"
#include "guest/library_finder.hpp"
#include "guest/software_libraries.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::string_view library_name = "libcuda.so.1";
constexpr std::string_view note_section = ".note.cuda.fwd_compatibility";
constexpr std::string_view note_owner = "NVIDIA Corporation";
constexpr std::size_t most_libraries = 16;
constexpr std::size_t longest_note = 4096;  // real ones have some hundred bytes
constexpr std::size_t most_drivers = 64;
constexpr std::uint64_t highest_branch = 9999;

std::optional<CompatNote> read_compat_note(const GuestTree& tree, const std::string& path) {
    const auto bytes = tree.open(path);
    auto text = bytes ? read_note(*bytes, note_section, note_owner) : std::nullopt;
    if (!text || text->size() > longest_note) return std::nullopt;
    while (text->ends_with('\0')) text->pop_back();
    const auto json = nlohmann::json::parse(*text, nullptr, false);
    if (!json.is_object()) return std::nullopt;
    CompatNote note;
    if (const auto cuda = json.find("CUDA Version"); cuda != json.end() && cuda->is_string())
        if (is_dotted_version(cuda->get_ref<const std::string&>())) note.cuda = *cuda;
    if (const auto drivers = json.find("Driver"); drivers != json.end() && drivers->is_array())
        for (const auto& branch : *drivers)
            if (branch.is_number_unsigned() && branch.get<std::uint64_t>() <= highest_branch &&
                note.drivers.size() < most_drivers)
                note.drivers.push_back(branch.get<unsigned>());
    return note;
}

}  // namespace

std::vector<CompatLibrary> find_compat_libraries(const GuestTree& tree, const std::vector<BundledLibrary>& bundled,
                                                 const std::vector<BundledLibrary>& libraries) {
    std::vector<std::string> paths;
    for (const auto* known : {&bundled, &libraries})
        for (const BundledLibrary& library : *known)
            if (library.kind == BundledKind::compat && library.path.ends_with(fmt::format("/{}", library_name)))
                paths.push_back(library.path);
    for (const std::string& toolkit : toolkit_directories(tree))
        paths.push_back(fmt::format("{}/compat/{}", toolkit, library_name));
    std::vector<CompatLibrary> found;
    std::set<FileIdentity> known;
    for (const std::string& path : paths) {
        const auto entry = tree.find(path);
        if (!entry || entry->type != FileType::regular || entry->size == 0 || found.size() >= most_libraries) continue;
        if (!known.insert(identity(*entry)).second) continue;
        found.push_back({path, driver_version(library_name, entry->real_name), read_compat_note(tree, path)});
    }
    return found;
}

}  // namespace cuda_nspawn
