#include "worker/image_mount.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>

#include "worker/command.hpp"

namespace cuda_nspawn {

namespace {
constexpr const char* dissect = "/usr/bin/systemd-dissect";
constexpr auto time_limit = std::chrono::seconds(20);
}  // namespace

ImageMount::ImageMount(const std::filesystem::path& image) {
    std::string place = "/tmp/image-XXXXXX";  // the unit's own /tmp
    if (::mkdtemp(place.data()) == nullptr)
        throw std::runtime_error(fmt::format("no directory to mount an image on: {}", std::strerror(errno)));
    const CommandEnd end =
        run_command({dissect, "--mount", "--read-only", "--discard=disabled", "--fsck=no", image, place}, time_limit);
    if (!end.succeeded()) {
        std::error_code ignored;
        std::filesystem::remove(place, ignored);
        throw std::runtime_error(fmt::format("{}: {}", image.native(), end.last_line()));
    }
    place_ = place;
}

ImageMount::~ImageMount() {
    try {
        run_command({dissect, "--umount", "--rmdir", place_}, time_limit);
    } catch (const std::runtime_error&) {
        return;  // the namespace ends with the worker
    }
}

}  // namespace cuda_nspawn
