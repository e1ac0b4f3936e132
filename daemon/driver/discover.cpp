#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <tuple>

#include "driver/driver.hpp"
#include "driver/kernel_side.hpp"
#include "driver/userspace.hpp"

namespace cuda_nspawn {
namespace {

template <class Value>
void append(std::vector<Value>& to, std::vector<Value> from) {
    std::ranges::move(from, std::back_inserter(to));
}

void add_userspace(const HostRoots& roots, Driver& driver) {
    const HostTree tree(roots.root);
    auto libraries = find_libraries(tree, driver.kernel_version);
    auto programs = libraries.version.empty() ? std::vector<DriverFile>() : find_programs(tree, libraries);
    auto data = libraries.version.empty() ? std::vector<DriverFile>() : find_data(tree, libraries);
    append(driver.notes, std::move(libraries.notes));
    driver.unreadable = libraries.unreadable;
    if (libraries.version.empty()) return;
    driver.userspace_version = libraries.version;
    if (!driver.kernel_version.empty() && driver.kernel_version != libraries.version)
        driver.notes.push_back(
            fmt::format("the running kernel module is {}, but the newest driver files are {} (in {})",
                        driver.kernel_version, libraries.version, libraries.cuda_directory));
    if (!libraries.foreign.empty())
        driver.notes.push_back(
            fmt::format("built by the distribution for its own glibc, so not for machines, which install their own "
                        "package where they need it: {}",
                        fmt::join(libraries.foreign, ", ")));
    driver.files = std::move(libraries.files);
    append(driver.files, std::move(programs));
    append(driver.files, std::move(data));
    std::ranges::sort(driver.files, {},
                      [](const DriverFile& file) { return std::tie(file.capability, file.kind, file.name); });
}

}  // namespace

Driver discover_driver(const HostRoots& roots) {
    auto kernel = read_kernel_side(roots);
    Driver driver;
    driver.kernel_version = std::move(kernel.version);
    driver.gpus = std::move(kernel.gpus);
    driver.control = std::move(kernel.control);
    driver.modeset = std::move(kernel.modeset);
    driver.node_mode = kernel.node_mode;
    driver.notes = std::move(kernel.notes);
    add_userspace(roots, driver);
    return driver;
}

}  // namespace cuda_nspawn
