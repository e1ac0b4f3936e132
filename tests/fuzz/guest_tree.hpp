// A guest's root file system made of one text: parts that begin with a line "@/path", the rest of the part being the
// file. Paths and contents are as hostile as the text.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "guest/guest.hpp"

namespace cuda_nspawn::fuzz {

class TextBytes final : public Bytes {
public:
    explicit TextBytes(std::string_view text) : text_(text) {}
    std::uint64_t size() const override { return text_.size(); }
    bool read(std::uint64_t offset, void* to, std::size_t length) const override {
        if (offset > text_.size() || length > text_.size() - offset) return false;
        text_.copy(static_cast<char*>(to), length, offset);
        return true;
    }

private:
    std::string text_;  // a copy of its own size, so that a byte too many is seen
};

class TextTree final : public GuestTree {
public:
    explicit TextTree(std::string_view text) {
        constexpr std::size_t most_files = 512;
        while (!text.empty() && files_.size() < most_files) {
            const std::size_t next = text.find("\n@/", 1);
            const std::string_view part = text.substr(0, next);
            text.remove_prefix(next == std::string_view::npos ? text.size() : next + 1);
            const std::size_t end = std::min(part.find('\n'), part.size());
            if (!part.starts_with("@/")) continue;
            const std::string path(part.substr(1, end - 1));
            files_[path] = part.substr(std::min(end + 1, part.size()));
            for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
                directories_.insert(path.substr(0, slash));
        }
    }

    std::optional<std::string> read(std::string_view path, std::size_t limit) const override {
        const auto found = files_.find(path);
        if (found == files_.end()) return std::nullopt;
        return found->second.substr(0, limit);
    }
    std::vector<std::string> list(std::string_view path, std::size_t limit) const override {
        const std::string prefix = std::string(path) + (path.ends_with('/') ? "" : "/");
        std::set<std::string> names;
        const auto add = [&](const std::string& one) {
            if (one.starts_with(prefix) && one.size() > prefix.size())
                names.insert(one.substr(prefix.size(), one.find('/', prefix.size()) - prefix.size()));
        };
        for (const auto& [file, content] : files_) add(file);
        names.erase("");
        names.erase(".");
        names.erase("..");
        std::vector<std::string> list(names.begin(), names.end());
        list.resize(std::min(list.size(), limit));
        return list;
    }
    bool is_file(std::string_view path) const override { return files_.contains(path); }
    bool is_directory(std::string_view path) const override { return directories_.contains(path); }
    std::optional<TreeEntry> find(std::string_view path) const override {
        const bool is_regular = files_.contains(path);
        if (!is_regular && !is_directory(path)) return std::nullopt;
        return TreeEntry{.type = is_regular ? FileType::regular : FileType::directory,
                         .device = 1,
                         .inode = std::hash<std::string_view>{}(path),
                         .size = is_regular ? files_.find(path)->second.size() : 0,
                         .real_name = std::string(path.substr(path.rfind('/') + 1)),
                         .real_path = std::string(path)};
    }
    std::unique_ptr<Bytes> open(std::string_view path) const override {
        const auto found = files_.find(path);
        return found == files_.end() ? nullptr : std::make_unique<TextBytes>(found->second);
    }

private:
    std::map<std::string, std::string, std::less<>> files_;
    std::set<std::string, std::less<>> directories_;
};

}  // namespace cuda_nspawn::fuzz
