#include "guest/script.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "guest/environment_text.hpp"
#include "guest/printable.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::size_t longest_path = 256;
constexpr std::string_view blanks = " \t\r";

std::string next_word(std::string_view& line) {
    line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
    return take_word(line, blanks);
}

}  // namespace

std::string find_in_path(const GuestTree& tree, std::string_view name) {
    if (name.empty() || name.size() > longest_path) return "";
    for (const std::string_view directory : {"/usr/local/bin", "/usr/bin", "/bin"}) {
        std::string path = fmt::format("{}/{}", directory, name);
        const auto entry = tree.find(path);
        if (entry && entry->type == FileType::regular) return path;
    }
    return "";
}

std::string interpreter_of_script(const GuestTree& tree, std::string_view beginning) {
    if (!beginning.starts_with("#!")) return "";
    std::string_view line = beginning.substr(2, beginning.find('\n') - 2);
    const std::string interpreter = next_word(line);
    if (!interpreter.ends_with("/env")) return printable(interpreter, longest_path);
    // Its options and assignments come first: "env -S python3 -u", "env A=1 python3".
    std::string name = next_word(line);
    while (!name.empty() && (name.starts_with('-') || name.find('=') != std::string::npos)) name = next_word(line);
    if (name.find('/') != std::string::npos) return printable(name, longest_path);
    const std::string found = find_in_path(tree, name);
    return printable(found.empty() ? name : found, longest_path);
}

}  // namespace cuda_nspawn
