#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/settings.hpp"
#include "plan/settings_merge.hpp"

namespace cuda_nspawn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<std::string> read(std::string_view text) {
    auto parsed = parse_settings("/x.nspawn", text);
    std::vector<std::string> lines;
    if (auto* broken = std::get_if<std::vector<Diagnostic>>(&parsed)) {
        for (const Diagnostic& diagnostic : *broken) lines.push_back(to_string(diagnostic));
        return lines;
    }
    for (const Setting& s : std::get<std::vector<Setting>>(parsed)) {
        lines.push_back(std::to_string(s.line) + " " + s.section + "." + s.key + "=" + s.value);
    }
    return lines;
}

TEST(SettingsParser, reads_sections_and_settings_in_order) {
    EXPECT_THAT(
        read("# comment\n; another\n\n[Exec]\nBoot=yes\n[Files]\n  Bind = /a:/b  \n[Exec]\nEnvironment=A=b=c\n"),
        ElementsAre("5 Exec.Boot=yes", "7 Files.Bind=/a:/b", "9 Exec.Environment=A=b=c"));
    EXPECT_THAT(read(""), IsEmpty());
    EXPECT_THAT(read("[Exec]\nUser="), ElementsAre("2 Exec.User="));
}

TEST(SettingsParser, joins_continued_lines_as_systemd_does) {
    EXPECT_THAT(read("[Exec]\nParameters=a \\\n  b\\\n# comment within\n;another\nc\nUser=x\n"),
                ElementsAre("2 Exec.Parameters=a    b c", "7 Exec.User=x"));
    EXPECT_THAT(read("[Exec]\nParameters=a\\\\\nUser=x\n"), ElementsAre("2 Exec.Parameters=a\\\\", "3 Exec.User=x"));
    EXPECT_THAT(read("[Exec]\nParameters=a\\"), ElementsAre("2 Exec.Parameters=a"));
    EXPECT_THAT(read("[Exec]\nParameters=a\\\n\nUser=x"), ElementsAre("2 Exec.Parameters=a", "4 Exec.User=x"));
}

TEST(SettingsParser, ends_lines_where_systemd_does) {
    EXPECT_THAT(read("[Exec]\r\nUser=a\r\n\r\n[Files]\r\nBind=/a\r\n"),
                ElementsAre("2 Exec.User=a", "5 Files.Bind=/a"));
    EXPECT_THAT(read("# comment\r[Files]\rBind=/hidden\r"), ElementsAre("3 Files.Bind=/hidden"));
}

TEST(SettingsParser, skips_a_byte_order_mark) {
    EXPECT_THAT(read("\xef\xbb\xbf[Exec]\nUser=x\n"), ElementsAre("2 Exec.User=x"));
}

TEST(SettingsParser, keeps_sections_and_keys_it_does_not_know) {
    EXPECT_THAT(read("[X-Mine]\nfoo=bar\n"), ElementsAre("2 X-Mine.foo=bar"));
}

TEST(SettingsParser, reports_every_broken_line) {
    EXPECT_THAT(read("Boot=yes\n[Exec\n[Files]\nnonsense\n=value\n[]x\n"),
                ElementsAre(HasSubstr("/x.nspawn:1: 'Boot=yes' stands before the first section"),
                            HasSubstr("/x.nspawn:2: '[Exec' is no section header"),
                            HasSubstr("/x.nspawn:4: 'nonsense' is no KEY=VALUE assignment"),
                            HasSubstr("/x.nspawn:5: '=value' is no KEY=VALUE"),
                            HasSubstr("/x.nspawn:6: '[]x' is no section header")));
}

TEST(SettingsParser, refuses_bytes_that_are_no_text) {
    EXPECT_THAT(read(std::string_view("[Exec]\nUser=\0x\n", 15)),
                ElementsAre(HasSubstr("/x.nspawn:2:6: The byte 0x00")));
    EXPECT_THAT(read("[Exec]\nUser=\xff\n"), ElementsAre(HasSubstr("not UTF-8")));
}

TEST(SettingsParser, refuses_lines_longer_than_systemd_reads) {
    EXPECT_THAT(read("[Exec]\nUser=" + std::string(1024 * 1024, 'x')),
                ElementsAre(HasSubstr("/x.nspawn:2: The line is")));
    std::string continued = "[Exec]\nParameters=";
    for (int i = 0; i < 3; ++i) continued += std::string(512 * 1024, 'x') + "\\\n";
    EXPECT_THAT(read(continued), SizeIs(testing::Ge(1u)));
    EXPECT_THAT(read("[Exec]\nUser=" + std::string(1000 * 1000, 'x')), SizeIs(1));
    EXPECT_THAT(read(std::string(5 * 1024 * 1024, '\n')), ElementsAre(HasSubstr("bytes, 4194304 are allowed")));
}

TEST(SettingsMerge, splits_words_as_systemd_does) {
    EXPECT_THAT(split_words("  a 'b c' \"d e\"f \\\"x ''"), ElementsAre("a", "b c", "d ef", "\\\"x", ""));
    EXPECT_THAT(split_words("'open x"), ElementsAre("open x"));
    EXPECT_THAT(split_words(""), IsEmpty());
}

TEST(SettingsMerge, finds_where_a_setting_mounts) {
    auto destination = [](const char* key, const char* value) { return mount_destination({"Files", key, value, 1}); };
    EXPECT_EQ(destination("Bind", "/a"), "/a");
    EXPECT_EQ(destination("Bind", "+/a"), "/a");
    EXPECT_EQ(destination("BindReadOnly", "/a:/b:norbind"), "/b");
    EXPECT_EQ(destination("Bind", "/a\\:x:/b\\:y"), "/b:y");
    EXPECT_EQ(destination("Bind", "/a://b/./c/../d/"), "/b/d");
    EXPECT_EQ(destination("Bind", "/a:/../.."), "/");
    EXPECT_EQ(destination("Bind", "/a:/var/run/x"), "/run/x");
    EXPECT_EQ(destination("TemporaryFileSystem", "/a:mode=0700"), "/a");
    EXPECT_EQ(destination("Overlay", "/a:+/b"), "/b");
    EXPECT_EQ(destination("OverlayReadOnly", "/a:/b::/c"), "/c");
    EXPECT_EQ(destination("Inaccessible", "/a"), "/a");
    EXPECT_EQ(destination("ReadOnly", "yes"), std::nullopt);
    EXPECT_EQ(mount_destination({"Exec", "Bind", "/a", 1}), std::nullopt);
}

TEST(SettingsMerge, knows_whether_the_file_boots_the_machine) {
    auto boots = [](std::vector<std::pair<std::string, std::string>> pairs) {
        std::vector<Setting> settings;
        for (auto& [key, value] : pairs) settings.push_back({"Exec", key, value, 1});
        return settings_boot(settings);
    };
    EXPECT_EQ(boots({}), std::nullopt);
    EXPECT_EQ(boots({{"Boot", "maybe"}}), std::nullopt);
    EXPECT_EQ(boots({{"Boot", "yes"}}), true);
    EXPECT_EQ(boots({{"Boot", "OFF"}}), false);
    EXPECT_EQ(boots({{"Boot", "no"}, {"Boot", "on"}}), true);
    EXPECT_EQ(boots({{"Boot", "1"}, {"Boot", "0"}}), true);  // systemd ignores the second
    EXPECT_EQ(boots({{"ProcessTwo", "yes"}, {"Boot", "yes"}}), false);
    EXPECT_EQ(boots({{"ProcessTwo", "no"}}), false);
}

TEST(SettingsMerge, escapes_what_separates_paths) { EXPECT_EQ(escape_bind_path("/a:b\\c%d e"), "/a\\:b\\\\c%d e"); }

}  // namespace
}  // namespace cuda_nspawn
