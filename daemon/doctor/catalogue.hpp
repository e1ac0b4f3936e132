// Every code that a finding may have, in the order in which causes are likely to be the first: what is earlier breaks
// more. A finding folds those that it explains under itself; no two explain each other, not over others either.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

struct CatalogueEntry {
    std::string_view code;
    std::vector<std::string_view> explains;  // codes that are its consequences where both are found
};
const std::vector<CatalogueEntry>& finding_catalogue();

// Its place in there, by which findings of one severity are ordered; the catalogue's size if there is no such code.
std::size_t rank_of(std::string_view code);
bool explains(std::string_view code, std::string_view other);

}  // namespace cuda_nspawn
