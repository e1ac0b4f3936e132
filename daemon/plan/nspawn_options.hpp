// systemd-nspawn's command line as getopt_long() sees it (parse_argv() in src/nspawn/nspawn.c, systemd 252 to 257).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

struct NspawnOption {
    std::string name;  // the long one, without dashes
    std::string value;
    std::string text;  // as it was written
};

struct NspawnCommand {
    std::vector<NspawnOption> options;
    std::vector<std::string> parameters;  // what follows the options

    bool has(std::string_view name) const;
    // Of an option given several times the last counts.
    std::optional<std::string> value(std::string_view name) const;
};

// argv[0] is the program. Unknown options are kept, without a value.
NspawnCommand parse_nspawn_command(const std::vector<std::string>& argv);

}  // namespace cuda_nspawn
