// discovery [ROUNDS [ROOT]]: how long the daemon's look at the driver takes on this host, or with the files below
// another root, and its floor: listing the directories that hold the driver's files and reading the beginning of each
// file, the loader's cache and the module's side once. Prints "MEDIAN FLOOR FILES", the times in microseconds.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "driver/driver.hpp"

namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

void read_all(const fs::path& path, std::size_t limit) {
    static std::array<char, 1 << 16> buffer;
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    for (std::size_t done = 0; done < limit;) {
        const ssize_t got = ::read(file, buffer.data(), std::min(buffer.size(), limit - done));
        if (got <= 0) break;
        done += static_cast<std::size_t>(got);
    }
    ::close(file);
}

void read_the_same(const cuda_nspawn::Driver& driver, const std::string& root) {
    constexpr std::size_t page = 4096;
    std::set<fs::path> directories;
    for (const auto& file : driver.files) directories.insert(fs::path(root + file.source).parent_path());
    std::error_code ignored;
    for (const fs::path& directory : directories)
        for (fs::directory_iterator entry(directory, ignored), end; entry != end; entry.increment(ignored))
            if (entry->is_symlink(ignored)) (void)fs::read_symlink(entry->path(), ignored);
    for (const auto& file : driver.files) read_all(root + file.source, page);
    read_all(root + "/etc/ld.so.cache", SIZE_MAX);
    read_all("/proc/devices", SIZE_MAX);
    read_all("/proc/driver/nvidia/version", SIZE_MAX);
    for (const auto& gpu : driver.gpus)
        read_all(fs::path("/proc/driver/nvidia/gpus") / gpu.pci_address / "information", SIZE_MAX);
}

template <class Work>
double microseconds(Work&& work) {
    const auto begin = Clock::now();
    work();
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
    if (rounds < 1) {
        std::fputs("usage: discovery [ROUNDS [ROOT]]\n", stderr);
        return 2;
    }
    const std::string root = argc > 2 ? argv[2] : "";
    cuda_nspawn::HostRoots roots;
    if (!root.empty()) roots.root = root;
    cuda_nspawn::Driver driver = cuda_nspawn::discover_driver(roots);
    std::vector<double> discovery;
    std::vector<double> floor;
    for (int round = 0; round < rounds; ++round) {
        discovery.push_back(microseconds([&] { driver = cuda_nspawn::discover_driver(roots); }));
        floor.push_back(microseconds([&] { read_the_same(driver, root); }));
    }
    std::printf("%.1f %.1f %zu\n", median(discovery), median(floor), driver.files.size());
    return 0;
}
