#include "guest/library_finder.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "guest/libc_evidence.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t header_size = 64;
constexpr std::size_t most_libraries = 256;

// Those of the driver's that programs load by these names; the others they bring in by themselves, by names that hold
// the driver's version. driver/catalogue.cpp has all.
constexpr std::array<std::string_view, 14> library_names = {"libcuda.so.1",
                                                            "libcuda.so",
                                                            "libnvidia-ml.so.1",
                                                            "libnvidia-ml.so",
                                                            "libcudadebugger.so.1",
                                                            "libnvidia-ptxjitcompiler.so.1",
                                                            "libnvidia-nvvm.so.4",
                                                            "libnvidia-opencl.so.1",
                                                            "libnvidia-encode.so.1",
                                                            "libnvcuvid.so.1",
                                                            "libnvidia-opticalflow.so.1",
                                                            "libnvoptix.so.1",
                                                            "libGLX_nvidia.so.0",
                                                            "libEGL_nvidia.so.0"};

constexpr std::string_view suffix = ".so";
std::string_view stem(std::string_view name) { return name.substr(0, name.find(suffix)); }

BundledKind kind_of(std::string_view directory) {
    if (directory.ends_with("/compat") || directory.ends_with("/cuda-compat")) return BundledKind::compat;
    if (directory.ends_with("/stubs")) return BundledKind::stub;
    return BundledKind::copy;
}

}  // namespace

bool is_dotted_version(std::string_view text) {
    constexpr std::size_t longest = 32;
    return text.size() <= longest && text.find('.') != std::string_view::npos &&
           std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool is_driver_library(std::string_view name) { return std::ranges::find(library_names, name) != library_names.end(); }

std::string driver_version(std::string_view name, std::string_view real_name) {
    const std::string beginning = fmt::format("{}{}.", stem(name), suffix);
    if (!real_name.starts_with(beginning)) return "";
    const std::string_view version = real_name.substr(beginning.size());
    return is_dotted_version(version) ? std::string(version) : "";
}

std::string name_before_auditwheel(std::string_view name) {
    constexpr std::size_t hash_size = 8;
    const std::size_t end = name.find(suffix);
    if (end == std::string_view::npos || end < hash_size + 1 || name[end - hash_size - 1] != '-') return "";
    const std::string_view hash = name.substr(end - hash_size, hash_size);
    if (hash.find_first_not_of("0123456789abcdef") != std::string_view::npos) return "";
    const std::string_view before = name.substr(0, end - hash_size - 1);
    const bool is_drivers = std::ranges::any_of(library_names, [&](auto known) { return stem(known) == before; });
    return is_drivers ? fmt::format("{}{}", before, name.substr(end)) : "";
}

void LibraryFinder::pass_over(const std::string& path) {
    if (const auto entry = tree_.find(path)) known_.insert(identity(*entry));
}

void LibraryFinder::look_into(const std::string& directory) {
    const auto entry = tree_.find(directory);
    if (!entry || entry->type != FileType::directory || !directories_.insert(identity(*entry)).second) return;
    if (!each_once_) known_.clear();
    for (const std::string_view name : library_names) look_at(fmt::format("{}/{}", directory, name), name);
}

void LibraryFinder::look_at(const std::string& path, std::string_view name) {
    const auto file = tree_.find(path);
    if (!file || file->type != FileType::regular || found.size() >= most_libraries) return;
    // libcuda.so is most often a link to libcuda.so.1.
    if (!known_.insert(identity(*file)).second) return;
    const std::string before = name_before_auditwheel(file->real_name);
    if (file->size == 0)
        found.push_back({path, "", BundledKind::empty});
    else if (elf_architecture(tree_.read(path, header_size).value_or("")) == architecture_)
        found.push_back({path, driver_version(name, before.empty() ? file->real_name : before),
                         kind_of(path.substr(0, path.rfind('/')))});
}

}  // namespace cuda_nspawn
