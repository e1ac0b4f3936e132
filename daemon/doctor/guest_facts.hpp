// What several rules ask of the evidence on a guest, and how it is said.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "doctor/cuda_table.hpp"
#include "doctor/evidence.hpp"

namespace cuda_nspawn {

// "580.159.04", of the running module, else of the files; empty: not known.
std::string host_driver(const Evidence& evidence);

const Check* failed_check(const Evidence& evidence, std::string_view name);
// Of all GPUs of the machine, when it is one and the same.
std::optional<ComputeCapability> gpu_capability(const Evidence& evidence);
// cuda-compat works on these only. NVIDIA, "CUDA Compatibility": data-center GPUs.
bool has_data_center_gpus_only(const Evidence& evidence);

// All libraries of the driver's names that the guest has of its own, each once.
std::vector<BundledLibrary> libraries_of_guest(const Evidence& evidence);
// Whether a path is one that the guest borrows from the host.
bool is_lent(std::string_view path);

// Whether a compat library can take the place of the host's driver; nothing when the driver is not known, or newer than
// the table where the library does not say.
std::optional<bool> fits(const CompatLibrary& library, std::string_view driver);
// A compat library of the guest's that fits and has that CUDA.
const CompatLibrary* compat_for(const Evidence& evidence, CudaVersion cuda);
// "550.90.07 (CUDA 12.4)"
std::string with_cuda(std::string_view driver);

// "/a:/b" in parts, without empty ones and closing slashes. LD_PRELOAD has spaces between, too.
std::vector<std::string_view> parts_of(std::string_view list);
bool has_part(std::string_view list, std::string_view path);
// "/etc/environment:3", "/etc/systemd/system/worker.service:7 (worker.service)"
std::string place_of(const EnvironmentSetting& setting);
std::vector<const EnvironmentSetting*> settings_of(const Evidence& evidence, std::string_view name);

std::string_view directory_of(std::string_view path);
std::string_view file_name_of(std::string_view path);
// Fit for a message: printable, and cut when long.
std::string shown(std::string_view text);
// "libcuda.so.1 (535.183.01)"
std::string named(std::string_view path, std::string_view version);

}  // namespace cuda_nspawn
