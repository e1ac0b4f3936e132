#include "policy/text_check.hpp"

#include <gtest/gtest.h>

namespace cuda_nspawn {
namespace {

TEST(TextCheck, finds_the_first_byte_that_is_no_utf8) {
    EXPECT_EQ(find_invalid_utf8("plain"), std::nullopt);
    EXPECT_EQ(find_invalid_utf8("\xc3\xa9\xe2\x82\xac\xf0\x9d\x84\x9e\xf4\x8f\xbf\xbf"), std::nullopt);
    EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);            // nothing begins with a continuation byte
    EXPECT_EQ(find_invalid_utf8("a\xc1\xbf"), 1u);         // overlong
    EXPECT_EQ(find_invalid_utf8("\xe0\x9f\xbf"), 0u);      // overlong
    EXPECT_EQ(find_invalid_utf8("\xf0\x8f\xbf\xbf"), 0u);  // overlong
    EXPECT_EQ(find_invalid_utf8("\xed\xa0\x80"), 0u);      // a surrogate
    EXPECT_EQ(find_invalid_utf8("\xf4\x90\x80\x80"), 0u);  // above U+10FFFF
    EXPECT_EQ(find_invalid_utf8("abc\xe2\x82"), 3u);       // cut
    EXPECT_EQ(find_invalid_utf8("\xff"), 0u);
}

TEST(TextCheck, names_line_and_column) {
    auto found = check_text("/f", "ab\ncd\x01", 100);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->line, 2u);
    EXPECT_EQ(found->column, 3u);
    EXPECT_EQ(check_text("/f", "a\tb\r\n", 100), std::nullopt);
    EXPECT_EQ(check_text("/f", "12345", 4)->message, "The file has 5 bytes, 4 are allowed.");
}

}  // namespace
}  // namespace cuda_nspawn
