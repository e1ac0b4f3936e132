#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "policy/policy.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::string_view path = "/etc/cuda-nspawn/machines/trainer.yaml";

Policy good(std::string_view text, const Policy& defaults = {}) {
    auto result = parse_policy(path, text, defaults);
    if (auto* diagnostics = std::get_if<std::vector<Diagnostic>>(&result)) {
        ADD_FAILURE() << text << "\n" << to_string(diagnostics->front());
        return {};
    }
    return std::get<Policy>(result);
}

std::vector<std::string> bad(std::string_view text, std::string_view file = path) {
    auto result = parse_policy(file, text);
    std::vector<std::string> messages;
    if (auto* diagnostics = std::get_if<std::vector<Diagnostic>>(&result)) {
        for (const Diagnostic& diagnostic : *diagnostics) messages.push_back(to_string(diagnostic));
    }
    return messages;
}

// path:LINE:COLUMN: …TEXT…
auto at(unsigned line, unsigned column, std::string_view text) {
    return AllOf(
        testing::StartsWith(std::string(path) + ":" + std::to_string(line) + ":" + std::to_string(column) + ": "),
        HasSubstr(std::string(text)));
}

TEST(PolicyParser, reads_every_key) {
    Policy policy = good(
        "# the trainer\n"
        "gpus: [0, GPU-AAAAAAAA-bbbb-cccc-dddd-0123456789AB, '0000:C1:00.0']\n"
        "capabilities: [utility, compute, graphics]\n"
        "self_test: full\n"
        "on_failure: detach\n");
    EXPECT_EQ(policy.machine, "trainer");
    EXPECT_EQ(policy.path, path);
    EXPECT_FALSE(policy.all_gpus);
    EXPECT_THAT(policy.gpus, ElementsAre(GpuIndex{0}, GpuUuid{"GPU-aaaaaaaa-bbbb-cccc-dddd-0123456789ab"},
                                         GpuPciAddress{"0000:c1:00.0"}));
    EXPECT_THAT(policy.capabilities, ElementsAre(Capability::compute, Capability::utility, Capability::graphics));
    EXPECT_EQ(policy.self_test, SelfTestLevel::full);
    EXPECT_EQ(policy.on_failure, OnFailure::detach);
}

TEST(PolicyParser, gives_the_defaults_for_absent_keys) {
    Policy policy = good("gpus: all\n");
    EXPECT_TRUE(policy.all_gpus);
    EXPECT_THAT(policy.capabilities, ElementsAre(Capability::compute, Capability::utility));
    EXPECT_EQ(policy.self_test, SelfTestLevel::quick);
    EXPECT_EQ(policy.on_failure, OnFailure::warn);
}

TEST(PolicyParser, takes_absent_keys_from_the_defaults_file) {
    auto defaults = std::get<Policy>(parse_defaults("/etc/cuda-nspawn/defaults.yaml", "self_test: off\ngpus: all\n"));
    Policy policy = good("on_failure: stop\n", defaults);
    EXPECT_TRUE(policy.all_gpus);
    EXPECT_EQ(policy.self_test, SelfTestLevel::off);
    EXPECT_EQ(policy.on_failure, OnFailure::stop);
    EXPECT_EQ(policy.machine, "trainer");
    EXPECT_EQ(policy.path, path);
    EXPECT_FALSE(good("gpus: none\n", defaults).wants_gpus());
    EXPECT_THAT(good("gpus: 3\n", defaults).gpus, ElementsAre(GpuIndex{3}));
}

TEST(PolicyParser, needs_nothing_more_for_no_gpus) {
    EXPECT_FALSE(good("gpus: none").wants_gpus());
    EXPECT_FALSE(good("gpus: []").wants_gpus());
    EXPECT_FALSE(good("\xef\xbb\xbfgpus: none # with a byte order mark\r\n").wants_gpus());
}

TEST(PolicyParser, takes_a_single_gpu_without_a_list) {
    EXPECT_THAT(good("gpus: 255").gpus, ElementsAre(GpuIndex{255}));
    EXPECT_THAT(good("gpus: \"1\"").gpus, ElementsAre(GpuIndex{1}));
    EXPECT_THAT(good("gpus: 0000:01:00.0").gpus, ElementsAre(GpuPciAddress{"0000:01:00.0"}));
}

TEST(PolicyParser, normalizes_pci_addresses) {
    EXPECT_THAT(good("gpus: [00000000:01:1F.7, 02:00.0, 0001:03:00.0, 10000:E1:00.0]").gpus,
                ElementsAre(GpuPciAddress{"0000:01:1f.7"}, GpuPciAddress{"0000:02:00.0"}, GpuPciAddress{"0001:03:00.0"},
                            GpuPciAddress{"10000:e1:00.0"}));
}

TEST(PolicyParser, takes_off_as_a_word_and_not_as_a_boolean) {
    EXPECT_EQ(good("gpus: all\nself_test: off").self_test, SelfTestLevel::off);
    EXPECT_THAT(bad("gpus: all\nself_test: false"),
                ElementsAre(at(2, 12, "'self_test' cannot be 'false'; it is one of off, quick or full.")));
}

TEST(PolicyParser, reports_all_mistakes_at_once_with_their_places) {
    EXPECT_THAT(bad("gpu: all\n"
                    "capabilities: [compute, utilty]\n"
                    "self_test: quik\n"
                    "on_failure: [warn]\n"
                    "requires: x\n"),
                ElementsAre(HasSubstr("The policy names no GPUs"),
                            at(1, 1,
                               "'gpu' is no key of a policy (did you "
                               "mean 'gpus'?)"),
                            at(2, 25, "'utilty' is no capability (did you mean 'utility'?)"),
                            at(3, 12, "(did you mean 'quick'?)"), at(4, 13, "has a list where it needs one of"),
                            at(5, 1, "'requires' is no key of a policy; the keys are")));
}

TEST(PolicyParser, says_which_keys_are_for_a_later_version) {
    EXPECT_THAT(bad("gpus: all\nrequire: {driver: '>=535'}\nfeatures: [gds]\n"),
                ElementsAre(at(2, 1, "'require' is not supported by this version"),
                            at(3, 1, "'features' is not supported by this version")));
}

TEST(PolicyParser, reads_which_sockets_of_the_host_a_machine_gets) {
    EXPECT_THAT(good("gpus: all").sockets, IsEmpty());
    EXPECT_THAT(good("gpus: all\nsockets: [fabricmanager, persistenced]").sockets,
                ElementsAre(HostSocket::persistenced, HostSocket::fabricmanager));
    Policy defaults;
    defaults.sockets = {HostSocket::persistenced};
    EXPECT_THAT(std::get<Policy>(parse_policy("/p/a.yaml", "gpus: all\nsockets: []", defaults)).sockets, IsEmpty());
    EXPECT_THAT(bad("gpus: all\nsockets: persistenced"), ElementsAre(at(2, 10, "'sockets' is a single value; write")));
    EXPECT_THAT(bad("gpus: all\nsockets:"), ElementsAre(at(2, 1, "'sockets' is nothing; write")));
    EXPECT_THAT(bad("gpus: all\nsockets: [persistence, [a], persistenced, persistenced]"),
                ElementsAre(at(2, 11, "(did you mean 'persistenced'?)"), at(2, 24, "has a list where it needs one of"),
                            at(2, 43, "Socket 'persistenced' is listed twice")));
    EXPECT_THAT(bad("gpus: all\nsockets: [mps]"), ElementsAre(at(2, 11, "'mps' cannot be given to a machine")));
}

TEST(PolicyParser, names_an_absent_gpus_key_with_its_file) {
    EXPECT_THAT(bad(""), ElementsAre("/etc/cuda-nspawn/machines/trainer.yaml: The policy names no GPUs: write 'gpus: "
                                     "all', 'gpus: none' or a list of GPUs."));
    EXPECT_THAT(bad("# nothing but a comment\n"), SizeIs(1));
    EXPECT_THAT(bad("gpus:\n"), ElementsAre(HasSubstr("'gpus' has no value")));
    EXPECT_THAT(bad("gpus: ~\n"), ElementsAre(HasSubstr("'gpus' has no value")));
}

TEST(PolicyParser, reports_duplicate_keys_and_entries) {
    EXPECT_THAT(bad("gpus: all\ngpus: none\n"), ElementsAre(at(2, 1, "'gpus' is given twice")));
    EXPECT_THAT(bad("gpus: [0, 1, 0]"), ElementsAre(at(1, 14, "GPU 0 is listed twice")));
    EXPECT_THAT(bad("gpus: ['01:00.0', '00000000:01:00.0']"),
                ElementsAre(at(1, 19, "GPU 0000:01:00.0 is listed twice")));
    EXPECT_THAT(bad("gpus: all\ncapabilities: [compute, compute]"),
                ElementsAre(at(2, 25, "'compute' is listed twice")));
}

TEST(PolicyParser, refuses_what_is_no_gpu) {
    for (std::string text : {"-1", "256", "99999999999999999999", "007", "0x1", "1.5", "GPU-123", "true", "H200",
                             "01:00", "01:20.0", "01:00.8", "1:00.0", "001:01:00.0", "123456789:01:00.0", "''",
                             "GPU-aaaaaaaa-bbbb-cccc-dddd-0123456789ag", "01:0000.0"}) {
        EXPECT_THAT(bad("gpus: [" + text + "]"), SizeIs(1)) << text;
    }
    EXPECT_THAT(bad("gpus: [all]"), ElementsAre(HasSubstr("'all' stands alone and in no list: write 'gpus: all'.")));
    EXPECT_THAT(bad("gpus: [[0]]"), ElementsAre(at(1, 8, "here it is a list")));
    EXPECT_THAT(bad("gpus: [~]"), ElementsAre(HasSubstr("here it is nothing")));
}

TEST(PolicyParser, says_that_mig_and_models_are_for_a_later_version) {
    EXPECT_THAT(bad("gpus: MIG-aaaaaaaa-bbbb-cccc-dddd-0123456789ab"),
                ElementsAre(HasSubstr("MIG devices are not supported by this version")));
    EXPECT_THAT(bad("gpus: [{model: H200, count: 2}]"),
                ElementsAre(at(1, 8, "A choice by model and count is not supported by this version")));
    EXPECT_THAT(bad("gpus: {model: H200}"), ElementsAre(HasSubstr("not supported by this version")));
}

TEST(PolicyParser, refuses_wrong_types) {
    EXPECT_THAT(bad("gpus: all\ncapabilities: compute"), ElementsAre(at(2, 15, "'capabilities' is a single value")));
    EXPECT_THAT(bad("gpus: all\ncapabilities: []"), ElementsAre(HasSubstr("'capabilities' is an empty list")));
    EXPECT_THAT(bad("gpus: all\nself_test:"), ElementsAre(at(2, 1, "'self_test' has nothing where it needs")));
    EXPECT_THAT(bad("- gpus"), ElementsAre(at(1, 1, "The file holds a list")));
    EXPECT_THAT(bad("all"), ElementsAre(at(1, 1, "The file holds a single value")));
    EXPECT_THAT(bad("gpus: all\n? [a, b]\n: c\n"), ElementsAre(HasSubstr("A key must be a word")));
}

TEST(PolicyParser, refuses_anchors_aliases_and_tags) {
    auto anchored = bad("gpus: &a [0]\n");
    ASSERT_THAT(anchored, SizeIs(1));
    EXPECT_THAT(anchored[0], AllOf(HasSubstr("yaml:1:"), HasSubstr("Anchors and aliases are not used here")));
    EXPECT_THAT(bad("gpus: *nowhere\n"), ElementsAre(HasSubstr("Anchors and aliases are not used here")));
    auto tagged = bad("gpus: !!python/object:os.system [0]\n");
    ASSERT_THAT(tagged, SizeIs(1));
    EXPECT_THAT(tagged[0], HasSubstr("The tag"));
    EXPECT_THAT(bad("gpus: !include x\n"), ElementsAre(HasSubstr("The tag '!include' is not used here")));
}

TEST(PolicyParser, survives_a_bomb_of_aliases) {
    std::string text = "a: &a [x, x]\n";
    for (char c = 'b'; c <= 'z'; ++c)
        text += std::string(1, c) + ": &" + c + " [*" + char(c - 1) + ", *" + char(c - 1) + "]\n";
    auto messages = bad(text);
    EXPECT_FALSE(messages.empty());
    EXPECT_LE(messages.size(), 64u);
}

TEST(PolicyParser, points_at_tabs) {
    EXPECT_THAT(bad("gpus:\n\t- 0\n  \t- 1\n"), ElementsAre(at(2, 1, "A tab indents this line"), at(3, 3, "A tab")));
    EXPECT_THAT(good("gpus: all\t# a tab that indents nothing\n\t\n\t# and a comment\n").all_gpus, true);
}

TEST(PolicyParser, refuses_a_second_document) {
    EXPECT_THAT(bad("gpus: all\n---\ngpus: none\n"), ElementsAre(HasSubstr("A second document begins here")));
    EXPECT_TRUE(good("---\ngpus: all\n...\n").all_gpus);
}

TEST(PolicyParser, refuses_bytes_that_are_no_text) {
    EXPECT_THAT(bad(std::string_view("gpus: all\n\0", 11)), ElementsAre(at(2, 1, "The byte 0x00")));
    EXPECT_THAT(bad("gpus: \033[31mall"), ElementsAre(at(1, 7, "The byte 0x1b")));
    EXPECT_THAT(bad("gpus: all # \xff"), ElementsAre(at(1, 13, "The byte 0xff is not UTF-8")));
    EXPECT_THAT(bad("gpus: all # \xc0\xaf"), ElementsAre(HasSubstr("0xc0 is not UTF-8")));
    EXPECT_THAT(bad("gpus: all # \xed\xa0\x80"), ElementsAre(HasSubstr("not UTF-8")));
    EXPECT_TRUE(good("gpus: all # für später … 𝄞\n").all_gpus);
}

TEST(PolicyParser, caps_size_depth_and_count) {
    EXPECT_THAT(bad("gpus: all #" + std::string(64 * 1024, 'x')), ElementsAre(HasSubstr("65536 are allowed")));
    EXPECT_THAT(bad("gpus: " + std::string(20000, '[')), ElementsAre(HasSubstr("nested deeper than 8 levels")));
    EXPECT_THAT(bad("gpus: " + std::string(20000, '{')), SizeIs(testing::Ge(1u)));
    std::string many = "gpus:\n";
    for (int i = 0; i < 5000; ++i) many += "- 0\n";
    EXPECT_THAT(bad(many), ElementsAre(HasSubstr("more than 2048 values")));
}

TEST(PolicyParser, explains_broken_yaml_with_its_place) {
    for (std::string text :
         {"gpus: [0", "gpus: 'x", "gpus all\nself_test: off", "gpus: {a", "a: b: c", "%", "gpus: @x"}) {
        EXPECT_THAT(bad(text), SizeIs(testing::Ge(1u))) << text;
    }
    EXPECT_THAT(bad("gpus: all\nself_test: a: b\n"),
                ElementsAre(AllOf(HasSubstr("yaml:2:"), HasSubstr("no valid YAML here"))));
}

TEST(PolicyParser, takes_the_machine_from_the_file_name) {
    auto named = [](std::string_view file) { return std::get<Policy>(parse_policy(file, "gpus: all")).machine; };
    EXPECT_EQ(named("/etc/cuda-nspawn/machines/my-box.lan.yaml"), "my-box.lan");
    EXPECT_EQ(named("A.yaml"), "A");
    EXPECT_THAT(bad("gpus: all", "/etc/x/a_b.yaml"), ElementsAre(HasSubstr("'a_b' is no machine name")));
    EXPECT_THAT(bad("gpus: all", "/etc/x/trainer.yml"), ElementsAre(HasSubstr("NAME.yaml; 'trainer.yml' is not")));
    EXPECT_THAT(bad("gpus: all", "/etc/x/.yaml"), SizeIs(1));
}

TEST(PolicyParser, accepts_every_capability) {
    EXPECT_THAT(
        good("gpus: all\ncapabilities: [compat32, ngx, display, video, graphics, utility, compute]").capabilities,
        ElementsAre(Capability::compute, Capability::utility, Capability::graphics, Capability::video,
                    Capability::display, Capability::ngx, Capability::compat32));
}

TEST(Defaults, need_no_gpus_and_no_machine_name) {
    auto defaults = std::get<Policy>(parse_defaults("/etc/cuda-nspawn/defaults.yaml", ""));
    EXPECT_FALSE(defaults.wants_gpus());
    EXPECT_EQ(defaults.machine, "");
    auto broken = parse_defaults("/etc/cuda-nspawn/defaults.yaml", "self_test: x\ngpus: y\n");
    EXPECT_THAT(std::get<std::vector<Diagnostic>>(broken), SizeIs(2));
}

TEST(Diagnostic, is_written_with_as_much_place_as_is_known) {
    EXPECT_EQ(to_string(Diagnostic{"/a", 3, 4, "Wrong."}), "/a:3:4: Wrong.");
    EXPECT_EQ(to_string(Diagnostic{"/a", 3, 0, "Wrong."}), "/a:3: Wrong.");
    EXPECT_EQ(to_string(Diagnostic{"/a", 0, 0, "Wrong."}), "/a: Wrong.");
    EXPECT_EQ(to_string(Diagnostic{"", 0, 0, "Wrong."}), "Wrong.");
}

TEST(PolicyWords, are_those_of_the_file) {
    EXPECT_EQ(parse_capability("compat32"), Capability::compat32);
    EXPECT_EQ(parse_capability("Compute"), std::nullopt);
    EXPECT_EQ(to_string(Capability::ngx), "ngx");
    EXPECT_EQ(to_string(SelfTestLevel::quick), "quick");
    EXPECT_EQ(to_string(OnFailure::stop), "stop");
    EXPECT_EQ(to_string(GpuSelector{GpuIndex{12}}), "12");
    EXPECT_EQ(to_string(GpuSelector{GpuPciAddress{"0000:01:00.0"}}), "0000:01:00.0");
}

}  // namespace
}  // namespace cuda_nspawn
