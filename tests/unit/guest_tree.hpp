// A root file system for tests that need none on disk: paths and contents.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "guest/guest.hpp"

namespace cuda_nspawn {

class TextBytes final : public Bytes {
public:
    explicit TextBytes(std::string text) : text_(std::move(text)) {}
    std::uint64_t size() const override { return text_.size(); }
    bool read(std::uint64_t offset, void* to, std::size_t length) const override {
        if (offset > text_.size() || length > text_.size() - offset) return false;
        text_.copy(static_cast<char*>(to), length, offset);
        return true;
    }

private:
    std::string text_;
};

class FakeTree final : public GuestTree {
public:
    std::map<std::string, std::string, std::less<>> files;

    std::optional<std::string> read(std::string_view path, std::size_t limit) const override {
        auto found = files.find(path);
        if (found == files.end()) return std::nullopt;
        return found->second.substr(0, limit);
    }
    std::vector<std::string> list(std::string_view, std::size_t) const override { return {}; }
    bool is_file(std::string_view path) const override { return files.contains(path); }
    bool is_directory(std::string_view) const override { return false; }
    std::optional<TreeEntry> find(std::string_view) const override { return std::nullopt; }
    std::unique_ptr<Bytes> open(std::string_view path) const override {
        auto found = files.find(path);
        return found == files.end() ? nullptr : std::make_unique<TextBytes>(found->second);
    }
};

// The beginning of an ELF file: class 1 is 32 bits, 2 is 64; data 1 is little-endian.
inline std::string elf(unsigned machine, int elf_class = 2, int data = 1) {
    std::string content =
        "\x7f"
        "ELF";
    content += static_cast<char>(elf_class);
    content += static_cast<char>(data);
    content.resize(18);
    content += static_cast<char>(machine & 0xff);
    content += static_cast<char>(machine >> 8);
    content.resize(64);
    return content;
}

inline constexpr unsigned x86_64 = 62;
inline constexpr unsigned aarch64 = 183;

inline std::string glibc_banner(const std::string& version) {
    return std::string("\0GNU C Library (Debian GLIBC ", 29) + version + "-9) stable release version " + version +
           ".\n";
}

// Debian's layout.
inline FakeTree debian(const std::string& glibc = "2.36") {
    FakeTree tree;
    tree.files["/etc/os-release"] =
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nID=debian\n";
    tree.files["/lib64/ld-linux-x86-64.so.2"] = elf(x86_64);
    tree.files["/lib/x86_64-linux-gnu/libc.so.6"] = elf(x86_64) + glibc_banner(glibc);
    tree.files["/usr/lib/systemd/systemd"] = elf(x86_64);
    tree.files["/sbin/ldconfig"] = elf(x86_64);
    return tree;
}

}  // namespace cuda_nspawn
