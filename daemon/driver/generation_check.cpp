// Whether a generation is still what was built.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <system_error>

#include "driver/generation.hpp"
#include "driver/host_tree.hpp"
#include "driver/icd.hpp"

namespace cuda_nspawn {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_manifest_size = std::size_t{4} << 20;
constexpr std::size_t max_text_size = 65536;
constexpr std::size_t block_size = std::size_t{1} << 20;

std::vector<DriverFile> read_manifest(const HostTree& generation) {
    const auto text = generation.read_text(fmt::format("/{}", manifest_name), max_manifest_size);
    if (!text) throw std::runtime_error(fmt::format("its {} cannot be read", manifest_name));
    return parse_manifest(*text);
}

bool is_as_built(const DriverFile& file, const fs::path& directory) {
    std::error_code error;
    const fs::path path = directory / generation_path(file);
    const auto status = fs::symlink_status(path, error);
    if (error || status.type() != fs::file_type::regular || fs::file_size(path, error) != file.size || error)
        return false;
    const fs::path folder = directory / to_string(file.capability) / generation_folder(file.kind);
    return std::ranges::all_of(file.links, [&](const std::string& link) {
        return fs::read_symlink(folder / link, error) == link_target(file, link) && !error;
    });
}

// As much as there is, up to a block. Throws when it cannot be read.
std::string_view read_block(int fd, std::string& buffer, std::uint64_t at) {
    std::size_t length = 0;
    while (length < buffer.size()) {
        const ssize_t got =
            ::pread(fd, buffer.data() + length, buffer.size() - length, static_cast<off_t>(at + length));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw std::system_error(errno, std::generic_category(), "cannot be read");
        if (got == 0) break;
        length += static_cast<std::size_t>(got);
    }
    return {buffer.data(), length};
}

class Comparison {
public:
    Comparison(const HostTree& generation, const HostTree& host) : generation_(generation), host_(host) {}

    void compare(const DriverFile& file) {
        const std::string copy = generation_path(file);
        try {
            if (is_text(file))
                compare_text(file, copy);
            else
                compare_bytes(file, copy);
        } catch (const std::system_error& error) {
            faults.damaged.push_back(fmt::format("{}: {}", copy, error.what()));
        }
    }

    GenerationFaults faults;

private:
    // Their contents may differ from the source's; what they are comes from the source in the same way again.
    static bool is_text(const DriverFile& file) { return file.name.ends_with(".json") || file.name.ends_with(".icd"); }

    void compare_text(const DriverFile& file, const std::string& copy) {
        const auto source = host_.find_file(file.source);
        const auto text = host_.read_text(file.source, max_text_size);
        if (!source || !text || source->mtime_ns != file.mtime_ns) return cannot_compare(file, copy);
        const auto icd = file.name.ends_with(".json") ? parse_icd_json(*text) : parse_opencl_icd(*text);
        const std::string expected = icd && icd->relative_text ? *icd->relative_text : *text;
        if (generation_.read_text("/" + copy, max_text_size) != expected) differs(file, copy);
    }

    void compare_bytes(const DriverFile& file, const std::string& copy) {
        const auto source = host_.find_file(file.source);
        if (!source || source->size != file.size || source->mtime_ns != file.mtime_ns)
            return cannot_compare(file, copy);
        const FileDescriptor theirs = host_.open_real(file.source);
        if (!theirs) return cannot_compare(file, copy);
        const FileDescriptor ours = generation_.open_real("/" + copy);
        if (!ours) throw std::system_error(errno, std::generic_category(), "cannot be opened");
        // The page cache may hold what was written, not what the disk has now.
        ::posix_fadvise(ours.get(), 0, 0, POSIX_FADV_DONTNEED);
        for (std::uint64_t at = 0; at < file.size; at += block_size)
            if (read_block(ours.get(), our_block_, at) != read_block(theirs.get(), their_block_, at))
                return differs(file, copy);
    }

    void cannot_compare(const DriverFile& file, const std::string& copy) {
        faults.unknown.push_back(
            fmt::format("{} cannot be compared: {} has changed since, or is gone", copy, file.source));
    }
    void differs(const DriverFile& file, const std::string& copy) {
        faults.damaged.push_back(fmt::format("{} differs from {}", copy, file.source));
    }

    const HostTree& generation_;
    const HostTree& host_;
    std::string our_block_ = std::string(block_size, '\0');
    std::string their_block_ = std::string(block_size, '\0');
};

}  // namespace

bool generation_is_stored(std::string_view name, const fs::path& store) {
    std::error_code ignored;
    return is_generation_name(name) && fs::is_regular_file(fs::symlink_status(store / name / manifest_name, ignored));
}

bool generation_is_complete(std::string_view name, const fs::path& store) {
    if (!is_generation_name(name)) return false;
    try {
        const fs::path directory = store / name;
        const auto files = read_manifest(HostTree(directory));
        return !files.empty() &&
               std::ranges::all_of(files, [&](const DriverFile& file) { return is_as_built(file, directory); });
    } catch (const std::exception&) {
        return false;  // no directory, or no manifest that can be read: that is what was asked
    }
}

GenerationFaults verify_generation(std::string_view name, const fs::path& store, const fs::path& host_root) {
    GenerationFaults faults;
    if (!is_generation_name(name)) throw std::runtime_error(fmt::format("\"{}\" is no name of a generation", name));
    try {
        const fs::path directory = store / name;
        const HostTree generation(directory);
        const HostTree host(host_root);
        Comparison comparison(generation, host);
        for (const auto& file : read_manifest(generation))
            if (is_as_built(file, directory))
                comparison.compare(file);
            else
                comparison.faults.damaged.push_back(
                    fmt::format("{} or a link to it is missing, or is another", generation_path(file)));
        faults = std::move(comparison.faults);
    } catch (const std::exception& error) {
        faults.damaged.emplace_back(error.what());
    }
    return faults;
}

}  // namespace cuda_nspawn
