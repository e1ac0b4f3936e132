#include <gmock/gmock.h>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

using Finding = sdbus::Struct<std::string, std::string, std::string, std::vector<std::string>, std::string, std::string,
                              std::vector<std::string>, std::string>;
using Findings = std::vector<Finding>;
using Audited = std::vector<sdbus::Struct<std::string, std::string, std::string, bool, Findings>>;

const std::string machine_a = "/org/cudanspawn1/machine/a";
const std::string lost = "NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', GPU has fallen off the bus.";

class BusDiagnosis : public BusFixture {
protected:
    Findings diagnose(const std::string& name, const Options& options = {}) {
        return std::get<0>(call<Findings>("Diagnose", name, options));
    }
    Failure failed_diagnosis(const std::string& name, const Options& options = {}) {
        return failure_of([&] { diagnose(name, options); });
    }
    static std::vector<std::string> codes(const Findings& findings) {
        std::vector<std::string> all;
        for (const Finding& finding : findings) all.push_back(finding.get<0>());
        return all;
    }
    Failure attach() {
        return failure_of([&] {
            call<ObjectPath, Changes>(
                "Attach", "a",
                Options{
                    {"start", sdbus::Variant(true)}, {"test", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
        });
    }
    Changes findings_of_a() { return machine("a").at("Findings").get<Changes>(); }
    void bind_what_is_not_there() {
        host->tree.write("/root/etc/systemd/nspawn/a.nspawn", "[Files]\nBind=/srv/data\n");
    }
    // An earlier Xid of the kernel's log is what a failed self-test is explained by.
    void lose_the_gpu() {
        host->kernel_log = {lost};
        host->self_test_output =
            "{\"check\":\"init\",\"result\":\"failed\",\"detail\":\"cuInit: 999\"}\n{\"end\":true}\n";
    }
};

TEST_F(BusDiagnosis, nothing_is_found_in_a_machine_that_is_well) {
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(codes(diagnose("a")), IsEmpty());
    EXPECT_EQ(attach().text, "");
    EXPECT_THAT(codes(diagnose("a")), IsEmpty());
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-survey@"), 2U);
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-examine@"), 2U);
}

TEST_F(BusDiagnosis, a_finding_has_all_its_parts) {
    lose_the_gpu();
    start_daemon_with("gpus: [0]\n");
    attach();
    const Findings findings = diagnose("a");
    ASSERT_THAT(codes(findings), ElementsAre("gpu-off-the-bus"));
    const auto& [code, severity, text, evidence, where, fix, explained, documentation] = findings.front();
    EXPECT_EQ(severity, "error");
    EXPECT_EQ(text, "The GPU at 0000:01:00 has fallen off the bus.");
    EXPECT_THAT(evidence, ElementsAre("kernel log: " + lost));
    EXPECT_EQ(where, "");
    EXPECT_THAT(fix, StartsWith("Reboot the host"));
    EXPECT_THAT(explained, ElementsAre("self-test-failed: failed: init: cuInit: 999"));
    EXPECT_THAT(documentation, HasSubstr("cuda-nspawn-findings"));
}

TEST_F(BusDiagnosis, the_machines_object_is_asked_like_the_manager) {
    bind_what_is_not_there();
    start_daemon_with("gpus: [0]\n");
    Findings findings;
    proxy_at(machine_a)
        ->callMethod("Diagnose")
        .onInterface("org.cudanspawn1.Machine")
        .withArguments(Options{})
        .storeResultsTo(findings);
    EXPECT_THAT(codes(findings), ElementsAre("bind-source-missing"));
    EXPECT_EQ(findings, diagnose("a"));
    EXPECT_EQ(findings.front().get<4>(), "host");
}

TEST_F(BusDiagnosis, a_name_without_a_policy_or_an_image_is_told_of) {
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(codes(diagnose("other")), ElementsAre("no-policy", "no-image"));
    EXPECT_EQ(failed_diagnosis("../a").name, "org.cudanspawn1.Error.InvalidName");
    EXPECT_EQ(failed_diagnosis("").name, "org.cudanspawn1.Error.InvalidName");
}

TEST_F(BusDiagnosis, a_policy_that_was_just_written_counts) {
    start_daemon_with("gpus: [0]\n");
    host->add_policy("a", "gpus: none\n");
    EXPECT_THAT(codes(diagnose("a")), ElementsAre("policy-grants-none"));
}

TEST_F(BusDiagnosis, rules_that_somebody_took_from_a_running_machine_are_missed) {
    start_daemon_with("gpus: [0]\n");
    EXPECT_EQ(attach().text, "");
    auto systemd_proxy = sdbus::createProxy(sdbus::createSessionBusConnectionWithAddress(address),
                                            sdbus::ServiceName{"org.freedesktop.systemd1"},
                                            ObjectPath{"/org/freedesktop/systemd1"}, sdbus::dont_run_event_loop_thread);
    using Rules = std::vector<sdbus::Struct<std::string, std::string>>;
    using Property = sdbus::Struct<std::string, sdbus::Variant>;
    systemd_proxy->callMethod("SetUnitProperties")
        .onInterface("org.freedesktop.systemd1.Manager")
        .withArguments("systemd-nspawn@a.service", true,
                       std::vector<Property>{Property{"DeviceAllow", sdbus::Variant(Rules{})}});
    const Findings findings = diagnose("a");
    ASSERT_THAT(codes(findings), ElementsAre("rule-missing"));
    EXPECT_THAT(findings.front().get<2>(), HasSubstr("systemd-nspawn@a.service lack /dev/char/"));
}

// --- options ---------------------------------------------------------------------------------------------------------

TEST_F(BusDiagnosis, a_program_is_looked_at_as_its_loader_would_start_it) {
    start_daemon_with("gpus: [0]\n");
    const Options options{{"program", sdbus::Variant("/opt/train")}, {"library_path", sdbus::Variant("")}};
    EXPECT_THAT(codes(diagnose("a", options)), ElementsAre("program-missing"));
    EXPECT_THAT(findings_of_a(), IsEmpty()) << "it is nothing of the machine's";
}

TEST_F(BusDiagnosis, options_that_make_no_sense_are_refused) {
    start_daemon_with("gpus: [0]\n");
    const std::vector<std::pair<Options, std::string>> cases{
        {{{"programme", sdbus::Variant("/x")}}, "programme"},
        {{{"program", sdbus::Variant(true)}}, "program"},
        {{{"program", sdbus::Variant("/x")}, {"library_path", sdbus::Variant(7)}}, "library_path"},
        {{{"library_path", sdbus::Variant("/x")}}, "give the option \"program\" too"},
        {{{"program", sdbus::Variant("opt/train")}}, "it begins with \"/\""}};
    for (const auto& [options, part] : cases) {
        const Failure failure = failed_diagnosis("a", options);
        EXPECT_EQ(failure.name, "org.cudanspawn1.Error.InvalidArgs") << part;
        EXPECT_THAT(failure.text, HasSubstr(part));
    }
    for (const auto& [options, part] : std::vector<std::pair<Options, std::string>>{
             {{{"image", sdbus::Variant(true)}}, "image"}, {{{"images", sdbus::Variant("yes")}}, "images"}}) {
        const Failure failure = failure_of([&] { call<Audited>("Audit", options); });
        EXPECT_EQ(failure.name, "org.cudanspawn1.Error.InvalidArgs") << part;
        EXPECT_THAT(failure.text, HasSubstr(part));
    }
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-survey@") + systemd->count("StartUnit cuda-nspawn-examine"), 0U);
}

// --- workers ---------------------------------------------------------------------------------------------------------

TEST_F(BusDiagnosis, a_worker_that_fails_or_talks_nonsense_is_an_error_with_its_sentence) {
    start_daemon_with("gpus: [0]\n");
    const std::vector<std::pair<FakeSystemd::Behaviour, std::string>> cases{
        {{.report = R"({"failure": "the journal is on fire"})"}, "the journal is on fire"},
        {{.report = "{ \"a\": "}, "its report is no JSON"},
        {{.report = "[1, 2]"}, "the report cannot be read"},
        {{.report = R"({"a": {"path": 7}})"}, "the report cannot be read"},
        {{.without_report = true}, "left no report"},
        {{.error = "Unit not found."}, "Unit not found."}};
    for (const char* worker : {"cuda-nspawn-survey@", "cuda-nspawn-examine@"}) {
        for (const auto& [behaviour, part] : cases) {
            systemd->set(worker, behaviour);
            // An audit has a worker of its own for the images.
            if (std::string(worker) == "cuda-nspawn-examine@") systemd->set("cuda-nspawn-audit@", behaviour);
            const Failure failure = failed_diagnosis("a");
            EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed") << worker << part;
            EXPECT_THAT(failure.text, HasSubstr(part)) << worker;
            const Failure audit = failure_of([&] { call<Audited>("Audit", Options{}); });
            EXPECT_EQ(audit.name, "org.cudanspawn1.Error.Failed") << worker << part;
            EXPECT_THAT(audit.text, HasSubstr(part)) << worker;
        }
        systemd->set(worker, {});
    }
    systemd->set("cuda-nspawn-audit@", {});
    EXPECT_THAT(codes(diagnose("a")), IsEmpty());
    EXPECT_THAT(host->list_work(), ::testing::Each(::testing::Not(EndsWith(".request"))));
}

TEST_F(BusDiagnosis, a_failure_is_told_without_a_cause_when_that_cannot_be_looked_for) {
    lose_the_gpu();
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-examine@", {.without_report = true});
    EXPECT_EQ(attach().text, "failed: init: cuInit: 999");
    EXPECT_THAT(findings_of_a(), IsEmpty());
}

TEST_F(BusDiagnosis, questions_that_come_at_once_travel_together) {
    for (int i = 0; i < 10; ++i) host->add_image("m" + std::to_string(i));
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-survey@", {.held = true});
    std::vector<std::future<Findings>> answers;
    const auto ask = [&](const std::string& name, const Options& options = {}) {
        answers.push_back(call_later<Findings>("Diagnose", name, options));
    };
    ask("a");
    ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn-survey@"); }));
    for (int i = 0; i < 10; ++i) {
        ask("m" + std::to_string(i));
        ask("a");
    }
    ask("a", {{"program", sdbus::Variant("/opt/train")}});
    hear_all();
    systemd->set("cuda-nspawn-survey@", {});
    systemd->finish("cuda-nspawn-survey@");
    EXPECT_THAT(codes(answers.front().get()), IsEmpty());
    EXPECT_THAT(codes(answers.back().get()), ElementsAre("program-missing"));
    for (std::size_t i = 1; i + 1 < answers.size(); ++i) {
        const auto found = codes(answers[i].get());
        if (i % 2 == 1)
            EXPECT_THAT(found, ElementsAre("no-policy")) << i;
        else
            EXPECT_THAT(found, IsEmpty()) << i;
    }
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-survey@"), 3U) << "the first, the program's, and all others";
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-examine@"), 3U);
}

// --- a failed attach and the property --------------------------------------------------------------------------------

TEST_F(BusDiagnosis, a_failed_attach_tells_its_cause_to_who_waits_and_leaves_it_at_the_machine) {
    lose_the_gpu();
    start_daemon_with("gpus: [0]\n");
    EXPECT_THAT(findings_of_a(), IsEmpty());
    const Failure failure = attach();
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed");
    EXPECT_THAT(failure.text, StartsWith("failed: init: cuInit: 999. Cause: The GPU at 0000:01:00 has fallen off the "
                                         "bus. Reboot the host"));
    EXPECT_THAT(failure.text, EndsWith(" [gpu-off-the-bus]"));
    ASSERT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", machine_a, "Findings") == 1; }));
    EXPECT_THAT(findings_of_a(), ElementsAre(Changes::value_type{"gpu-off-the-bus", "error",
                                                                 "The GPU at 0000:01:00 has fallen off the bus."}));

    host->self_test_output.clear();
    const auto again = failure_of(
        [&] { call<ObjectPath, std::string, std::string>("SelfTest", "a", Options{{"wait", sdbus::Variant(true)}}); });
    EXPECT_EQ(again.text, "");
    ASSERT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", machine_a, "Findings") == 2; }));
    EXPECT_THAT(findings_of_a(), IsEmpty()) << "the test has passed";
}

TEST_F(BusDiagnosis, the_property_holds_what_the_last_diagnosis_found) {
    bind_what_is_not_there();
    start_daemon_with("gpus: [0]\n");
    diagnose("a");
    diagnose("a");
    hear_all();
    EXPECT_EQ(count_signals("PropertiesChanged", machine_a, "Findings"), 1U);
    const auto findings = findings_of_a();
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings.front().get<0>(), "bind-source-missing");
    EXPECT_EQ(findings.front().get<1>(), "error");
    host->tree.write("/root/srv/data/file", "");
    diagnose("a");
    EXPECT_THAT(findings_of_a(), IsEmpty());
}

// --- the audit -------------------------------------------------------------------------------------------------------

TEST_F(BusDiagnosis, the_audit_tells_of_every_image) {
    host->add_image("b");
    host->tree.write("/root/var/lib/machines/b/usr/bin/docker", "x");
    host->tree.write("/root/var/lib/machines/c.raw", "no file system");
    bind_what_is_not_there();
    start_daemon_with("gpus: [0]\n");
    const auto [machines] = call<Audited>("Audit", Options{});
    ASSERT_EQ(machines.size(), 3U);
    EXPECT_EQ(machines[0].get<0>(), "a");
    EXPECT_EQ(machines[0].get<1>(), "/var/lib/machines/a");
    EXPECT_THAT(machines[0].get<2>(), HasSubstr("bookworm"));
    EXPECT_TRUE(machines[0].get<3>());
    EXPECT_THAT(codes(machines[0].get<4>()), ElementsAre("bind-source-missing"));
    EXPECT_EQ(machines[1].get<0>(), "b");
    EXPECT_FALSE(machines[1].get<3>());
    EXPECT_EQ(machines[2].get<1>(), "/var/lib/machines/c.raw");
    EXPECT_THAT(codes(machines[2].get<4>()), IsEmpty()) << "it was not looked into";
    EXPECT_THAT(findings_of_a(), IsEmpty());
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-audit-images@"), 0U);
}

TEST_F(BusDiagnosis, raw_images_are_for_another_worker) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("cuda-nspawn-audit-images@", {.report = R"({"failure": "no loop device"})"});
    EXPECT_EQ(failure_of([&] { call<Audited>("Audit", Options{{"images", sdbus::Variant(true)}}); }).text,
              "no loop device");
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-audit-images@"), 1U);
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
