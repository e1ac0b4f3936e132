#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/nspawn_options.hpp"
#include "plan/settings.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

using Words = std::vector<std::string>;

const Words stock = {"systemd-nspawn", "--quiet", "--keep-unit",         "--boot",       "--link-journal=try-guest",
                     "--network-veth", "-U",      "--settings=override", "--machine=box"};

Words stock_with(const Words& more) {
    Words argv = stock;
    argv.insert(argv.end(), more.begin(), more.end());
    return argv;
}

Words problems(const Words& argv, std::optional<bool> settings_boot = {}) {
    return read_exec_start("box", argv, {"/etc/systemd/system/systemd-nspawn@box.service.d/x.conf"}, settings_boot)
        .problems;
}

bool boots(const Words& argv, std::optional<bool> settings_boot = {}) {
    return read_exec_start("box", argv, {}, settings_boot).boots;
}

TEST(ExecStart, of_the_stock_unit_is_fine) {
    EXPECT_THAT(problems(stock), IsEmpty());
    EXPECT_THAT(problems({"/usr/bin/systemd-nspawn", "-qb", "-U", "--settings", "override", "-Mbox"}), IsEmpty());
    EXPECT_THAT(problems({"/usr/bin/env", "A=b", "systemd-nspawn", "-b", "--settings=override", "-M", "box"}),
                IsEmpty());
}

TEST(ExecStart, names_the_unit_and_its_drop_ins) {
    EXPECT_THAT(read_exec_start("box", {"true"}, {}).problems,
                ElementsAre(testing::StartsWith("systemd-nspawn@box.service runs 'true'")));
    EXPECT_THAT(read_exec_start("box", {}, {"/a.conf", "/b.conf"}).problems,
                ElementsAre(testing::StartsWith("systemd-nspawn@box.service (see /a.conf, /b.conf) runs nothing")));
}

TEST(ExecStart, that_reads_no_settings_is_a_problem) {
    for (std::string value : {"no", "false", "0", "off", "nonsense"}) {
        EXPECT_THAT(
            problems(stock_with({"--settings=" + value})),
            ElementsAre(AllOf(HasSubstr("passes --settings=" + value), HasSubstr("write --settings=override"))));
    }
    EXPECT_THAT(problems(stock_with({"--settings=no", "--settings", "override"})), IsEmpty());
    EXPECT_THAT(problems({"systemd-nspawn", "--boot", "--oci-bundle=/b"}), ElementsAre(HasSubstr("OCI bundle '/b'")));
}

TEST(ExecStart, whose_mounts_the_settings_file_replaces_is_a_problem) {
    EXPECT_THAT(
        problems(stock_with({"--bind=/a:/b", "--bind-ro", "/c", "--tmpfs=/t", "--overlay=/a:/b", "--overlay-ro=/a:/b",
                             "--inaccessible=/i", "--setenv=A=b", "-EC"})),
        ElementsAre(AllOf(HasSubstr("passes '--bind=/a:/b', which systemd-nspawn drops"),
                          HasSubstr("write 'Bind=/a:/b' under [Files] in /etc/systemd/nspawn/box.nspawn instead"),
                          HasSubstr("x.conf")),
                    AllOf(HasSubstr("'--bind-ro /c'"), HasSubstr("'BindReadOnly=/c'")),
                    HasSubstr("'TemporaryFileSystem=/t'"), HasSubstr("'Overlay=/a:/b'"),
                    HasSubstr("'OverlayReadOnly=/a:/b'"), HasSubstr("'Inaccessible=/i'"),
                    HasSubstr("'Environment=A=b' under [Exec]"), HasSubstr("'Environment=C=VALUE'")));
    EXPECT_THAT(problems(stock_with({"--setenv=A=b c"})), ElementsAre(HasSubstr("'Environment=\"A=b c\"'")));
    EXPECT_THAT(problems(stock_with({"--bind-user=me"})), IsEmpty());  // of a kind of its own
}

TEST(ExecStart, whose_mounts_replace_ours_is_a_problem) {
    for (Words settings : {Words{}, Words{"--settings=yes"}, Words{"--settings=trusted"}}) {
        Words argv = {"systemd-nspawn", "--boot", "-M", "box"};
        argv.insert(argv.end(), settings.begin(), settings.end());
        EXPECT_THAT(problems(argv), IsEmpty());
        argv.push_back("--bind=/a");
        EXPECT_THAT(problems(argv), ElementsAre(AllOf(HasSubstr("without --settings=override"),
                                                      HasSubstr("and the driver with them"))));
    }
}

TEST(ExecStart, for_another_machine_is_a_problem) {
    EXPECT_THAT(problems(stock_with({"--machine=other"})), ElementsAre(HasSubstr("write --machine=box")));
    EXPECT_THAT(problems({"systemd-nspawn", "-b"}), ElementsAre(HasSubstr("does not pass --machine=box")));
    EXPECT_THAT(problems({"systemd-nspawn", "-b", "-D", "/srv/box/"}), IsEmpty());
    EXPECT_THAT(problems({"systemd-nspawn", "-b", "--image=/srv/box.raw"}), IsEmpty());
    EXPECT_THAT(problems({"systemd-nspawn", "-b", "-D/srv/other"}), SizeIs(1));
    EXPECT_THAT(problems({"systemd-nspawn", "-b", "-D", "/srv/other", "-M", "box"}), IsEmpty());
}

TEST(ExecStart, says_whether_it_boots_with_the_settings_file_or_against_it) {
    Words plain = {"systemd-nspawn", "--settings=override", "--machine=box"};
    EXPECT_TRUE(boots(stock));
    EXPECT_FALSE(boots(plain));
    EXPECT_TRUE(boots(plain, true));
    EXPECT_FALSE(boots(stock, false));
    EXPECT_TRUE(boots({"systemd-nspawn", "-b", "-M", "box"}, false)) << "the command line counts";
    EXPECT_FALSE(boots({"systemd-nspawn", "-a", "-M", "box", "/bin/sh"}, true));
    EXPECT_THAT(problems(stock, false), IsEmpty());
    EXPECT_THAT(problems(stock_with({"systemd.unit=rescue.target", "--bind=/not:/an-option"})), IsEmpty());
}

TEST(ExecStart, that_hides_the_machine_from_machined_is_a_problem) {
    EXPECT_THAT(problems(stock_with({"--register=no"})), ElementsAre(HasSubstr("take it out")));
    EXPECT_THAT(problems(stock_with({"--register=yes"})), IsEmpty());
}

TEST(NspawnOptions, are_read_as_getopt_does) {
    NspawnCommand command = parse_nspawn_command({"x", "--mach", "a", "-qUb", "-Ma", "--volatile", "--private-users=no",
                                                  "--bind", "/a", "--unknown", "--", "-b", "c"});
    EXPECT_EQ(command.value("machine"), "a");
    EXPECT_TRUE(command.has("boot"));
    EXPECT_EQ(command.value("volatile"), "");
    EXPECT_EQ(command.value("bind"), "/a");
    EXPECT_TRUE(command.has("unknown"));
    EXPECT_THAT(command.parameters, ElementsAre("-b", "c"));
    EXPECT_FALSE(parse_nspawn_command({"x", "--bin=/a"}).has("bind"));  // fits several
    EXPECT_EQ(parse_nspawn_command({"x", "--bind"}).value("bind"), "");
    EXPECT_THAT(parse_nspawn_command({}).options, IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
