#include <gmock/gmock.h>

#include <algorithm>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using Oddity = FakeMachined::Oddity;

class BusMisbehaviour : public BusFixture {
protected:
    // The daemon goes on: it answers, and a machine that is well gets through.
    void expect_it_works() {
        host->add_policy("well", "gpus: [0]\n");
        EXPECT_TRUE(wait_for_state("well", "ready")) << text("well", "StateText");
        machined->start("well");
        EXPECT_TRUE(wait_until([&] { return text("well", "Verdict") == "passed"; })) << text("well", "StateText");
    }
    void expect_it_works_after_release() {
        systemd->set("cuda-nspawn-test", {});
        expect_it_works();
    }
    Failure attach(const std::string& name) {
        return failure_of([&] {
            call<ObjectPath, Changes>(
                "Attach", name,
                Options{
                    {"start", sdbus::Variant(true)}, {"test", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
        });
    }
    bool wait_for_text(const std::string& name, const std::string& part) {
        return wait_until([&] { return text(name, "StateText").find(part) != std::string::npos; });
    }
};

TEST_F(BusMisbehaviour, a_machine_whose_start_fails_is_a_failed_job_that_names_the_unit) {
    start_daemon_with("gpus: [0]\n");
    for (const char* result : {"failed", "timeout", "canceled", "dependency"}) {
        systemd->set("systemd-nspawn@", {.result = result});
        EXPECT_THAT(attach("a").text,
                    StartsWith("systemd-nspawn@a.service could not be started or stopped (" + std::string(result) +
                               "): see systemctl status systemd-nspawn@a.service. "));
    }
    systemd->set("systemd-nspawn@", {.error = "Unit systemd-nspawn@a.service is masked."});
    EXPECT_THAT(attach("a").text, StartsWith("systemd-nspawn@a.service: Unit systemd-nspawn@a.service is masked. "));
    systemd->set("systemd-nspawn@", {});
    EXPECT_EQ(attach("a").text, "");
}

TEST_F(BusMisbehaviour, a_machine_that_is_gone_right_after_its_start_is_said_to_be) {
    start_daemon_with("gpus: [0]\n");
    systemd->on_machine_start = [](const std::string&) {};
    EXPECT_THAT(attach("a").text,
                HasSubstr("started, but machine \"a\" is gone again: see journalctl -u systemd-nspawn@a.service"));
}

TEST_F(BusMisbehaviour, a_job_that_ends_before_the_answer_to_its_start_is_not_missed) {
    systemd->set("cuda-nspawn", {.early = true});
    systemd->set("systemd-nspawn@", {.early = true});
    host->add_policy("b", "gpus: [1]\n");
    start_daemon_with("gpus: [0]\n");
    EXPECT_TRUE(wait_for_state("b", "ready"));
    EXPECT_EQ(attach("a").text, "");
    EXPECT_EQ(attach("b").text, "");
}

TEST_F(BusMisbehaviour, jobs_that_all_end_before_their_answers_are_all_heard) {
    for (int i = 0; i < 20; ++i) host->add_policy("m" + std::to_string(i), "gpus: [0]\n");
    systemd->set("cuda-nspawn-test@", {.early = true});
    systemd->set("cuda-nspawn@", {.early = true});
    start_daemon();
    for (int i = 0; i < 20; ++i) ASSERT_TRUE(wait_for_state("m" + std::to_string(i), "ready"));
    for (int i = 0; i < 20; ++i) machined->start("m" + std::to_string(i));
    for (int i = 0; i < 20; ++i)
        EXPECT_TRUE(wait_until([&] { return text("m" + std::to_string(i), "Verdict") == "passed"; })) << i;
}

TEST_F(BusMisbehaviour, a_worker_that_cannot_be_started_is_named) {
    systemd->set("cuda-nspawn-store", {.error = "Unit cuda-nspawn-store@.service not found."});
    look_worker->close();
    std::filesystem::remove(host->work() / "expose.socket");
    host->add_policy("a", "gpus: [0]\n");
    start_daemon();
    EXPECT_TRUE(
        wait_for_text("a",
                      "look failed: cuda-nspawn-look.socket does not listen (Connection refused): start it, or see "
                      "systemctl status cuda-nspawn-look.socket"));
    look_worker->open();
    call_later<ObjectPath, Changes>("Attach", "a", Options{});
    EXPECT_TRUE(wait_for_text("a", "expose failed: cuda-nspawn-expose.socket does not listen (No such file or"));
    // The attach has the copy tried again, and while that is under way there is no failure of it.
    EXPECT_TRUE(wait_until([&] {
        const auto manager = properties("/org/cudanspawn1", "org.cudanspawn1.Manager");
        const auto warnings = manager.at("Warnings").get<std::vector<std::string>>();
        return std::ranges::any_of(warnings, [](const std::string& warning) {
            return warning.find("Unit cuda-nspawn-store@.service not found.") != std::string::npos;
        });
    }));
    expose_worker->close();
    expose_worker->open();
    systemd->set("cuda-nspawn-store", {});
    expect_it_works();
    EXPECT_TRUE(wait_for_state("a", "ready"));
}

TEST_F(BusMisbehaviour, a_worker_that_leaves_no_report_or_rubbish_is_a_failure_and_no_crash) {
    start_daemon_with("gpus: [0]\n");
    const std::vector<std::pair<FakeResident::Behaviour, std::string>> cases{
        {{.killed = 3}, "cuda-nspawn-expose.service left no report: see journalctl -u cuda-nspawn-expose.service"},
        {{.report = "{ \"a\": "}, "its report is no JSON"},
        {{.report = "[1, 2]"}, "the report cannot be read"},
        {{.report = "{\"a\": {\"changes\": 7}}"}, "the report cannot be read"},
        {{.report = "{}"}, "the worker did not report on this machine"},
        {{.report = std::string(17 << 20, ' ')}, "left no report"},
        {{.report = "{\"failure\": \"no space left\"}"}, "no space left"}};
    for (const auto& [behaviour, part] : cases) {
        expose_worker->set(behaviour);
        EXPECT_THAT(attach("a").text, HasSubstr(part));
        EXPECT_EQ(text("a", "State"), "failed");
    }
    expose_worker->set({});
    EXPECT_EQ(attach("a").text, "");
}

TEST_F(BusMisbehaviour, a_resident_worker_that_is_killed_twice_is_asked_a_third_time) {
    start_daemon_with("gpus: [0]\n");
    const unsigned before = expose_worker->count();
    expose_worker->set({.killed = 2});
    EXPECT_EQ(attach("a").text, "");
    EXPECT_EQ(expose_worker->count(), before + 3);
    for (const char* retry : {"retry 1 of 2", "retry 2 of 2"})
        EXPECT_THAT(log(), HasSubstr("cuda-nspawn-expose.service left no report: see journalctl -u "
                                     "cuda-nspawn-expose.service; " +
                                     std::string(retry)));
}

TEST_F(BusMisbehaviour, a_worker_that_is_killed_twice_is_started_a_third_time) {
    host->add_policy("a", "gpus: [0]\n");
    systemd->set("cuda-nspawn-store", {.result = "failed", .without_report = true, .times = 2});
    start_daemon();
    EXPECT_TRUE(wait_for_state("a", "ready"));
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-store@"), 3U);
    EXPECT_THAT(log(), HasSubstr("could not be started or stopped (failed)"));
    EXPECT_THAT(log(), HasSubstr("retry 2 of 2"));
    EXPECT_EQ(host->list_work(), (std::vector<std::string>{"expose.socket", "look.socket"}));
}

TEST_F(BusMisbehaviour, a_worker_that_is_killed_for_ever_or_came_to_its_time_limit_is_a_failure) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    ASSERT_TRUE(wait_until([&] { return text("a", "Verdict") == "passed"; }));
    const std::vector<std::pair<std::string, unsigned>> cases{{"failed", 3}, {"timeout", 1}, {"canceled", 1}};
    for (const auto& [result, starts] : cases) {
        const unsigned before = systemd->count("StartUnit cuda-nspawn-test@");
        systemd->set("cuda-nspawn-test", {.result = result, .without_report = true});
        const auto [job, verdict, summary] =
            call<ObjectPath, std::string, std::string>("SelfTest", "a", Options{{"wait", sdbus::Variant(true)}});
        EXPECT_THAT(summary, HasSubstr("could not be started or stopped (" + result + ")"));
        EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-test@"), before + starts);
    }
}

TEST_F(BusMisbehaviour, a_resident_worker_that_hangs_holds_up_no_other_and_is_given_up_after_35_seconds) {
    start_daemon_with("gpus: [0]\n");
    expose_worker->set({.held = true});
    const auto begin = std::chrono::steady_clock::now();
    host->add_policy("b", "gpus: [1]\n");
    ASSERT_TRUE(wait_until([&] { return expose_worker->holds(); }));
    machined->start("a");
    EXPECT_TRUE(wait_until([&] { return text("a", "Verdict") == "passed"; })) << "rules and tests go on meanwhile";
    const std::string failure = "cuda-nspawn-expose.service did not answer in 35 s: see journalctl -u cuda-nspawn-exp";
    EXPECT_TRUE(news.wait_until([&] { return text("b", "StateText").find(failure) != std::string::npos; },
                                std::chrono::seconds(45)))
        << text("b", "StateText");
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(34));
    expose_worker->set({});
    expose_worker->finish();
    expect_it_works();
}

TEST_F(BusMisbehaviour, a_daemon_that_starts_clears_the_work_directory_of_all_but_the_sockets) {
    host->tree.write("/root/run/cuda-nspawn/work/test-1-1.request", "{}");
    host->tree.write("/root/run/cuda-nspawn/work/test-1-1.result", "{}");
    host->tree.write("/root/run/cuda-nspawn/work/test-1-1.result.new", "{");
    start_daemon_with("gpus: [0]\n");
    EXPECT_EQ(host->list_work(), (std::vector<std::string>{"expose.socket", "look.socket"}));
}

TEST_F(BusMisbehaviour, a_look_without_an_answer_for_the_machine_is_a_failure) {
    start_daemon_with("gpus: [0]\n");
    look_worker->set({.report = "{}"});
    EXPECT_THAT(attach("a").text, HasSubstr("did not report on this machine"));
}

TEST_F(BusMisbehaviour, a_self_test_that_reports_rubbish_is_no_verdict) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-test", {.report = "{\"run\": {}}"});
    EXPECT_THAT(attach("a").text,
                HasSubstr("no verdict: the self-test could not be started: the report cannot be read"));
    EXPECT_EQ(text("a", "Verdict"), "no-verdict");
    host->self_test_output = std::string("\xff\xfe{\"gpu\":\"") + std::string(5000, 'x') + "\n{\"end\":true}\n";
    systemd->set("cuda-nspawn-test", {});
    const auto [job, verdict, summary] =
        call<ObjectPath, std::string, std::string>("SelfTest", "a", Options{{"wait", sdbus::Variant(true)}});
    EXPECT_NE(verdict, "passed");
}

TEST_F(BusMisbehaviour, a_work_directory_that_cannot_be_written_is_a_failure_of_the_step) {
    host->add_policy("a", "gpus: [0]\n");
    look_worker->close();
    expose_worker->close();
    std::filesystem::remove_all(host->work());
    host->tree.write("/root/run/cuda-nspawn/work", "a file in its place");
    start_daemon();
    EXPECT_TRUE(wait_for_text("a", "cuda-nspawn-look.socket does not listen (Not a directory)"));
    EXPECT_TRUE(wait_for_log("cannot write"));
    std::filesystem::remove(host->work());
    std::filesystem::create_directories(host->work());
    look_worker->open();
    expose_worker->open();
    expect_it_works();
}

TEST_F(BusMisbehaviour, a_memory_that_cannot_be_written_is_worth_a_warning) {
    std::filesystem::remove_all(host->tree.at("/root/run/cuda-nspawn/state"));
    start_daemon_with("gpus: [0]\n");
    expect_it_works();
    EXPECT_TRUE(wait_for_log("cannot write " + host->tree.at("/root/run/cuda-nspawn/state/well.json").string()));
}

TEST_F(BusMisbehaviour, each_method_of_systemd_that_does_not_work_is_named_and_survived) {
    start_daemon_with("gpus: [0]\n");
    const std::map<std::string, std::string> parts{
        {"GetUnit", "GetUnit does not work today"},
        {"SetUnitProperties", "the device rules of systemd-nspawn@a.service could not be set"}};
    for (const auto& [method, part] : parts) {
        systemd->fail(method);
        machined->start("a");
        EXPECT_TRUE(wait_for_text("a", part)) << text("a", "StateText");
        systemd->fail("");
        EXPECT_EQ(attach("a").text, "");
        machined->stop("a");
        EXPECT_TRUE(wait_for_state("a", "ready"));
    }
}

TEST_F(BusMisbehaviour, a_systemd_that_does_not_list_its_units_is_told_to_read_them_again) {
    systemd->fail("ListUnitsByPatterns");
    start_daemon_with("gpus: [0]\n");
    EXPECT_TRUE(wait_until([&] { return systemd->count("Reload") > 0; }));
}

TEST_F(BusMisbehaviour, a_systemd_that_does_not_read_its_units_fails_the_step) {
    systemd->set_loaded({"systemd-nspawn@a.service"});
    systemd->fail("Reload");
    host->add_policy("a", "gpus: [0]\n");
    start_daemon();
    EXPECT_TRUE(wait_for_text("a", "systemd did not reload its units: Reload does not work today"));
}

TEST_F(BusMisbehaviour, device_rules_of_another_type_are_a_failure_and_no_silence) {
    systemd->tell_wrong_device_allow();
    start_daemon_with("gpus: [0]\n");
    machined->start("a");
    EXPECT_TRUE(wait_for_text("a", "grant failed: systemd-nspawn@a.service")) << text("a", "StateText");
}

TEST_F(BusMisbehaviour, a_unit_without_exec_start_is_survived) {
    // An override makes the daemon ask for the unit's ExecStart; a scope's object has none.
    host->tree.write("/root/etc/systemd/system/systemd-nspawn@a.service.d/override.conf", "[Service]\n");
    systemd->tell_wrong_device_allow();
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(systemd->calls(), Contains("LoadUnit systemd-nspawn@a.service"));
}

TEST_F(BusMisbehaviour, a_unit_that_cannot_be_loaded_is_survived) {
    host->tree.write("/root/etc/systemd/system/systemd-nspawn@.service.d/override.conf", "[Service]\n");
    systemd->fail("LoadUnit");
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(systemd->calls(), Contains("LoadUnit systemd-nspawn@a.service"));
}

TEST_F(BusMisbehaviour, odd_machines_of_machined_hurt_no_other) {
    for (const auto& [name, oddity] : std::map<std::string, Oddity>{{"without-unit", Oddity::without_unit},
                                                                    {"leader", Oddity::leader_is_text},
                                                                    {"gone", Oddity::without_object}})
        machined->start(name, "", oddity, false);
    start_daemon_with("gpus: [0]\n");
    for (const auto& [name, oddity] : std::map<std::string, Oddity>{{"without-unit2", Oddity::without_unit},
                                                                    {"leader2", Oddity::leader_is_text},
                                                                    {"gone2", Oddity::without_object}})
        machined->start(name, "", oddity, true);
    expect_it_works();
    EXPECT_EQ(text("a", "State"), "ready");
}

TEST_F(BusMisbehaviour, a_machine_that_is_gone_between_the_signal_and_the_question_never_ran) {
    start_daemon_with("gpus: [0]\n");
    machined->start("a", "", Oddity::without_object);
    machined->stop("a");
    expect_it_works();
    EXPECT_EQ(text("a", "State"), "ready");
}

TEST_F(BusMisbehaviour, a_machined_that_does_not_list_is_reported_and_its_signals_still_count) {
    machined->fail("ListMachines");
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(log(), HasSubstr("systemd-machined does not answer: ListMachines does not work today"));
    expect_it_works();
}

TEST_F(BusMisbehaviour, a_detach_during_the_self_test_is_not_undone_by_its_late_report) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-test", {.held = true});
    machined->start("a");
    ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn-test"); }));
    call<ObjectPath, Changes>("Detach", "a", Options{{"wait", sdbus::Variant(true)}});
    systemd->finish("cuda-nspawn-test");
    expect_it_works_after_release();
    EXPECT_EQ(text("a", "Verdict"), "none");
    EXPECT_EQ(text("a", "State"), "detached");
}

TEST_F(BusMisbehaviour, a_machine_whose_policy_and_instance_go_during_the_self_test_is_forgotten_in_peace) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-test", {.held = true});
    machined->start("a");
    ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn-test"); }));
    std::filesystem::remove(host->policies() / "a.yaml");
    machined->stop("a");
    ASSERT_TRUE(wait_until([&] { return failure_of([&] { call<ObjectPath>("GetMachine", "a"); }).name != ""; }));
    systemd->finish("cuda-nspawn-test");
    expect_it_works_after_release();
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
