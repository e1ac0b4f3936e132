#include "bus/errors.hpp"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <stdexcept>

namespace cuda_nspawn::bus {
namespace {

using ::testing::ContainerEq;

std::string read(const std::filesystem::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The man page explains each by its name on a line and its meaning on the next.
TEST(BusErrors, the_man_page_has_exactly_those_of_the_table) {
    const std::string page = read(BUS_PAGE);
    const auto begin = page.find("# ERRORS\n");
    ASSERT_NE(begin, std::string::npos);
    const std::string section = page.substr(begin, page.find("\n# ", begin + 1) - begin);
    static const std::regex entry("\n\\*([A-Za-z]+)\\*\n\t([^\n]+)");
    std::vector<std::pair<std::string, std::string>> documented, known;
    for (std::sregex_iterator found(section.begin(), section.end(), entry), end; found != end; ++found)
        documented.emplace_back((*found)[1], (*found)[2]);
    for (const KnownError& one : known_errors()) known.emplace_back(one.name, one.meaning);
    EXPECT_THAT(documented, ContainerEq(known));
    EXPECT_GE(known.size(), 13U);
}

TEST(BusErrors, what_the_daemon_answers_is_in_the_table_and_the_table_has_nothing_else) {
    std::set<std::string> answered, known;
    static const std::regex made("(\\berror|JobRefused)\\(\\s*\"([A-Z][A-Za-z]+)\"");
    for (const char* folder : {"bus", "engine"})
        for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(DAEMON_DIR) / folder)) {
            const std::string text = read(file.path());
            for (std::sregex_iterator found(text.begin(), text.end(), made), end; found != end; ++found)
                answered.insert((*found)[2]);
        }
    for (const KnownError& one : known_errors()) known.insert(std::string(one.name));
    EXPECT_THAT(answered, ContainerEq(known));
}

TEST(BusErrors, an_error_has_its_full_name_and_others_are_none) {
    EXPECT_EQ(error("NoSuchJob", "no").getName(), "org.cudanspawn1.Error.NoSuchJob");
    EXPECT_THROW(error("NoSuch", "no"), std::logic_error);
}

}  // namespace
}  // namespace cuda_nspawn::bus
