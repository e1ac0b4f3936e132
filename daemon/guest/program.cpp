#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

#include "elf/version.hpp"
#include "guest/bounded_tree.hpp"
#include "guest/elf_search.hpp"
#include "guest/environment_settings.hpp"
#include "guest/library_finder.hpp"
#include "guest/printable.hpp"
#include "guest/script.hpp"
#include "guest/software.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::string_view cuda_library = "libcuda.so.1";
constexpr std::string_view runtime_prefix = "libcudart";
constexpr std::size_t longest_path = 256;
constexpr std::size_t longest_library_path = 4096;
constexpr std::size_t script_beginning = 256;  // that the kernel reads
constexpr std::size_t most_libraries = 64;

// Libraries of CUDA's, by how their names begin.
bool is_cuda_library(std::string_view name) {
    constexpr std::array<std::string_view, 28> prefixes = {
        "libcuda.so",  "libcudart",   "libcublas", "libcudnn",     "libnvrtc",        "libcufft",      "libcurand",
        "libcusparse", "libcusolver", "libnccl",   "libnvJitLink", "libcupti",        "libnvToolsExt", "libnvidia-",
        "libnpp",      "libnvinfer",  "libcudss",  "libcufile",    "libnvjpeg",       "libnvcuvid",    "libnvoptix",
        "libcutensor", "libnvvm",     "libnvblas", "libnvshmem",   "libcudadebugger", "libGLX_nvidia", "libEGL_nvidia"};
    return std::ranges::any_of(prefixes, [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// "11.8" of libcudart.so.11.8.89, "12" of libcudart.so.12. The names since CUDA 11 say no more than the first number,
// libcudart.so.11.0 is that of all 11.x.
std::string runtime_version(std::string_view name) {
    constexpr std::string_view mark = ".so.";
    constexpr unsigned first_by_major = 11;
    const std::size_t at = name.find(mark);
    if (!name.starts_with(runtime_prefix) || at == std::string_view::npos) return "";
    const std::string_view version = name.substr(at + mark.size());
    if (version.empty() || version.find_first_not_of("0123456789.") != std::string_view::npos) return "";
    const std::size_t first = std::min(version.find('.'), version.size());
    const std::size_t second = std::min(version.find('.', first + 1), version.size());
    const bool says_minor =
        second < version.size() || compare_versions(version.substr(0, first), std::to_string(first_by_major)) < 0;
    return printable(version.substr(0, says_minor ? second : first), longest_path);
}

class Examination {
public:
    Examination(const BoundedTree& tree, const Guest& guest, Program& program)
        : tree_(tree), guest_(guest), program_(program) {}

    // What is wrong, or nothing.
    std::string examine(std::string_view path, const GuestSoftware& software,
                        const std::optional<std::string>& library_path) {
        std::string file(path);
        if (path.find('/') == std::string_view::npos) file = find_in_path(tree_, path);
        if (const auto text = tree_.read(file, script_beginning); text && text->starts_with("#!")) {
            file = interpreter_of_script(tree_, *text);
            program_.script_of = file;
        }
        auto loaded = open_program(file);
        if (auto* problem = std::get_if<std::string>(&loaded)) return *problem;
        auto& object = std::get<LoadedObject>(loaded);
        describe(object.elf);
        program_.library_path = printable(
            library_path ? *library_path : library_path_of(tree_, software.environment, path), longest_library_path);
        if (is_musl() || (object.elf.interpreter.empty() && object.elf.needed.empty())) {
            program_.needed_glibc = glibc_of(file);
            return "";
        }
        ElfSearch search(tree_, std::move(object), program_.library_path, guest_.library_directories);
        if (!search.load_all()) return "it needs more libraries than are looked at";
        describe(search);
        return "";
    }

private:
    std::variant<LoadedObject, std::string> open_program(const std::string& file) const {
        const auto entry = tree_.find(file);
        if (!entry)
            return program_.script_of.empty() ? "there is no such file"
                                              : fmt::format("it is a script for {}, which is not there", file);
        if (entry->type == FileType::directory) return "it is a directory";
        if (entry->type != FileType::regular) return "it is no regular file";
        const auto bytes = tree_.open(file);
        if (!bytes) return "it cannot be read";
        auto elf = read_elf(*bytes);
        if (auto* problem = std::get_if<std::string>(&elf)) return std::move(*problem);
        // The kernel tells the loader where it really is.
        const std::string& real = entry->real_path.empty() ? file : entry->real_path;
        return LoadedObject{file, file, real.substr(0, real.rfind('/')), *entry, std::get<ElfFile>(std::move(elf)), {}};
    }

    void describe(const ElfFile& elf) {
        program_.architecture = ElfSearch::architecture_of(elf);
        program_.is_64bit = elf.is_64bit;
        program_.interpreter = printable(elf.interpreter, longest_path);
        if (!elf.interpreter.empty()) program_.has_interpreter = tree_.is_file(elf.interpreter);
    }

    bool is_musl() const { return program_.interpreter.starts_with("/lib/ld-musl-"); }

    std::string glibc_of(const std::string& path) const {
        const auto bytes = tree_.open(path);
        return bytes ? printable(needed_glibc(*bytes), longest_path) : "";
    }

    void describe(const ElfSearch& search) {
        for (const LoadedObject& object : search.objects()) {
            std::string version = glibc_of(object.path);
            if (compare_versions(version, program_.needed_glibc) > 0) program_.needed_glibc = std::move(version);
        }
        for (const ElfSearch::Outcome& outcome : search.outcomes()) {
            const std::string& name = outcome.request.name;
            if (name.starts_with(runtime_prefix)) take_runtime(name, outcome.real_name);
            const bool says_something = outcome.location.path.empty() || is_cuda_library(name);
            if (!says_something || is_given_by_host(search, name, outcome.location)) continue;
            if (program_.libraries.size() < most_libraries)
                program_.libraries.push_back(loaded(search, name, outcome.location, outcome.request.by));
        }
        find_libcuda(search);
    }

    void take_runtime(std::string_view name, std::string_view real_name) {
        const std::string of_file = runtime_version(real_name);
        const std::string of_name = runtime_version(name);
        if (program_.cudart.empty()) program_.cudart = of_file.starts_with(of_name) ? of_file : of_name;
    }

    // What the program's dlopen() gives it, or its runtime's when it has one as a library.
    void find_libcuda(const ElfSearch& search) {
        std::size_t by = 0;
        for (const ElfSearch::Outcome& outcome : search.outcomes())
            if (outcome.request.name == cuda_library) return set_libcuda(search, outcome.location, outcome.request.by);
        for (std::size_t place = 0; place < search.objects().size(); ++place) {
            const LoadedObject& object = search.objects()[place];
            if (object.name.starts_with(runtime_prefix)) by = place;
        }
        set_libcuda(search, search.find(cuda_library, by), by);
    }

    void set_libcuda(const ElfSearch& search, const Location& location, std::size_t by) {
        if (!is_given_by_host(search, cuda_library, location))
            program_.libcuda = loaded(search, std::string(cuda_library), location, by);
    }

    // A library of the driver's that nothing but the loader's cache decides on: at each start the set-up puts the
    // host's first in it. Unless it is there already and another before it.
    static bool is_given_by_host(const ElfSearch& search, std::string_view name, const Location& location) {
        if (!is_driver_library(name)) return false;
        if (location.by == FoundBy::cache) return std::ranges::none_of(search.cached(name), is_of_host);
        return location.by == FoundBy::standard_directory || location.by == FoundBy::none;
    }

    LoadedLibrary loaded(const ElfSearch& search, const std::string& name, const Location& location,
                         std::size_t by) const {
        LoadedLibrary library{printable(name, longest_path), printable(location.path, longest_path), location.by,
                              printable(search.objects()[by].path, longest_path), ""};
        if (const auto entry = is_driver_library(name) ? tree_.find(location.path) : std::nullopt)
            library.version = driver_version(name, entry->real_name);
        return library;
    }

    const BoundedTree& tree_;
    const Guest& guest_;
    Program& program_;
};

}  // namespace

std::string_view to_string(FoundBy value) {
    switch (value) {
        case FoundBy::rpath:
            return "rpath";
        case FoundBy::library_path:
            return "LD_LIBRARY_PATH";
        case FoundBy::runpath:
            return "runpath";
        case FoundBy::cache:
            return "cache";
        case FoundBy::standard_directory:
            return "standard directory";
        case FoundBy::none:
            break;
    }
    return "none";
}

Program examine_program(const GuestTree& tree, const Guest& guest, const GuestSoftware& software, std::string_view path,
                        const std::optional<std::string>& library_path) {
    const BoundedTree bounded(tree);
    Program program;
    std::string problem = Examination(bounded, guest, program).examine(path, software, library_path);
    if (problem.empty() && bounded.is_spent()) problem = "there is more to look at than is looked at";
    if (!problem.empty()) {
        std::string script_of = std::move(program.script_of);
        program = Program{};
        program.script_of = std::move(script_of);
        program.problem = printable(problem, longest_path);
    }
    program.path = printable(path, longest_path);
    return program;
}

}  // namespace cuda_nspawn
