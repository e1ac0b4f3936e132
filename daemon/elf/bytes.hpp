// A file's bytes, wherever they come from: the host's own files, a guest's through its reader, a test's text.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cuda_nspawn {

class Bytes {
public:
    virtual ~Bytes() = default;
    virtual std::uint64_t size() const = 0;
    // All of them or false; never waits for more.
    virtual bool read(std::uint64_t offset, void* to, std::size_t length) const = 0;
};

// Of an open file; the descriptor stays the caller's.
class FileBytes : public Bytes {
public:
    FileBytes(int fd, std::uint64_t size) : fd_(fd), size_(size) {}
    std::uint64_t size() const override { return size_; }
    bool read(std::uint64_t offset, void* to, std::size_t length) const override;

private:
    int fd_;
    std::uint64_t size_;
};

}  // namespace cuda_nspawn
