// Gives a target each file of a folder: replay TARGET FOLDER. What was found once stays found.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "targets.hpp"

namespace {

// Slow on a busy machine under a sanitizer, and far from what a hang takes.
constexpr auto longest = std::chrono::seconds(10);

}  // namespace

int main(int argc, char** argv) {
    using namespace cuda_nspawn::fuzz;
    if (argc == 2 && std::string(argv[1]) == "--list") {
        for (const auto& [name, target] : targets()) fmt::print("{}\n", name);
        return 0;
    }
    const auto target = argc == 3 ? targets().find(argv[1]) : targets().end();
    if (target == targets().end()) return fmt::print(stderr, "replay TARGET FOLDER, or replay --list\n"), 2;
    unsigned files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(argv[2])) {
        std::ifstream file(entry.path(), std::ios::binary);
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        fmt::print("{}\n", entry.path().filename().native());
        std::fflush(stdout);
        const auto begin = std::chrono::steady_clock::now();
        target->second(text);
        require(std::chrono::steady_clock::now() - begin < longest, "it ends soon");
        ++files;
    }
    require(files > 0, "the corpus has files");
    fmt::print("{} files\n", files);
}
