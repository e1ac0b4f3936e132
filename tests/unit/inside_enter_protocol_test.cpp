#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string>

#include "guest/self_test_report.hpp"
#include "worker/enter_protocol.hpp"

namespace cuda_nspawn {
namespace {

const std::vector<DeviceNode> two_gpus{{"nvidiactl", 195, 255}, {"nvidia0", 195, 0}, {"nvidia1", 195, 1}};

TEST(OurMounts, are_there_when_both_are) {
    const std::string directory = "61 50 0:45 /a /run/cuda-nspawn ro,nosuid - tmpfs cuda-nspawn rw\n";
    const std::string store =
        "62 50 8:1 /var/lib/cuda-nspawn/driver /run/cuda-nspawn-store ro,nosuid - ext4 /dev/sda rw\n";
    EXPECT_TRUE(shows_our_mounts("50 1 8:1 / / rw - ext4 /dev/sda rw\n" + directory + store, makedev(0, 45)));
    EXPECT_FALSE(shows_our_mounts(directory, makedev(0, 45)));
    EXPECT_FALSE(shows_our_mounts(store, makedev(0, 45)));
    EXPECT_FALSE(shows_our_mounts("62 50 0:45 /run/cuda-nspawn /other ro - tmpfs x rw\n" + store, makedev(0, 45)));
}

TEST(OurMounts, are_not_those_of_a_file_system_that_went) {
    const std::string store = "62 50 8:1 /s /run/cuda-nspawn-store ro - ext4 /dev/sda rw\n";
    const std::string old = "61 50 0:45 /a /run/cuda-nspawn ro - tmpfs cuda-nspawn rw\n";
    const std::string present = "63 61 0:46 /a /run/cuda-nspawn ro - tmpfs cuda-nspawn rw\n";
    EXPECT_FALSE(shows_our_mounts(old + store, makedev(0, 46)));
    EXPECT_TRUE(shows_our_mounts(old + store + present, makedev(0, 46)));
}

TEST(UserMap, says_what_user_a_guests_root_is) {
    EXPECT_EQ(root_in_map("         0  524288      65536\n"), 524288U);
    EXPECT_EQ(root_in_map("         0          0 4294967295\n"), 0U) << "without user namespaces";
    EXPECT_EQ(root_in_map("      1000       1000          1\n         0     524288       1000\n"), 524288U);
    EXPECT_EQ(root_in_map("      1000       1000          1\n"), 0U) << "a guest without root";
    for (const char* text : {"", "0", "0 524288", "0 524288 0", "root"}) EXPECT_EQ(root_in_map(text), 0U) << text;
}

TEST(SetupState, has_the_epoch_and_the_sentences) {
    const auto state = parse_setup_state("epoch=1763\nnote: this guest has no /usr/bin\nerror: no ldconfig\nnote: b\n");
    ASSERT_TRUE(state);
    EXPECT_EQ(state->epoch, 1763u);
    EXPECT_EQ(state->notes, (std::vector<std::string>{"this guest has no /usr/bin", "b"}));
    EXPECT_EQ(state->errors, std::vector<std::string>{"no ldconfig"});
}

TEST(SetupState, is_refused_when_the_first_line_is_no_whole_number) {
    for (const char* text : {"", "epoch=", "epoch=\n", "epoch=12", "epoch=12x\n", "epoch=-1\n", " epoch=1\n",
                             "epoch=99999999999999999999999\n", "note: a\nepoch=1\n"})
        EXPECT_FALSE(parse_setup_state(text)) << text;
}

TEST(SetupState, takes_a_number_with_leading_zeros) {
    EXPECT_EQ(parse_setup_state("epoch=00000000000000000042\n")->epoch, 42u);
}

TEST(SetupState, keeps_what_a_guest_writes_printable_and_short) {
    std::string text = "epoch=1\nerror: \x1b[31mred " + std::string(10'000, 'x') + "\n";
    for (int i = 0; i < 1000; ++i) text += "note: n\n";
    const auto state = parse_setup_state(text);
    ASSERT_TRUE(state);
    EXPECT_EQ(state->errors.front().find('\x1b'), std::string::npos);
    EXPECT_LE(state->errors.front().size(), 400u);
    EXPECT_LE(state->notes.size(), 16u);
}

TEST(SetupCheckLine, is_a_line_of_the_self_tests_report) {
    const auto report = parse_self_test(setup_check_line({7, {"a \"note\""}, {}}, 12.5) +
                                        "{\"check\":\"library\",\"result\":\"passed\"}\n{\"end\":true}\n");
    ASSERT_EQ(report.checks.size(), 2u);
    EXPECT_EQ(report.checks[0], (Check{"set-up", CheckResult::passed, 12.5, "a \"note\""}));
    EXPECT_EQ(report.unknown_lines, 0u);
}

TEST(SetupCheckLine, fails_with_the_first_error) {
    const auto report = parse_self_test(setup_check_line({7, {"note"}, {"the first", "the second"}}, 0));
    ASSERT_EQ(report.checks.size(), 1u);
    EXPECT_EQ(report.checks[0].result, CheckResult::failed);
    EXPECT_EQ(report.checks[0].detail, "the first");
}

TEST(IsolationViolations, are_none_when_exactly_the_granted_nodes_open) {
    EXPECT_TRUE(isolation_violations(two_gpus, {0, 0, EPERM}, {two_gpus[0], two_gpus[1]}).empty());
}

TEST(IsolationViolations, name_a_node_that_opens_and_was_not_granted) {
    const auto violations = isolation_violations(two_gpus, {0, 0, 0}, {two_gpus[0], two_gpus[1]});
    ASSERT_EQ(violations.size(), 1u);
    EXPECT_NE(violations[0].find("/dev/nvidia1 (195:1) opens"), std::string::npos) << violations[0];
}

TEST(IsolationViolations, take_every_error_but_EPERM_for_an_open_door) {
    for (const int error : {EBUSY, ENXIO, ENODEV, EIO, EACCES})
        EXPECT_EQ(isolation_violations(two_gpus, {0, 0, error}, {two_gpus[0], two_gpus[1]}).size(), 1u) << error;
}

TEST(IsolationViolations, name_a_granted_node_that_is_denied) {
    const auto violations = isolation_violations(two_gpus, {0, EPERM, EPERM}, {two_gpus[0], two_gpus[1]});
    ASSERT_EQ(violations.size(), 1u);
    EXPECT_NE(violations[0].find("/dev/nvidia0 is granted"), std::string::npos) << violations[0];
}

TEST(EnterProtocol, brings_request_and_report_over_whole) {
    const TestRequest request{"my-box", SelfTestLevel::full, two_gpus, {two_gpus[0]}, 1763000000000001};
    const TestRequest read = parse_enter_request(to_json(request));
    EXPECT_EQ(read.machine, request.machine);
    EXPECT_EQ(read.level, request.level);
    EXPECT_EQ(read.nodes, request.nodes);
    EXPECT_EQ(read.granted, request.granted);
    EXPECT_EQ(read.epoch, request.epoch);

    const Tested report{{TestEnd::flooded, 9, "{\"check\":1}\n", "because", 3.5}, {"a violation"}, ""};
    const Tested again = parse_enter_report(to_json(report));
    EXPECT_EQ(again.run.end, TestEnd::flooded);
    EXPECT_EQ(again.run.exit_status, 9);
    EXPECT_EQ(again.run.output, report.run.output);
    EXPECT_EQ(again.run.reason, "because");
    EXPECT_EQ(again.run.milliseconds, 3.5);
    EXPECT_EQ(again.violations, report.violations);
}

TEST(EnterProtocol, brings_over_output_that_is_no_utf8) {
    const Tested report{{TestEnd::exited, 0, "\xff\xfe\x80{\n", "", 0}, {}, ""};
    EXPECT_NO_THROW(parse_enter_report(to_json(report)));
}

TEST(EnterProtocol, refuses_what_is_incomplete_or_unknown) {
    EXPECT_THROW(parse_enter_request("{}"), std::runtime_error);
    EXPECT_THROW(parse_enter_request("not json"), std::runtime_error);
    EXPECT_THROW(parse_enter_request(R"({"machine":"a","level":"huge","nodes":[],"granted":[],"epoch":1})"),
                 std::runtime_error);
    EXPECT_THROW(parse_enter_report(R"({"run":{"end":"vanished"},"violations":[]})"), std::runtime_error);
}

}  // namespace
}  // namespace cuda_nspawn
