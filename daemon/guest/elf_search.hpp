// The search of glibc's loader for the libraries of a program, ld.so(8), in a root file system that does not run.
// Everything read is hostile input.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "elf/elf.hpp"
#include "guest/bounded_tree.hpp"
#include "guest/library_finder.hpp"
#include "guest/loader_cache.hpp"
#include "guest/software.hpp"

namespace cuda_nspawn {

// A file that the loader has loaded.
struct LoadedObject {
    std::string name;    // what was asked for
    std::string path;    // where it was found
    std::string origin;  // what $ORIGIN is in it
    TreeEntry entry;
    ElfFile elf;
    std::optional<std::size_t> loader;  // the object that asked for it first; the program has none
};

// What was asked for, and by which object.
struct Request {
    std::string name;
    std::size_t by = 0;
};

struct Location {
    std::string path;  // empty: nowhere
    FoundBy by = FoundBy::none;
};

class ElfSearch {
public:
    // library_path: as LD_LIBRARY_PATH has it. directories: the guest's configuration, for a guest without a cache,
    // which has one once it has been started.
    ElfSearch(const BoundedTree& tree, LoadedObject program, std::string_view library_path,
              const std::vector<std::string>& directories);

    // Loads all that the program needs, breadth first, each file once. False when there are too many of them.
    bool load_all();
    // Where the loader would find that library for that object.
    Location find(std::string_view name, std::size_t for_object) const;

    const std::deque<LoadedObject>& objects() const { return objects_; }
    struct Outcome {
        Request request;
        Location location;
        std::string real_name;  // of the file
    };
    // Of each name that was asked for, in that order, the first one to ask.
    const std::vector<Outcome>& outcomes() const { return outcomes_; }
    // What the loader's cache has of that name, whether it is there or not.
    std::vector<std::string> cached(std::string_view name) const;

    // In Guest's words.
    static std::string architecture_of(const ElfFile& elf);

private:
    // Whether the loader would take that file, or stumble over it and go no further.
    bool is_taken(const std::string& path) const;
    Location find_in_paths(std::string_view name, std::size_t for_object) const;
    Location find_by_default(std::string_view name) const;
    std::string find_in(std::string_view list, std::string_view name, const std::string& origin) const;
    std::string expand(std::string_view path, const std::string& origin) const;
    void load(const Request& request);

    const BoundedTree& tree_;
    std::deque<LoadedObject> objects_;
    std::string library_path_;
    LoaderCache cache_;
    std::vector<std::string> default_directories_;
    std::vector<std::string> configured_directories_;
    std::string lib_;  // what $LIB is
    std::string platform_;
    std::set<std::string, std::less<>> names_;  // that were asked for, and SONAMEs of what is loaded
    std::set<FileIdentity> files_;
    std::vector<Outcome> outcomes_;
};

}  // namespace cuda_nspawn
