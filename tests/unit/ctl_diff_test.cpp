#include <gtest/gtest.h>

#include "ctl/diff.hpp"

namespace cuda_nspawn::ctl {
namespace {

TEST(CtlDiff, LinesAreColouredByWhatTheySay) {
    EXPECT_EQ(colour_of_diff_line("--- /etc/old"), Colour::bold);
    EXPECT_EQ(colour_of_diff_line("+++ /dev/null"), Colour::bold);
    EXPECT_EQ(colour_of_diff_line("@@ -1,2 +1,3 @@"), Colour::cyan);
    EXPECT_EQ(colour_of_diff_line("+added"), Colour::green);
    EXPECT_EQ(colour_of_diff_line("-taken"), Colour::red);
    EXPECT_EQ(colour_of_diff_line(" as it was"), Colour::none);
    EXPECT_EQ(colour_of_diff_line(""), Colour::none);
}

// Standard output of the tests may be a terminal.
std::string plain(std::string text) {
    for (std::size_t begin; (begin = text.find("\x1b[")) != std::string::npos;)
        text.erase(begin, text.find('m', begin) + 1 - begin);
    return text;
}

TEST(CtlDiff, StaysTheDiffThatItWas) {
    EXPECT_EQ(plain(coloured_diff("--- a\n+++ b\n@@ -1 +1 @@\n-x\n\n+y")), "--- a\n+++ b\n@@ -1 +1 @@\n-x\n\n+y\n");
    EXPECT_EQ(coloured_diff(""), "");
}

TEST(CtlDiff, CannotSteerATerminal) { EXPECT_EQ(plain(coloured_diff("+a\x07z\n")), "+a\xef\xbf\xbdz\n"); }

}  // namespace
}  // namespace cuda_nspawn::ctl
