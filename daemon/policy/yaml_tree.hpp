// YAML text as a small tree that keeps what yaml-cpp's own nodes lose: every key (duplicates too) and where it stands.
// The subset a policy needs: one document, no anchors, aliases or tags, bounded in every direction.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/policy.hpp"

namespace cuda_nspawn {

struct YamlEntry;

struct YamlNode {
    enum class Kind { null, scalar, list, map };
    Kind kind = Kind::null;
    unsigned line = 0;               // from 1
    unsigned column = 0;             // from 1
    std::string text;                // of a scalar
    std::vector<YamlNode> items;     // of a list
    std::vector<YamlEntry> entries;  // of a map, in the file's order
};

struct YamlEntry {
    YamlNode key;
    YamlNode value;
};

struct YamlTree {
    YamlNode root;                        // null for an empty text
    std::vector<Diagnostic> diagnostics;  // not empty: the root is not to be used
};

YamlTree read_yaml(std::string_view path, std::string_view text);

}  // namespace cuda_nspawn
