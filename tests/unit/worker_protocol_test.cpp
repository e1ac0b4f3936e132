#include "worker/protocol.hpp"

#include <gmock/gmock.h>

#include <stdexcept>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

Plan full_plan() {
    Plan plan;
    plan.machine = "a";
    plan.policy_path = "/etc/cuda-nspawn/machines/a.yaml";
    plan.present = plan.mounts = plan.keep_directory = true;
    plan.generation = "999-0123456789abcdef";
    plan.capabilities = {Capability::compute, Capability::utility, Capability::compat32};
    plan.nodes = {{"nvidia0", 195, 0}, {"nvidia-caps/nvidia-cap1", 240, 1}};
    plan.sockets = {HostSocket::persistenced, HostSocket::fabricmanager};
    plan.node_mode = 0660;
    plan.node_owner = 524288;
    return plan;
}

template <class Parse>
std::string failure_of(Parse parse, std::string_view text) {
    try {
        parse(text);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

TEST(WorkerProtocol, an_expose_request_survives_the_way) {
    const ExposeRequest request{
        {full_plan(), Plan{}}, true, {{"systemd-nspawn@a.service", {true, {"/dev/fuse rw"}, {"/dev/char/195:0"}}}}};
    const ExposeRequest parsed = parse_expose_request(to_json(request));
    EXPECT_EQ(parsed.plans, request.plans);
    EXPECT_TRUE(parsed.dry_run);
    EXPECT_EQ(parsed.releases, request.releases);
}

TEST(WorkerProtocol, an_expose_report_survives_the_way) {
    ExposeReport report;
    Exposed& a = report["a"];
    a.changes = {{"create", "/x", "195:0"}};
    a.notes = {"a note"};
    a.errors = {"an error"};
    a.epoch = 18446744073709551615U;
    a.units_changed = true;
    report["b"].failure = "refused";
    const ExposeReport parsed = parse_expose_report(to_json(report));
    ASSERT_EQ(parsed.size(), 2U);
    EXPECT_EQ(parsed.at("a").changes, report.at("a").changes);
    EXPECT_EQ(parsed.at("a").notes, report.at("a").notes);
    EXPECT_EQ(parsed.at("a").errors, report.at("a").errors);
    EXPECT_EQ(parsed.at("a").epoch, report.at("a").epoch);
    EXPECT_TRUE(parsed.at("a").units_changed);
    EXPECT_EQ(parsed.at("b").failure, "refused");
}

TEST(WorkerProtocol, a_look_survives_the_way) {
    EXPECT_EQ(parse_look_request(look_request({"a", "b"})), (std::vector<std::string>{"a", "b"}));
    LookReport report;
    report["a"] = testing::image_at("/var/lib/machines/a");
    report["a"].guest = Guest{"debian",
                              "Debian 11",
                              Libc::glibc,
                              "2.31",
                              "x86-64",
                              true,
                              true,
                              {"/usr/local/lib", "/usr/lib"},
                              1,
                              {{"/usr/lib/libcuda.so", "1.2", BundledKind::stub}},
                              {{"/usr/local/cuda", "12.4"}}};
    report["b"] = testing::image_at("/var/lib/machines/b.raw");
    report["c"] = {};
    EXPECT_EQ(parse_look_report(to_json(report)), report);
}

TEST(WorkerProtocol, a_store_request_survives_the_way) {
    const StoreRequest parsed = parse_store_request(to_json(StoreRequest{"999-1", {"998-1", "999-1"}, true}));
    EXPECT_EQ(parsed.build, "999-1");
    EXPECT_EQ(parsed.keep, (std::vector<std::string>{"998-1", "999-1"}));
    EXPECT_TRUE(parsed.verify);
    const StoreReport report{{"999-1", "rebuilt", "compute/lib/libcuda.so differs"}, {"998-1", "intact", ""}};
    EXPECT_EQ(parse_store_report(to_json(report)), report);
}

TEST(WorkerProtocol, a_question_for_holders_and_its_answer_survive_the_way) {
    const HoldersRequest request{{{"nvidia0", 195, 0}}, {{"a", "systemd-nspawn@a.service"}}, "a"};
    const HoldersRequest parsed = parse_holders_request(to_json(request));
    EXPECT_EQ(parsed.nodes, request.nodes);
    EXPECT_EQ(parsed.units, request.units);
    EXPECT_EQ(parsed.machine, "a");
    const Holders report{{{"a", 4242, 7, "python3", {"nvidia0", "nvidiactl"}}}, {"a note"}, ""};
    EXPECT_EQ(parse_holders_report(to_json(report)).holders, report.holders);
    EXPECT_EQ(parse_holders_report(to_json(report)).notes, report.notes);
    EXPECT_THAT(failure_of(parse_holders_report, "{}"), HasSubstr("the report cannot be read"));
}

TEST(WorkerProtocol, text_that_is_no_utf8_is_no_failure) {
    ExposeReport report;
    report["a"].notes = {"the admin's file says \xff\xfe"};
    EXPECT_THAT(parse_expose_report(to_json(report)).at("a").notes, ::testing::SizeIs(1));
}

TEST(WorkerProtocol, whatever_is_broken_is_an_exception_with_a_sentence) {
    for (const char* text : {"", "{", "[]", "null", "42", "{\"plans\":7}", "\xff", "{\"a\":{}}", "[[[[[["}) {
        EXPECT_THAT(failure_of(parse_expose_request, text), HasSubstr("the request cannot be read")) << text;
        EXPECT_THAT(failure_of(parse_store_request, text), HasSubstr("the request cannot be read")) << text;
    }
    for (const char* text : {"", "{", "[1]", "42", "{\"a\":7}", "{\"a\":{\"changes\":[]}}"})
        EXPECT_THAT(failure_of(parse_expose_report, text), HasSubstr("the report cannot be read")) << text;
    EXPECT_THAT(failure_of(parse_look_request, "{\"a\":1}"), HasSubstr("the request cannot be read"));
    EXPECT_THAT(failure_of(parse_look_report, "{\"a\":{\"path\":7}}"), HasSubstr("the report cannot be read"));
}

TEST(WorkerProtocol, an_unknown_capability_is_refused_by_name) {
    std::string text = to_json(ExposeRequest{{full_plan()}, false, {}});
    text.replace(text.find("compat32"), 8, "telepath");
    EXPECT_EQ(failure_of(parse_expose_request, text), "unknown capability \"telepath\"");
}

TEST(WorkerProtocol, a_failure_is_told_from_a_report) {
    EXPECT_EQ(parse_failure(failure_report("no space left")), "no space left");
    for (const std::string& report : {failure_report("x"), to_json(ExposeReport{}), to_json(LookReport{})})
        EXPECT_TRUE(report.ends_with('\n')) << "or it counts as cut off";
    EXPECT_THAT(parse_failure(to_json(ExposeReport{})), IsEmpty());
    EXPECT_THAT(parse_failure("{}"), IsEmpty());
    EXPECT_THAT(parse_failure(to_json(ExposeReport{{"failure", {}}})), IsEmpty()) << "a machine of that name";
    EXPECT_EQ(parse_failure("half a rep"), "its report is no JSON");
    EXPECT_EQ(parse_failure(""), "its report is no JSON");
}

}  // namespace
}  // namespace cuda_nspawn
