// Which driver runs which CUDA, and which CUDA compiles for which GPU, as NVIDIA publishes it. The data and their
// sources are in cuda_table.cpp; what is newer than them is said to be so, never guessed.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

struct CudaVersion {
    unsigned major = 0;
    unsigned minor = 0;
    auto operator<=>(const CudaVersion&) const = default;
};
std::string to_string(CudaVersion version);                            // "12.4"
std::optional<CudaVersion> parse_cuda_version(std::string_view text);  // "12.4.1", "12.4", "12" (minor 0)

// "9.0" of an H200.
using ComputeCapability = CudaVersion;

// The branch of a driver: 580 of "580.159.04"; 0 when it is no version.
unsigned driver_branch(std::string_view driver);

// The newest CUDA that a driver has, by its branch (the nearest older branch of the table for one that is not in it);
// nothing when the branch is older or newer than all in the table.
std::optional<CudaVersion> cuda_of_driver(std::string_view driver);
bool is_newer_than_table(std::string_view driver);
CudaVersion newest_cuda();  // of the table
unsigned newest_branch();   // of the table

enum class Fit {
    yes,            // the driver is of that CUDA or newer
    minor_version,  // of the same major, which is enough (minor-version compatibility), but for PTX of the toolkit's
                    // own
    no,             // needs a newer driver, or a compat library
    unknown,        // newer than the table
};
Fit toolkit_fit(CudaVersion toolkit, std::string_view driver);
// The oldest driver that has all of it: "550.54.14" for 12.4; empty when it is not in the table.
std::string oldest_driver(CudaVersion toolkit);
// The oldest driver that runs it, by minor-version compatibility too: "525.60.13" for 12.4; empty when not known.
std::string oldest_compatible_driver(CudaVersion toolkit);

// Whether a toolkit compiles for a GPU of that capability; nothing when one of the two is newer than the table, or not
// in it.
std::optional<bool> compiles_for(CudaVersion toolkit, ComputeCapability gpu);
// The oldest and the newest toolkit of the table that do; nothing when there is none.
std::optional<CudaVersion> oldest_toolkit_for(ComputeCapability gpu);
std::optional<CudaVersion> newest_toolkit_for(ComputeCapability gpu);

// The families of Python wheels that run on the driver: "cu118", "cu12x", "cu13x". Without those that have no code for
// the GPU, if its capability is given.
std::vector<std::string> fitting_wheels(std::string_view driver, std::optional<ComputeCapability> gpu = {});
// The recommendation in a sentence: "driver 580.159.04 (CUDA 13.0) runs toolkits 11.0 to 13.0 and …".
std::string what_fits(std::string_view driver, std::optional<ComputeCapability> gpu = {});

}  // namespace cuda_nspawn
