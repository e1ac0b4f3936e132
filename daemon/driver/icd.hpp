// The small files through which loaders find NVIDIA's libraries: JSON of EGL (glvnd), Vulkan and EGL's external
// platforms, and OpenCL's one-line .icd. Some packages write absolute paths there, which do not exist in a guest.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

struct IcdFile {
    std::vector<std::string> libraries;        // file names, without directories
    std::optional<std::string> relative_text;  // the file with every path cut to its file name, if it had any
};

// Every member "library_path", wherever it stands. Nothing when the text is no JSON or names no library.
std::optional<IcdFile> parse_icd_json(std::string_view text);
// The first line of an OpenCL .icd file.
std::optional<IcdFile> parse_opencl_icd(std::string_view text);

}  // namespace cuda_nspawn
