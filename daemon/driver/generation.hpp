// A generation: one immutable copy of the driver's userspace in the store.
//   STORE/NAME/CAPABILITY/{lib,lib32,bin,share,firmware}/…   and   STORE/NAME/manifest.json
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "driver/driver.hpp"

namespace cuda_nspawn {

inline constexpr std::string_view manifest_name = "manifest.json";

// The directory of a file within its capability: library -> "lib", library32 -> "lib32", program -> "bin",
// data -> "share", firmware -> "firmware".
std::string_view generation_folder(FileKind kind);
// Where a file lies in its generation: "compute/lib/libcuda.so.580.159.04".
std::string generation_path(const DriverFile& file);
// What a link beside that file contains: "libcuda.so.580.159.04", or "../libnvidia-allocator.so.…" for the link
// "gbm/….so".
std::string link_target(const DriverFile& file, std::string_view link);

// [0-9A-Za-z.-]+, not starting with a dot, at most 128 characters.
bool is_generation_name(std::string_view name);

// Throws std::runtime_error when a name or link would leave its folder or is there twice.
void check_layout(const std::vector<DriverFile>& files);

// `size` in the manifest is the file's in the generation; `text` is not in it.
std::string manifest_text(const Driver& driver, std::string_view name);  // JSON, ends in a newline
// Throws std::runtime_error that names what is wrong.
std::vector<DriverFile> parse_manifest(std::string_view text);

// Effects. Builds under STORE/.NAME.XXXXXX, fsyncs, renames; reflink (FICLONE) where possible, else copy_file_range.
// A complete generation of that name (manifest there, every file of the manifest there with its size) is left alone:
// returns false. A damaged one is replaced. Throws std::system_error/runtime_error naming the file; the store is
// unchanged then. One process at a time works on a store: they take STORE.lock, which lies beside the store and not in
// it, since a guest, to which the store is bound, could hold a lock on whatever it can open. Directories 0755, files
// 0644/0755, owner root, SOURCES ARE RESOLVED REGULAR FILES. Removes stale temporary directories.
bool build_generation(const Driver& driver, std::string_view name, const std::filesystem::path& store,
                      const std::filesystem::path& host_root);
// Also one that is complete, as its contents may be damaged.
void rebuild_generation(const Driver& driver, std::string_view name, const std::filesystem::path& store,
                        const std::filesystem::path& host_root);
// A build puts it in place when it is complete, and a removal takes it away before it begins.
bool generation_is_stored(std::string_view name, const std::filesystem::path& store);
// That nothing of it was lost since: a stat of each file and a readlink of each link; no file's contents are read.
bool generation_is_complete(std::string_view name, const std::filesystem::path& store);

// What differs from the files it was copied from, byte by byte, a sentence each.
struct GenerationFaults {
    std::vector<std::string> damaged;
    std::vector<std::string> unknown;  // nothing to compare with: the source has changed since, or is gone
};
GenerationFaults verify_generation(std::string_view name, const std::filesystem::path& store,
                                   const std::filesystem::path& host_root);
// Removes the generations that are not in `keep`, and what an interrupted build left; returns the generations' names.
// Whatever else lies in the store is left alone.
std::vector<std::string> collect_generations(const std::filesystem::path& store, const std::vector<std::string>& keep);

}  // namespace cuda_nspawn
