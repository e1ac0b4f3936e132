#include <gtest/gtest.h>

#include "ctl/output.hpp"
#include "ctl/table.hpp"
#include "ctl/terminal.hpp"

namespace cuda_nspawn::ctl {
namespace {

TEST(CtlTable, ColumnsAreAsWideAsWhatIsInThem) {
    Table table({"NAME", "PID", "TEXT"}, {1});
    table.add({{"a"}, {"7"}, {"one"}});
    table.add({{"longer-name"}, {"12345"}, {"two"}});
    EXPECT_EQ(table.text(true),
              "NAME           PID  TEXT\n"
              "a                7  one\n"
              "longer-name  12345  two\n");
}

TEST(CtlTable, WithoutHeaderItsWordsTakeNoRoom) {
    Table table({"A-LONG-WORD", "TEXT"});
    table.add({{"a"}, {"one"}});
    EXPECT_EQ(table.text(false), "a  one\n");
}

TEST(CtlTable, NoLineEndsInBlanks) {
    Table table({"NAME", "TEXT"});
    table.add({{"a"}, {""}});
    table.add({{"bb"}, {"text"}});
    EXPECT_EQ(table.text(true), "NAME  TEXT\na\nbb    text\n");
}

TEST(CtlTable, TheLastColumnIsCutWhereTheLineWouldBeTooLong) {
    Table table({"NAME", "TEXT"});
    table.add({{"a"}, {"a sentence that is longer than the terminal"}});
    EXPECT_EQ(table.text(true, 26), "NAME  TEXT\na     a sentence that i...\n");
    EXPECT_EQ(table.text(true, 3), "NAME  TEXT\na     a sentenc...\n") << "something is left on a narrow one";
}

TEST(CtlTerminal, ColoursHaveNoWidthAndWideCharactersHaveTwoColumns) {
    set_up_locale();
    EXPECT_EQ(width_of("abc"), 3U);
    EXPECT_EQ(width_of("\x1b[1;31mabc\x1b[0m"), 3U);
    EXPECT_EQ(width_of("é●"), 2U);
    EXPECT_EQ(width_of("漢字"), 4U);
    EXPECT_EQ(width_of("\xff\xfe"), 2U) << "no UTF-8";
    EXPECT_EQ(cut("漢字", 4), "漢字");
    EXPECT_EQ(width_of(cut("漢字漢字", 5)) <= 5, true);
}

TEST(CtlTerminal, TheEnvironmentDecidesAboutColours) {
    EXPECT_TRUE(wants_colours(nullptr, nullptr, "xterm", true));
    EXPECT_TRUE(wants_colours(nullptr, "", "xterm", true)) << "an empty NO_COLOR says nothing";
    EXPECT_FALSE(wants_colours(nullptr, nullptr, "xterm", false));
    EXPECT_FALSE(wants_colours(nullptr, "1", "xterm", true));
    EXPECT_FALSE(wants_colours(nullptr, nullptr, "dumb", true));
    EXPECT_FALSE(wants_colours("0", nullptr, "xterm", true));
    EXPECT_FALSE(wants_colours("false", nullptr, "xterm", true));
    EXPECT_TRUE(wants_colours("1", "1", "dumb", false)) << "SYSTEMD_COLORS decides where it is set";
    EXPECT_TRUE(wants_colours("256", nullptr, "xterm", false));
    EXPECT_FALSE(wants_colours("auto-16", nullptr, "xterm", false));
}

TEST(CtlTerminal, WhatComesFromAGuestCannotSteerATerminal) {
    EXPECT_EQ(harmless("a\x1b]0;title\x07z\n"), "a\xef\xbf\xbd]0;title\xef\xbf\xbdz ");
}

TEST(CtlOutput, IndicesOfGpusAreRanges) {
    EXPECT_EQ(index_ranges({}), "-");
    EXPECT_EQ(index_ranges({0}), "0");
    EXPECT_EQ(index_ranges({0, 1, 2, 5, 7, 8}), "0-2,5,7-8");
}

}  // namespace
}  // namespace cuda_nspawn::ctl
