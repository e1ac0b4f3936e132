#include "doctor/cuda_table.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "elf/version.hpp"

namespace cuda_nspawn {
namespace {

// The driver that came with the general release of each toolkit, and so has all of it: NVIDIA, "CUDA Toolkit Release
// Notes", table "CUDA Toolkit and Corresponding Driver Versions", column Linux x86_64 (of 13.2 Update 2; 13.3 of its
// own). From 13.4 on a toolkit names no driver of its own.
struct ToolkitRow {
    CudaVersion toolkit;
    std::string_view driver;
};
constexpr std::array toolkits{
    ToolkitRow{{9, 0}, "384.81"},     ToolkitRow{{9, 1}, "390.46"},     ToolkitRow{{9, 2}, "396.26"},
    ToolkitRow{{10, 0}, "410.48"},    ToolkitRow{{10, 1}, "418.39"},    ToolkitRow{{10, 2}, "440.33"},
    ToolkitRow{{11, 0}, "450.51.05"}, ToolkitRow{{11, 1}, "455.23"},    ToolkitRow{{11, 2}, "460.27.03"},
    ToolkitRow{{11, 3}, "465.19.01"}, ToolkitRow{{11, 4}, "470.42.01"}, ToolkitRow{{11, 5}, "495.29.05"},
    ToolkitRow{{11, 6}, "510.39.01"}, ToolkitRow{{11, 7}, "515.43.04"}, ToolkitRow{{11, 8}, "520.61.05"},
    ToolkitRow{{12, 0}, "525.60.13"}, ToolkitRow{{12, 1}, "530.30.02"}, ToolkitRow{{12, 2}, "535.54.03"},
    ToolkitRow{{12, 3}, "545.23.06"}, ToolkitRow{{12, 4}, "550.54.14"}, ToolkitRow{{12, 5}, "555.42.02"},
    ToolkitRow{{12, 6}, "560.28.03"}, ToolkitRow{{12, 8}, "570.26"},    ToolkitRow{{12, 9}, "575.51.03"},
    ToolkitRow{{13, 0}, "580.65.06"}, ToolkitRow{{13, 1}, "590.44.01"}, ToolkitRow{{13, 2}, "595.45.04"},
    ToolkitRow{{13, 3}, "610.43.02"},
};

// The CUDA version that nvidia-smi of a branch shows. Of the same table, but for 387 (with which 9.1 first came) and
// 565 (12.7, of which there was no toolkit).
struct BranchRow {
    unsigned branch;
    CudaVersion cuda;
};
constexpr std::array branches{
    BranchRow{384, {9, 0}},  BranchRow{387, {9, 1}},  BranchRow{390, {9, 1}},  BranchRow{396, {9, 2}},
    BranchRow{410, {10, 0}}, BranchRow{418, {10, 1}}, BranchRow{440, {10, 2}}, BranchRow{450, {11, 0}},
    BranchRow{455, {11, 1}}, BranchRow{460, {11, 2}}, BranchRow{465, {11, 3}}, BranchRow{470, {11, 4}},
    BranchRow{495, {11, 5}}, BranchRow{510, {11, 6}}, BranchRow{515, {11, 7}}, BranchRow{520, {11, 8}},
    BranchRow{525, {12, 0}}, BranchRow{530, {12, 1}}, BranchRow{535, {12, 2}}, BranchRow{545, {12, 3}},
    BranchRow{550, {12, 4}}, BranchRow{555, {12, 5}}, BranchRow{560, {12, 6}}, BranchRow{565, {12, 7}},
    BranchRow{570, {12, 8}}, BranchRow{575, {12, 9}}, BranchRow{580, {13, 0}}, BranchRow{590, {13, 1}},
    BranchRow{595, {13, 2}}, BranchRow{610, {13, 3}},
};

// Minor-version compatibility: NVIDIA, "CUDA Compatibility", and the table of minimum required drivers in the release
// notes. CUDA 10 and older have none.
struct MajorRow {
    unsigned major;
    std::string_view driver;
};
constexpr std::array majors{
    MajorRow{11, "450.80.02"},
    MajorRow{12, "525.60.13"},
    MajorRow{13, "580.65.06"},
};

// The first and the last toolkit that compile for a GPU: NVIDIA, "PTX ISA", release notes (what was added), and "CUDA
// Toolkit Release Notes" (what was dropped). 0.0: before the table begins, or not dropped. GPUs of boards that have no
// x86-64 host are there as far as they are sure.
struct CapabilityRow {
    ComputeCapability gpu;
    CudaVersion first;
    CudaVersion last;
};
constexpr CudaVersion open{};
constexpr std::array capabilities{
    CapabilityRow{{2, 0}, open, {8, 0}},   CapabilityRow{{2, 1}, open, {8, 0}},
    CapabilityRow{{3, 0}, open, {10, 2}},  CapabilityRow{{3, 5}, open, {11, 8}},
    CapabilityRow{{3, 7}, open, {11, 8}},  CapabilityRow{{5, 0}, open, {12, 9}},
    CapabilityRow{{5, 2}, open, {12, 9}},  CapabilityRow{{6, 0}, open, {12, 9}},
    CapabilityRow{{6, 1}, open, {12, 9}},  CapabilityRow{{7, 0}, {9, 0}, {12, 9}},
    CapabilityRow{{7, 5}, {10, 0}, open},  CapabilityRow{{8, 0}, {11, 0}, open},
    CapabilityRow{{8, 6}, {11, 1}, open},  CapabilityRow{{8, 7}, {11, 4}, open},
    CapabilityRow{{8, 9}, {11, 8}, open},  CapabilityRow{{9, 0}, {11, 8}, open},
    CapabilityRow{{10, 0}, {12, 8}, open}, CapabilityRow{{10, 3}, {12, 9}, open},
    CapabilityRow{{11, 0}, {13, 0}, open}, CapabilityRow{{12, 0}, {12, 8}, open},
    CapabilityRow{{12, 1}, {12, 9}, open},
};

// Families of Python packages by the CUDA that they are built with: PyTorch's and NVIDIA's indexes have cu118 and one
// or more of 12 and 13; CuPy calls them cuda11x, cuda12x, cuda13x.
struct WheelRow {
    std::string_view family;
    CudaVersion oldest, newest;  // toolkits that its packages are built with
};
constexpr std::array wheels{
    WheelRow{"cu118", {11, 8}, {11, 8}},
    WheelRow{"cu12x", {12, 0}, {12, 9}},
    WheelRow{"cu13x", {13, 0}, toolkits.back().toolkit},
};

constexpr std::size_t longest_number = 4;

// Takes the number at the beginning of the text, of four digits at most.
std::optional<unsigned> take_number(std::string_view& text) {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const auto length = static_cast<std::size_t>(end - text.data());
    if (error != std::errc{} || length > longest_number) return std::nullopt;
    text.remove_prefix(length);
    return number;
}

const CapabilityRow* find_capability(ComputeCapability gpu) {
    const auto* row = std::ranges::find(capabilities, gpu, &CapabilityRow::gpu);
    return row == capabilities.end() ? nullptr : row;
}

bool family_has_code(const WheelRow& family, ComputeCapability gpu) {
    const CapabilityRow* row = find_capability(gpu);
    if (row == nullptr) return true;  // not known
    return row->first <= family.newest && (row->last == open || row->last >= family.oldest);
}

bool is_older_than_table(std::string_view driver) { return driver_branch(driver) < branches.front().branch; }

std::string describe_toolkits(std::string_view driver, CudaVersion cuda, std::optional<ComputeCapability> gpu) {
    std::string text = fmt::format("driver {} (CUDA {}) runs ", driver, to_string(cuda));
    const auto oldest = gpu ? oldest_toolkit_for(*gpu) : std::nullopt;
    const auto newest = gpu ? newest_toolkit_for(*gpu) : std::nullopt;
    if (oldest && newest && *oldest > cuda)
        return text + fmt::format("toolkits up to {}, and the GPU (compute capability {}) needs {} or newer",
                                  to_string(cuda), to_string(*gpu), to_string(*oldest));
    if (oldest && newest)
        text += fmt::format("toolkits {} to {} on this GPU (compute capability {})", to_string(*oldest),
                            to_string(std::min(*newest, cuda)), to_string(*gpu));
    else
        text += fmt::format("toolkits up to {}", to_string(cuda));
    const bool more = newest_cuda() > cuda && toolkit_fit({cuda.major, cuda.minor + 1}, driver) == Fit::minor_version;
    if (more && (!newest || *newest > cuda))
        text +=
            fmt::format(", newer ones of CUDA {} as far as they bring code for the GPU and not only PTX", cuda.major);
    return text;
}

}  // namespace

std::string to_string(CudaVersion version) { return fmt::format("{}.{}", version.major, version.minor); }

std::optional<CudaVersion> parse_cuda_version(std::string_view text) {
    const auto major = take_number(text);
    if (!major || *major == 0) return std::nullopt;
    if (text.empty()) return CudaVersion{*major, 0};
    if (!text.starts_with('.')) return std::nullopt;
    text.remove_prefix(1);
    const auto minor = take_number(text);
    if (!minor || (!text.empty() && !text.starts_with('.'))) return std::nullopt;
    if (text.find_first_not_of("0123456789.") != std::string_view::npos) return std::nullopt;
    return CudaVersion{*major, *minor};
}

unsigned driver_branch(std::string_view driver) {
    if (driver.find_first_not_of("0123456789.") != std::string_view::npos) return 0;
    const auto branch = take_number(driver);
    return branch && driver.starts_with('.') ? *branch : 0;
}

std::optional<CudaVersion> cuda_of_driver(std::string_view driver) {
    const unsigned branch = driver_branch(driver);
    if (branch < branches.front().branch || branch > branches.back().branch) return std::nullopt;
    const auto* after = std::ranges::upper_bound(branches, branch, {}, &BranchRow::branch);
    return std::prev(after)->cuda;
}

bool is_newer_than_table(std::string_view driver) { return driver_branch(driver) > branches.back().branch; }

CudaVersion newest_cuda() { return branches.back().cuda; }
unsigned newest_branch() { return branches.back().branch; }

Fit toolkit_fit(CudaVersion toolkit, std::string_view driver) {
    if (driver_branch(driver) == 0) return Fit::unknown;
    // A driver runs all that is older.
    if (is_newer_than_table(driver)) return toolkit <= newest_cuda() ? Fit::yes : Fit::unknown;
    const auto cuda = cuda_of_driver(driver);
    if (cuda && toolkit <= *cuda) return Fit::yes;
    if (!cuda && toolkit < toolkits.front().toolkit) return Fit::unknown;
    const auto* row = std::ranges::find(majors, toolkit.major, &MajorRow::major);
    if (row != majors.end() && compare_versions(driver, row->driver) >= 0) return Fit::minor_version;
    return Fit::no;
}

std::string oldest_driver(CudaVersion toolkit) {
    const auto* row = std::ranges::find(toolkits, toolkit, &ToolkitRow::toolkit);
    return row == toolkits.end() ? "" : std::string(row->driver);
}

std::string oldest_compatible_driver(CudaVersion toolkit) {
    std::string own = oldest_driver(toolkit);
    const auto* row = std::ranges::find(majors, toolkit.major, &MajorRow::major);
    if (row == majors.end()) return own;
    return own.empty() || compare_versions(row->driver, own) < 0 ? std::string(row->driver) : own;
}

std::optional<bool> compiles_for(CudaVersion toolkit, ComputeCapability gpu) {
    const CapabilityRow* row = find_capability(gpu);
    if (row == nullptr || toolkit > toolkits.back().toolkit) return std::nullopt;
    if (toolkit < row->first || (row->last != open && toolkit > row->last)) return false;
    if (row->first == open && toolkit < toolkits.front().toolkit) return std::nullopt;
    return true;
}

std::optional<CudaVersion> oldest_toolkit_for(ComputeCapability gpu) {
    const CapabilityRow* row = find_capability(gpu);
    if (row == nullptr || (row->last != open && row->last < toolkits.front().toolkit)) return std::nullopt;
    return std::max(row->first, toolkits.front().toolkit);
}

std::optional<CudaVersion> newest_toolkit_for(ComputeCapability gpu) {
    if (!oldest_toolkit_for(gpu)) return std::nullopt;
    const CapabilityRow* row = find_capability(gpu);
    return row->last == open ? toolkits.back().toolkit : row->last;
}

std::vector<std::string> fitting_wheels(std::string_view driver, std::optional<ComputeCapability> gpu) {
    std::vector<std::string> families;
    if (driver_branch(driver) == 0) return families;
    for (const WheelRow& family : wheels) {
        const Fit fit = toolkit_fit(family.oldest, driver);
        if ((fit == Fit::yes || fit == Fit::minor_version) && (!gpu || family_has_code(family, *gpu)))
            families.emplace_back(family.family);
    }
    return families;
}

std::string what_fits(std::string_view driver, std::optional<ComputeCapability> gpu) {
    if (driver_branch(driver) == 0) return "the driver's version is not known";
    const CudaVersion newest = newest_cuda();
    if (is_newer_than_table(driver))
        return fmt::format(
            "driver {} is newer than this version's table, which ends with branch {} (CUDA {}): it runs toolkits up to "
            "{}, and what it has beyond that is not known here",
            driver, branches.back().branch, to_string(newest), to_string(newest));
    if (is_older_than_table(driver))
        return fmt::format("driver {} is older than this version's table, which begins with branch {} (CUDA {})",
                           driver, branches.front().branch, to_string(branches.front().cuda));
    std::string text = describe_toolkits(driver, *cuda_of_driver(driver), gpu);
    const auto families = fitting_wheels(driver, gpu);
    if (!families.empty()) text += fmt::format("; of Python packages the families {}", fmt::join(families, ", "));
    return text;
}

}  // namespace cuda_nspawn
