#include "plan/nspawn_options.hpp"

#include <algorithm>
#include <array>
#include <ranges>

#include <fmt/format.h>

namespace cuda_nspawn {
namespace {

enum class Takes { nothing, value, value_if_attached };

struct Known {
    std::string_view name;
    Takes takes = Takes::value;
    char letter = 0;
};

constexpr Known known_options[] = {
    {"help", Takes::nothing, 'h'},
    {"version", Takes::nothing},
    {"directory", Takes::value, 'D'},
    {"template"},
    {"ephemeral", Takes::nothing, 'x'},
    {"user", Takes::value, 'u'},
    {"private-network", Takes::nothing},
    {"as-pid2", Takes::nothing, 'a'},
    {"boot", Takes::nothing, 'b'},
    {"uuid"},
    {"read-only", Takes::nothing},
    {"capability"},
    {"ambient-capability"},
    {"drop-capability"},
    {"no-new-privileges"},
    {"link-journal"},
    {"-j", Takes::nothing, 'j'},  // has only the letter
    {"bind"},
    {"bind-ro"},
    {"bind-user"},
    {"tmpfs"},
    {"overlay"},
    {"overlay-ro"},
    {"inaccessible"},
    {"machine", Takes::value, 'M'},
    {"hostname"},
    {"slice", Takes::value, 'S'},
    {"setenv", Takes::value, 'E'},
    {"selinux-context", Takes::value, 'Z'},
    {"selinux-apifs-context", Takes::value, 'L'},
    {"quiet", Takes::nothing, 'q'},
    {"share-system", Takes::nothing},
    {"register"},
    {"keep-unit", Takes::nothing},
    {"network-interface"},
    {"network-macvlan"},
    {"network-ipvlan"},
    {"network-veth", Takes::nothing, 'n'},
    {"network-veth-extra"},
    {"network-bridge"},
    {"network-zone"},
    {"network-namespace-path"},
    {"personality"},
    {"image", Takes::value, 'i'},
    {"image-policy"},
    {"volatile", Takes::value_if_attached},
    {"port", Takes::value, 'p'},
    {"property"},
    {"private-users", Takes::value_if_attached},
    {"-U", Takes::nothing, 'U'},  // has only the letter
    {"private-users-chown", Takes::value_if_attached},
    {"private-users-ownership"},
    {"kill-signal"},
    {"settings"},
    {"chdir"},
    {"pivot-root"},
    {"notify-ready"},
    {"root-hash"},
    {"root-hash-sig"},
    {"verity-data"},
    {"system-call-filter"},
    {"rlimit"},
    {"oom-score-adjust"},
    {"cpu-affinity"},
    {"resolv-conf"},
    {"timezone"},
    {"console"},
    {"pipe", Takes::nothing, 'P'},
    {"oci-bundle"},
    {"no-pager", Takes::nothing},
    {"set-credential"},
    {"load-credential"},
    {"suppress-sync"},
    {"background"},
};

// getopt_long() takes any beginning of a name that fits only one.
const Known* find_long(std::string_view name) {
    const Known* found = nullptr;
    for (const Known& option : known_options) {
        if (option.name == name) return &option;
        if (!option.name.starts_with(name)) continue;
        if (found != nullptr) return nullptr;
        found = &option;
    }
    return found;
}

const Known* find_short(char letter) {
    auto found = std::ranges::find(known_options, letter, &Known::letter);
    return found == std::end(known_options) ? nullptr : found;
}

class CommandReader {
public:
    explicit CommandReader(const std::vector<std::string>& argv) : argv_(argv) {}

    NspawnCommand read() {
        for (; next_ < argv_.size(); ++next_) {
            const std::string& word = argv_[next_];
            if (word == "--") {
                ++next_;
                break;
            }
            if (word.starts_with("--")) {
                read_long(word);
            } else if (word.size() > 1 && word.front() == '-') {
                read_short(word);
            } else {
                break;  // "+" in nspawn's option string: the first parameter ends the options
            }
        }
        for (; next_ < argv_.size(); ++next_) command_.parameters.push_back(argv_[next_]);
        return std::move(command_);
    }

private:
    void read_long(const std::string& word) {
        std::size_t equals = word.find('=');
        std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
        const Known* known = find_long(name);
        NspawnOption option{known ? std::string(known->name) : name, "", word};
        if (equals != std::string::npos) {
            option.value = word.substr(equals + 1);
        } else if (known && known->takes == Takes::value) {
            take_next(option);
        }
        command_.options.push_back(std::move(option));
    }

    // "-bM NAME", "-bMNAME"
    void read_short(const std::string& word) {
        for (std::size_t i = 1; i < word.size(); ++i) {
            const Known* known = find_short(word[i]);
            NspawnOption option{known ? std::string(known->name) : std::string(1, word[i]), "",
                                fmt::format("-{}", word[i])};
            bool takes_value = known && known->takes == Takes::value;
            if (takes_value && i + 1 < word.size()) {
                option.value = word.substr(i + 1);
                option.text += option.value;
            } else if (takes_value) {
                take_next(option);
            }
            command_.options.push_back(std::move(option));
            if (takes_value) return;
        }
    }

    void take_next(NspawnOption& option) {
        if (next_ + 1 >= argv_.size()) return;
        option.value = argv_[++next_];
        option.text += " " + option.value;
    }

    const std::vector<std::string>& argv_;
    std::size_t next_ = 1;
    NspawnCommand command_;
};

}  // namespace

bool NspawnCommand::has(std::string_view name) const {
    return std::ranges::find(options, name, &NspawnOption::name) != options.end();
}

std::optional<std::string> NspawnCommand::value(std::string_view name) const {
    std::optional<std::string> last;
    for (const NspawnOption& option : options) {
        if (option.name == name) last = option.value;
    }
    return last;
}

NspawnCommand parse_nspawn_command(const std::vector<std::string>& argv) { return CommandReader(argv).read(); }

}  // namespace cuda_nspawn
