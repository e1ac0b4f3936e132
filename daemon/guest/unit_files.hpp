// Service units of a guest, with their drop-ins, as its systemd reads them (systemd.unit(5)). Hostile input.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "guest/guest.hpp"

namespace cuda_nspawn {

struct UnitFile {
    std::string unit;  // "worker.service"; empty: a drop-in of all services
    std::string path;
};

// Units in the order of their names, each with its drop-ins behind it, as they apply. Only services, and of two files
// that one hides the one that counts.
std::vector<UnitFile> find_service_files(const GuestTree& tree);

struct UnitLine {
    unsigned line = 0;
    std::string key;
    std::string value;
};

// Of that section: "Service", "Manager".
std::vector<UnitLine> parse_unit(std::string_view text, std::string_view section);

// Of all services those of which a command has this path as its program or as a word of it.
std::set<std::string> units_that_run(const GuestTree& tree, std::string_view path);

constexpr std::size_t longest_unit_file = std::size_t{64} * 1024;

}  // namespace cuda_nspawn
