// Where a guest's loader looks for libraries: /etc/ld.so.conf as ldconfig reads it. Everything read is hostile input.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

struct LoaderConfiguration {
    std::vector<std::string> directories;  // that exist, in the loader's order, each once; the built-in ones last
    std::size_t before_fragment = 0;       // how many of them are named before our fragment would be read
    bool reads_fragments = false;          // an include names what is in /etc/ld.so.conf.d
};

// That the loader knows without any configuration, in its order.
std::vector<std::string> built_in_directories(std::string_view architecture);

LoaderConfiguration read_loader_configuration(const GuestTree& tree, std::string_view architecture);

}  // namespace cuda_nspawn
