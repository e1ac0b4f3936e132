// A closer look at a root file system, for the doctor: everything in it that has to do with CUDA, and what decides
// which library a program of the guest's gets. Bounded in time, memory and depth; everything read is hostile input.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

// What a library of NVIDIA's cuda-compat package says of itself: the ELF note of owner "NVIDIA Corporation" in
// .note.cuda.fwd_compatibility, JSON of the keys "CUDA Version", "Driver" and "Device".
struct CompatNote {
    std::string cuda;               // "12.4"; "" when it does not say
    std::vector<unsigned> drivers;  // branches of the host's driver that it can be used with; empty: does not say
    bool operator==(const CompatNote&) const = default;
};

struct CompatLibrary {
    std::string path;                // "/usr/local/cuda-12.4/compat/libcuda.so.1"
    std::string version;             // of the driver that it was taken from: "550.54.15"
    std::optional<CompatNote> note;  // nothing: too old to have one
    bool operator==(const CompatLibrary&) const = default;
};

enum class PackageKind { wheel, conda };

// CUDA that came by Python's or conda's packages.
struct CudaPackage {
    PackageKind kind = PackageKind::wheel;
    std::string name;     // "torch", "nvidia-cuda-runtime-cu12", "cupy-cuda12x"
    std::string version;  // "2.4.0+cu121", "12.4.127"
    std::string cuda;     // what CUDA it is made for, as far as its name and version say: "12.1" or "12"
    std::string path;     // the directory of the environment: "/opt/venv/lib/python3.11/site-packages"
    bool operator==(const CudaPackage&) const = default;
};

// LD_LIBRARY_PATH, LD_PRELOAD, CUDA_VISIBLE_DEVICES or NVIDIA_VISIBLE_DEVICES, where the guest sets it.
struct EnvironmentSetting {
    std::string file;
    unsigned line = 0;
    std::string unit;  // "worker.service"; empty: for logins, or for all
    std::string name;
    std::string value;
    bool operator==(const EnvironmentSetting&) const = default;
};

struct GuestSoftware {
    // Beside Guest::bundled: in conda and Python trees, in /opt, in the directories that environment settings name.
    std::vector<BundledLibrary> libraries;
    std::vector<CompatLibrary> compat;
    std::vector<CudaPackage> packages;
    std::vector<EnvironmentSetting> environment;
    // What its /etc/ld.so.cache has for libcuda.so.1, of the guest's architecture, in the cache's order.
    std::vector<std::string> cached_libcuda;
    bool has_cache = false;
    bool reads_fragments = true;               // its ld.so.conf includes /etc/ld.so.conf.d/*.conf
    std::vector<std::string> container_tools;  // "/usr/bin/docker"
    bool has_cdi_spec = false;                 // in /etc/cdi or /var/run/cdi, of kind nvidia.com/gpu
    std::vector<std::string> notes;            // what was not looked at, because there was too much of it
    bool operator==(const GuestSoftware&) const = default;
};
GuestSoftware examine_software(const GuestTree& tree, const Guest& guest);

// How a library was found (ld.so(8)).
enum class FoundBy { rpath, library_path, runpath, cache, standard_directory, none };
std::string_view to_string(FoundBy value);

struct LoadedLibrary {
    std::string name;  // "libcuda.so.1"
    std::string path;  // where the loader finds it; empty: nowhere
    FoundBy by = FoundBy::none;
    std::string needed_by;  // the path of what asks for it
    std::string version;    // "535.183.01", of the file that it is, for libraries of the driver's names; else ""
    bool operator==(const LoadedLibrary&) const = default;
};

// A program of the guest's, as its loader would start it.
struct Program {
    std::string path;
    std::string problem;       // why nothing is known of it: "there is no such file", …; then the rest is empty
    std::string script_of;     // it is a script, and this is what runs it, which is what is described
    std::string architecture;  // in Guest's words
    bool is_64bit = true;
    std::string interpreter;               // its dynamic loader; empty: statically linked
    bool has_interpreter = true;           // which is there
    std::string needed_glibc;              // the newest that it or a library of its needs: "2.34"
    std::string library_path;              // the LD_LIBRARY_PATH it was examined with
    std::vector<LoadedLibrary> libraries;  // that are not found, or are CUDA's (libcudart.so.12, …), all in all
    std::optional<LoadedLibrary> libcuda;  // what dlopen("libcuda.so.1") gives it, from it or from its libcudart
    std::string cudart;  // version of the CUDA runtime it is linked with: "12" or "12.4"; "" when none is seen
    bool operator==(const Program&) const = default;
};
// `library_path`: what LD_LIBRARY_PATH is for it; nothing: what the guest's units and environment files say for it.
Program examine_program(const GuestTree& tree, const Guest& guest, const GuestSoftware& software, std::string_view path,
                        const std::optional<std::string>& library_path);

}  // namespace cuda_nspawn
