#include "worker/clean.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "guest/printable.hpp"
#include "guest/rootfs_reader.hpp"
#include "names.hpp"
#include "policy/machine_name.hpp"
#include "worker/command.hpp"
#include "worker/images.hpp"

namespace cuda_nspawn {

namespace {

constexpr std::size_t most_changes = 64;
constexpr std::size_t longest_path = 512;
constexpr auto time_limit = std::chrono::seconds(45);  // the set-up gives ldconfig 30

}  // namespace

std::vector<Change> removed_in(std::string_view output) {
    constexpr std::string_view word = "removed /";
    std::vector<Change> changes;
    while (!output.empty() && changes.size() < most_changes) {
        const std::string_view line = output.substr(0, output.find('\n'));
        output.remove_prefix(std::min(line.size() + 1, output.size()));
        if (line.starts_with(word))
            changes.push_back({"remove", printable(line.substr(word.size() - 1), longest_path), "in the machine"});
    }
    return changes;
}

std::vector<std::string> clean_command(const std::string& machine, const std::string& image,
                                       std::optional<unsigned> owner) {
    // A tree that belongs to the host's root is mapped, one whose owners nspawn once shifted is taken as it is.
    const bool shifted = owner && *owner != 0;
    return {"/usr/bin/systemd-nspawn", "--quiet",
            // Of --image= it wants udev, which it does without for what it finds by its name.
            owner ? fmt::format("--directory={}", image) : fmt::format("--machine={}", machine), "--settings=no",
            "--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--as-pid2", "--pipe",
            shifted ? fmt::format("--private-users={}:65536", *owner) : "--private-users=pick",
            shifted ? "--private-users-ownership=off" : "--private-users-ownership=map",
            fmt::format("--bind-ro={}/inside:/run/cuda-nspawn-clean", names::program_directory),
            "/run/cuda-nspawn-clean/setup", "remove"};
}

Cleaned clean(const std::string& machine) {
    if (const auto error = machine_name_error(machine)) throw std::runtime_error(*error);
    const std::string image = find_image("/", machine);
    if (image.empty()) throw std::runtime_error(fmt::format("there is no image of machine \"{}\"", machine));
    std::optional<unsigned> owner;
    if (struct stat status{}; ::stat(image.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        owner = status.st_uid;
        if (!examine_guest(RootfsReader(std::filesystem::path(image))).has_ldconfig)
            throw std::runtime_error(
                fmt::format("{} has no ldconfig, which would make its loader's cache without the driver", image));
    }
    const CommandEnd done = run_command(clean_command(machine, image, owner), time_limit);
    Cleaned cleaned{removed_in(done.output), ""};
    if (!done.in_time)
        cleaned.failure =
            fmt::format("{}: the set-up in it took more than {} s and was ended", image, time_limit.count());
    else if (!done.succeeded())
        cleaned.failure = fmt::format("{}: {}", image, done.last_line());
    return cleaned;
}

}  // namespace cuda_nspawn
