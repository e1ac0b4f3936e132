// Jobs as their callers see them: progress, cancel, who goes away; and what is planned for them.
#include <gmock/gmock.h>
#include <signal.h>

#include <sstream>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

using Changed = Changes::value_type;
const std::string machine_a = "/org/cudanspawn1/machine/a";
const std::string unit_of_a = "systemd-nspawn@a.service";

class BusJobs : public BusFixture {
protected:
    static Options with(std::initializer_list<const char*> names) {
        Options options;
        for (const char* name : names) options.emplace(name, sdbus::Variant(true));
        return options;
    }
    Changes plan(const std::string& machine, const Options& options = {}) {
        return std::get<0>(call<Changes>("Plan", machine, options));
    }
    Changes attach(const std::string& machine, std::initializer_list<const char*> options) {
        return std::get<1>(call<ObjectPath, Changes>("Attach", machine, with(options)));
    }
    Changes detach(const std::string& machine) {
        return std::get<1>(call<ObjectPath, Changes>("Detach", machine, with({"wait"})));
    }
    Properties job(const ObjectPath& path) { return properties(path, "org.cudanspawn1.Job"); }
    std::string result_of(const ObjectPath& path) { return job(path).at("Result").get<std::string>(); }
    void cancel(const ObjectPath& path) {
        proxy_at(path)->callMethod("Cancel").onInterface("org.cudanspawn1.Job").withTimeout(std::chrono::seconds(20));
    }
    void cancel(unsigned id) { call<>("CancelJob", static_cast<std::uint32_t>(id)); }
    // systemd's part of a start: the unit begins with the rules of its drop-in.
    void load_drop_ins() {
        systemd->on_machine_start = [this](const std::string& name) {
            const std::string unit = "systemd-nspawn@" + name + ".service", key = "DeviceAllow=";
            std::istringstream lines(host->tree.read("/root/run/systemd/system/" + unit + ".d/50-cuda-nspawn.conf"));
            for (std::string line; std::getline(lines, line);)
                if (line.starts_with(key))
                    systemd->add_rule(unit, line.substr(key.size(), line.find(' ') - key.size()));
            machined->start(name);
        };
    }
    static std::string text_of(const Changes& changes) {
        std::string text;
        for (const auto& change : changes) text += change.get<0>() + " " + change.get<1>() + "\n" + change.get<2>();
        return text;
    }
};

// --- Plan ------------------------------------------------------------------------------------------------------------

TEST_F(BusJobs, what_plan_says_is_what_the_verb_then_answers) {
    load_drop_ins();
    start_daemon_with("gpus: [0]\n");
    const Changes started = plan("a", with({"start"}));
    EXPECT_THAT(started, ElementsAre(Changed{"start", unit_of_a, "the machine"}));
    EXPECT_EQ(systemd->count("StartUnit " + unit_of_a), 0U);
    EXPECT_EQ(attach("a", {"start", "wait"}), started);
    EXPECT_THAT(plan("a", with({"start"})), IsEmpty());

    Options detaching{{"verb", sdbus::Variant("detach")}};
    const Changes taken = plan("a", detaching);
    EXPECT_EQ(text("a", "State"), "attached");
    EXPECT_THAT(taken, Contains(Changed{"deny", "/dev/char/195:0", "for " + unit_of_a}));
    EXPECT_THAT(taken, Contains(Changed{"remove", "/run/cuda-nspawn/machines/a/dev/nvidia0", ""}));
    EXPECT_EQ(detach("a"), taken);
    EXPECT_THAT(plan("a", detaching), IsEmpty());

    const Changes given = plan("a");
    EXPECT_THAT(systemd->rules()[unit_of_a], IsEmpty());
    EXPECT_THAT(given, Contains(Changed{"allow", "/dev/char/195:0", "nvidia0 for " + unit_of_a}));
    EXPECT_EQ(attach("a", {"wait"}), given);
    EXPECT_THAT(plan("a"), IsEmpty());
}

TEST_F(BusJobs, rules_that_an_admin_or_a_reload_left_are_planned_as_they_are_mended) {
    load_drop_ins();
    start_daemon_with("gpus: [0]\n");
    attach("a", {"start", "wait"});
    detach("a");
    systemd->add_rule(unit_of_a, "/dev/char/195:1");
    systemd->add_rule(unit_of_a, "/dev/fuse");
    const Changes given = plan("a");
    EXPECT_THAT(given, Contains(Changed{"deny", "/dev/char/195:1", "for " + unit_of_a}));
    EXPECT_THAT(text_of(given), Not(HasSubstr("fuse")));
    EXPECT_EQ(attach("a", {"wait"}), given);
}

TEST_F(BusJobs, a_diff_shows_what_somebody_edited_by_hand) {
    start_daemon_with("gpus: [0]\n");
    const std::string settings = "/run/systemd/nspawn/a.nspawn";
    const std::string text = host->tree.read("/root" + settings);
    host->tree.write("/root" + settings, text + "[Exec]\nHostname=mine\n");
    const Options diff{{"diff", sdbus::Variant(true)}};
    ASSERT_TRUE(wait_until([&] { return text_of(plan("a", diff)).find("Hostname") != std::string::npos; }));
    const Changes planned = plan("a", diff);
    ASSERT_EQ(planned.size(), 1U);
    EXPECT_EQ(planned[0].get<0>(), "replace");
    EXPECT_THAT(planned[0].get<2>(), StartsWith("--- " + settings + "\n+++ " + settings + "\n@@ "));
    EXPECT_THAT(planned[0].get<2>(), HasSubstr("\n-[Exec]\n-Hostname=mine\n"));
    EXPECT_EQ(plan("a")[0].get<2>(), "file") << "who does not ask for it";
}

TEST_F(BusJobs, a_policy_is_planned_before_there_is_one) {
    start_daemon();
    const Options options{{"policy", sdbus::Variant("gpus: [1]\n")}, {"diff", sdbus::Variant(true)}};
    const Changes planned = plan("a", options);
    EXPECT_THAT(planned, Contains(Changed{"create", "/run/cuda-nspawn/machines/a/dev/nvidia1", "node 195:1"}));
    EXPECT_THAT(text_of(planned), HasSubstr("--- /dev/null\n+++ /run/systemd/nspawn/a.nspawn\n"));
    EXPECT_THAT(text_of(planned),
                HasSubstr("+# Generated by cuda-nspawn from " + (host->policies() / "a.yaml").string()));
    EXPECT_FALSE(host->has_node("a", "nvidia1"));
    EXPECT_EQ(failure_of([&] { call<ObjectPath>("GetMachine", "a"); }).name, "org.cudanspawn1.Error.NoSuchMachine");
    host->add_image("a");
    host->add_policy("a", "gpus: [1]\n");
    ASSERT_TRUE(wait_for_state("a", "ready"));
    EXPECT_THAT(plan("a", options), IsEmpty()) << "it has been done";
    Options without = with({"without_policy"});
    EXPECT_THAT(plan("a", without), Contains(Changed{"remove", "/run/cuda-nspawn/machines/a/dev/nvidia1", ""}));
    EXPECT_EQ(text("a", "State"), "ready");
}

TEST_F(BusJobs, a_policy_that_is_none_is_refused_with_all_that_is_wrong) {
    start_daemon_with("gpus: [0]\n");
    const std::string path = (host->policies() / "a.yaml").string();
    const Failure failure = failure_of([&] { plan("a", {{"policy", sdbus::Variant("gpu: 0\nself_test: slow\n")}}); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.InvalidPolicy");
    EXPECT_THAT(failure.text, StartsWith(path + ": The policy names no GPUs"));
    EXPECT_THAT(failure.text, HasSubstr("\n" + path + ":1:"));
    EXPECT_THAT(failure.text, HasSubstr("\n" + path + ":2:"));
    const std::string long_text(std::size_t{64} * 1024 + 1, '#');
    EXPECT_THAT(failure_of([&] { plan("a", {{"policy", sdbus::Variant(long_text)}}); }).text,
                HasSubstr("\"policy\" has more than 65536 bytes"));
    EXPECT_EQ(failure_of([&] { plan("../a", {{"policy", sdbus::Variant("gpus: all\n")}}); }).name,
              "org.cudanspawn1.Error.InvalidName");
    EXPECT_EQ(failure_of([&] {
                  plan("a", {{"policy", sdbus::Variant("gpus: all\n")}, {"without_policy", sdbus::Variant(true)}});
              }).name,
              "org.cudanspawn1.Error.InvalidArgs");
    EXPECT_EQ(
        failure_of([&] { plan("a", {{"verb", sdbus::Variant("detach")}, {"start", sdbus::Variant(true)}}); }).name,
        "org.cudanspawn1.Error.InvalidArgs");
    EXPECT_THAT(failure_of([&] { plan("a", {{"verb", sdbus::Variant("remove")}}); }).text, HasSubstr("not \"remove\""));
    EXPECT_EQ(text("a", "State"), "ready");
}

// --- progress --------------------------------------------------------------------------------------------------------

TEST_F(BusJobs, a_job_tells_where_it_is) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("systemd-nspawn@", {.held = true});
    auto answer = call_later<ObjectPath, Changes>("Attach", "a", with({"start", "test", "wait"}));
    ASSERT_TRUE(wait_until([&] { return systemd->holds("systemd-nspawn@a"); }));
    const ObjectPath path{"/org/cudanspawn1/job/1"};
    Properties now = job(path);
    EXPECT_EQ(now.at("Text").get<std::string>(), "start systemd-nspawn@a.service");
    EXPECT_EQ(now.at("State").get<std::string>(), "running");
    EXPECT_EQ(now.at("Step").get<std::uint32_t>(), 3U);
    EXPECT_EQ(now.at("Steps").get<std::uint32_t>(), 5U);
    EXPECT_EQ(now.at("Result").get<std::string>(), "");
    systemd->finish("systemd-nspawn@");
    answer.get();
    now = job(path);
    EXPECT_EQ(now.at("Step").get<std::uint32_t>(), now.at("Steps").get<std::uint32_t>());
    EXPECT_THAT(now.at("Text").get<std::string>(), StartsWith("passed: 1 GPU"));
    hear_all();
    EXPECT_GE(count_signals("PropertiesChanged", path, "Step"), 3U);
}

// --- cancel ----------------------------------------------------------------------------------------------------------

TEST_F(BusJobs, a_self_test_is_cancelled_and_its_worker_stopped) {
    start_daemon_with("gpus: [0]\n");
    attach("a", {"start", "test", "wait"});
    const std::string verdict = text("a", "VerdictText");
    systemd->set("cuda-nspawn-test@", {.held = true});
    auto answer = call_later<ObjectPath, std::string, std::string>("SelfTest", "a", with({"wait"}));
    ASSERT_TRUE(wait_until([&] { return systemd->holds("cuda-nspawn-test@"); }));
    cancel(ObjectPath{"/org/cudanspawn1/job/2"});
    const Failure failure = failure_of([&] { answer.get(); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Cancelled");
    EXPECT_EQ(failure.text, "Job 2 was cancelled.");
    EXPECT_EQ(result_of(ObjectPath{"/org/cudanspawn1/job/2"}), "cancelled");
    EXPECT_TRUE(wait_until([&] { return systemd->count("StopUnit cuda-nspawn-test@") == 1; }));
    EXPECT_TRUE(wait_until([&] { return text("a", "StateText") == verdict; })) << text("a", "StateText");
    EXPECT_THAT(host->list_work(), Not(Contains(StartsWith("test-"))));
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-test@"), 2U) << "it is not made again";
    systemd->set("cuda-nspawn-test@", {});
    const auto [job, result, summary] = call<ObjectPath, std::string, std::string>("SelfTest", "a", with({"wait"}));
    EXPECT_EQ(result, "passed");
}

TEST_F(BusJobs, self_tests_that_wait_for_their_turn_are_cancelled_without_a_worker) {
    start_daemon();
    for (int i = 0; i < 9; ++i) {
        host->add_image("m" + std::to_string(i));
        host->add_policy("m" + std::to_string(i), "gpus: [0]\nself_test: off\n");
    }
    for (int i = 0; i < 9; ++i) {
        ASSERT_TRUE(wait_for_state("m" + std::to_string(i), "ready"));
        attach("m" + std::to_string(i), {"start", "wait"});
    }
    systemd->set("cuda-nspawn-test@", {.held = true});
    std::vector<ObjectPath> jobs;
    for (int i = 0; i < 9; ++i)
        jobs.push_back(
            std::get<0>(call<ObjectPath, std::string, std::string>("SelfTest", "m" + std::to_string(i), Options{})));
    ASSERT_TRUE(wait_until([&] { return systemd->count("StartUnit cuda-nspawn-test@") == 8; }));
    for (auto job = jobs.rbegin(); job != jobs.rend(); ++job) cancel(*job);
    EXPECT_TRUE(wait_until([&] { return systemd->count("StopUnit cuda-nspawn-test@") == 8; }));
    EXPECT_TRUE(wait_until([&] { return text("m8", "StateText") == "attached; not tested"; }));
    EXPECT_EQ(systemd->count("StartUnit cuda-nspawn-test@"), 8U);
    EXPECT_THAT(host->list_work(), Not(Contains(StartsWith("test-"))));
}

TEST_F(BusJobs, a_job_that_nobody_waits_for_is_cancelled_by_its_number) {
    start_daemon_with("gpus: [0]\n");
    look_worker->set({.held = true});
    auto answer = call_later<ObjectPath, Changes>("Attach", "a", with({"start"}));
    ASSERT_TRUE(wait_until([&] { return look_worker->holds(); }));
    cancel(1U);
    EXPECT_EQ(failure_of([&] { answer.get(); }).name, "org.cudanspawn1.Error.Cancelled");
    ASSERT_TRUE(wait_until([&] { return count_signals("JobRemoved", "/org/cudanspawn1", "cancelled") == 1; }));
    look_worker->set({});
    look_worker->finish();
    EXPECT_TRUE(wait_for_state("a", "ready")) << "what was under way was done whole";
    EXPECT_EQ(systemd->count("StartUnit " + unit_of_a), 0U);
    EXPECT_EQ(failure_of([&] { cancel(1U); }).name, "org.cudanspawn1.Error.NotCancellable");
    EXPECT_EQ(failure_of([&] { cancel(2U); }).name, "org.cudanspawn1.Error.NoSuchJob");
    EXPECT_EQ(failure_of([&] { cancel(4294967295U); }).name, "org.cudanspawn1.Error.NoSuchJob");
}

// --- who goes away
// -----------------------------------------------------------------------------------------------------

TEST_F(BusJobs, a_caller_that_goes_away_in_the_middle_changes_nothing_of_what_it_asked_for) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("systemd-nspawn@", {.held = true});
    {
        Process client({"busctl",
                        "--address=" + address,
                        "--timeout=60",
                        "call",
                        "org.cudanspawn1",
                        "/org/cudanspawn1",
                        "org.cudanspawn1.Manager",
                        "Attach",
                        "sa{sv}",
                        "a",
                        "3",
                        "start",
                        "b",
                        "true",
                        "test",
                        "b",
                        "true",
                        "wait",
                        "b",
                        "true"},
                       {}, host->tree.at("/busctl.log"));
        ASSERT_TRUE(wait_until([&] { return systemd->holds("systemd-nspawn@a"); }));
        client.signal(SIGKILL);
        EXPECT_EQ(client.wait(), -SIGKILL);
    }
    hear_all();
    EXPECT_EQ(job(ObjectPath{"/org/cudanspawn1/job/1"}).at("State").get<std::string>(), "running");
    systemd->finish("systemd-nspawn@");
    ASSERT_TRUE(wait_until([&] { return count_signals("JobRemoved", "/org/cudanspawn1", "done") == 1; }));
    EXPECT_EQ(text("a", "Verdict"), "passed");
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
