#include "policy/machine_name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cuda_nspawn {
namespace {

using testing::HasSubstr;

TEST(MachineName, accepts_what_systemd_nspawn_accepts) {
    for (std::string name : {"a", "trainer", "my-box", "a.b.c", "UPPER", "0", "1st", "a--b", "xn--bcher-kva"}) {
        EXPECT_EQ(machine_name_error(name), std::nullopt) << name;
    }
    EXPECT_TRUE(is_machine_name(std::string(64, 'a')));
}

TEST(MachineName, refuses_what_systemd_nspawn_refuses) {
    for (std::string name : {"",    ".host", "-a",  "a-",  "a.-b",   "a-.b", ".a",  "a.",   "a..b", "..",    ".",  "-",
                             "a_b", "_",     "a b", "a/b", "../etc", "a@b",  "a%b", "a\\b", "a:b",  "größe", "a\n"}) {
        EXPECT_FALSE(is_machine_name(name)) << name;
    }
    EXPECT_FALSE(is_machine_name(std::string(65, 'a')));
    EXPECT_FALSE(is_machine_name(std::string_view("a\0b", 3)));
}

TEST(MachineName, says_what_is_wrong_without_repeating_control_characters) {
    EXPECT_EQ(machine_name_error("a\033[31m\n").value(),
              "'a\\x1b[31m\\x0a' is no machine name: only the letters a-z and A-Z, digits, '-' and '.' may be used.");
    EXPECT_THAT(machine_name_error(std::string(65, 'a')).value(), HasSubstr("65 characters, 64 are allowed"));
    EXPECT_THAT(machine_name_error("a-").value(), HasSubstr("begin or end with a dash"));
    EXPECT_THAT(machine_name_error("a..b").value(), HasSubstr("empty part"));
    EXPECT_THAT(machine_name_error(".host").value(), HasSubstr("the host itself"));
}

// Compared with systemd-escape(1) of systemd 257.
TEST(UnitName, is_escaped_as_systemd_escape_does) {
    EXPECT_EQ(escape_unit_name("my-box"), "my\\x2dbox");
    EXPECT_EQ(escape_unit_name("a.b"), "a.b");
    EXPECT_EQ(escape_unit_name(".a-b_c/d\\x"), "\\x2ea\\x2db_c-d\\x5cx");
    EXPECT_EQ(escape_unit_name("\xc3\xa9"), "\\xc3\\xa9");
    EXPECT_EQ(escape_unit_name("UPPER:1"), "UPPER:1");
}

TEST(BusLabel, is_escaped_as_sd_bus_does) {
    EXPECT_EQ(escape_bus_label("my-box"), "my_2dbox");
    EXPECT_EQ(escape_bus_label("1a1"), "_31a1");
    EXPECT_EQ(escape_bus_label("a.B_c"), "a_2eB_5fc");
    EXPECT_EQ(escape_bus_label(""), "_");
}

TEST(BusLabel, unescapes_to_the_same_name) {
    for (std::string name : {"", "a", "my-box", "1a.B", "---", "Z9"}) {
        EXPECT_EQ(unescape_bus_label(escape_bus_label(name)), name);
    }
}

TEST(BusLabel, that_is_no_escaped_name_is_refused) {
    for (std::string label : {"a_", "a_2", "a_2g", "a_2D", "1a", "_61", "a-b", "a/b", "__"}) {
        EXPECT_EQ(unescape_bus_label(label), std::nullopt) << label;
    }
}

}  // namespace
}  // namespace cuda_nspawn
