// What belongs to NVIDIA's driver userspace, by exact name. Distributions build libraries of similar names
// (dispatchers, container tools, stubs); those of a newer host would break an older guest, so nothing is ever matched
// by a part of its name.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "driver/driver.hpp"

namespace cuda_nspawn {

struct LibraryEntry {
    std::string_view base;  // "libcuda" of "libcuda.so.580.159.04"
    Capability capability;
    bool own_version = false;                 // may have a version of its own, "libnvidia-egl-gbm.so.1.1.2"
    std::array<std::string_view, 2> links{};  // names that programs rely on, beside the SONAME
    bool has_public_source = false;           // see oldest_glibc
};

struct ProgramEntry {
    std::string_view name;
    Capability capability;
    bool has_public_source = false;
};

// Files below one of data_roots(), or one of firmware_roots() for firmware.
struct DataEntry {
    Capability capability;
    FileKind kind;
    std::string_view directory;   // below the root; VERSION stands for the driver's version, here and in `pattern`
    std::string_view pattern;     // of the whole file name, fnmatch(3)
    bool beside_libcuda = false;  // some packages put it there instead
};

std::span<const LibraryEntry> library_entries();
std::span<const ProgramEntry> program_entries();
std::span<const DataEntry> data_entries();

std::span<const std::string_view> library_directory_patterns();  // a last component may be fnmatch(3) pattern
std::span<const std::string_view> program_directory_patterns();
std::span<const std::string_view> data_roots();
std::span<const std::string_view> firmware_roots();

// What NVIDIA builds runs with this glibc, and so do the guests that are supported. Of some files NVIDIA publishes the
// source: distributions build them by the same names, for their own glibc, and older guests cannot load those.
inline constexpr std::string_view oldest_glibc = "2.17";

struct LibraryName {
    const LibraryEntry* entry = nullptr;
    std::string_view version;  // "580.159.04" or "1"; empty for the bare "libcuda.so"
};
// Nothing when the name is none of NVIDIA's or has another form than lib….so[.NUMBER[.NUMBER…]].
std::optional<LibraryName> parse_library_name(std::string_view file_name);

// Two numbers at least, the first one of two digits at least: "580.159.04", "550.54"; not "1", not "1.1.2".
bool is_driver_version(std::string_view text);

}  // namespace cuda_nspawn
