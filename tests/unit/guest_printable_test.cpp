#include "guest/printable.hpp"

#include <gtest/gtest.h>

namespace cuda_nspawn {
namespace {

#define REPLACED "\xef\xbf\xbd"

TEST(Printable, keeps_text_and_replaces_the_rest) {
    EXPECT_EQ(printable("plain – text 𝄞", 100), "plain – text 𝄞");
    EXPECT_EQ(printable("a\nb\tc\rd", 100), "a b c d");
    EXPECT_EQ(printable("\033[31m\x7f", 100), REPLACED "[31m" REPLACED);
    EXPECT_EQ(printable("\xc2\x9b"
                        "31m",
                        100),
              REPLACED "31m");  // CSI in C1
    EXPECT_EQ(printable("\xe2\x80\xae"
                        "gnp.exe",
                        100),
              REPLACED "gnp.exe");  // right-to-left override
    EXPECT_EQ(printable(std::string_view("a\0b", 3), 100), "a" REPLACED "b");
    EXPECT_EQ(printable("\xff\xc0\xaf\xed\xa0\x80", 100), REPLACED REPLACED REPLACED REPLACED REPLACED REPLACED);
    EXPECT_EQ(printable("a\xe2\x82", 100), "a" REPLACED REPLACED);
}

TEST(Printable, cuts_between_characters) {
    EXPECT_EQ(printable("abc", 2), "ab");
    EXPECT_EQ(printable("a€b", 3), "a");
    EXPECT_EQ(printable("a€b", 4), "a€");
    EXPECT_EQ(printable("\xff", 2), "");
    EXPECT_EQ(printable("abc", 0), "");
}

}  // namespace
}  // namespace cuda_nspawn
