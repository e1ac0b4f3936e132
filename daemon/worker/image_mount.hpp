// A raw image, mounted read-only for a look by systemd-dissect, which finds its partitions. Only in a mount namespace
// of the worker's own.
#pragma once

#include <filesystem>

namespace cuda_nspawn {

class ImageMount {
public:
    // Throws std::runtime_error with systemd-dissect's sentence.
    explicit ImageMount(const std::filesystem::path& image);
    ~ImageMount();
    ImageMount(const ImageMount&) = delete;
    ImageMount& operator=(const ImageMount&) = delete;
    const std::filesystem::path& place() const { return place_; }

private:
    std::filesystem::path place_;
};

}  // namespace cuda_nspawn
