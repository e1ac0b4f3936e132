#include <gtest/gtest.h>

#include "ctl/client.hpp"
#include "ctl/event_text.hpp"
#include "ctl/job_call.hpp"
#include "ctl/policy_text.hpp"

namespace cuda_nspawn::ctl {
namespace {

const std::string bus = "org.cudanspawn1.";
const std::string root = "/org/cudanspawn1";

Value some_machine() {
    return {{"Name", "my-box"},
            {"State", "attached"},
            {"StateText", "passed: 1 GPU"},
            {"Gpus", {"GPU-b"}},
            {"Verdict", "passed"},
            {"LastSelfTest", 5U},
            {"Checks", {{"init", "passed", 1.5, "CUDA 12.4"}}},
            {"Findings", {{"code-a", "warning", "A sentence."}}}};
}

Objects some_objects() {
    return Objects(
        {{root + "/machine/my_2dbox", {{bus + "Machine", some_machine()}}},
         {root + "/gpu/GPU_2db",
          {{bus + "Gpu", {{"Uuid", "GPU-b"}, {"Index", 1U}, {"Model", "H200"}, {"Machines", {"my-box", "other"}}}}}},
         {root + "/job/7",
          {{bus + "Job",
            {{"Id", 7U},
             {"Machine", "my-box"},
             {"Kind", "attach"},
             {"State", "running"},
             {"Step", 2U},
             {"Steps", 4U},
             {"Text", "set the device rules"}}}}},
         {root + "/job/6", {{bus + "Job", {{"Id", 6U}, {"Machine", "my-box"}, {"State", "ended"}}}}}});
}

TEST(CtlJson, AMachineHasItsGpusAndTheJobsThatRun) {
    const Objects objects = some_objects();
    ASSERT_NE(objects.machine("my-box"), nullptr);
    EXPECT_EQ(objects.machine("nosuch"), nullptr);
    const Json machine = machine_json(*objects.machine("my-box"), objects);
    EXPECT_EQ(machine["machine"], "my-box");
    EXPECT_EQ(machine["gpus"][0]["index"], 1);
    EXPECT_EQ(machine["gpus"][0]["machines"], Json({"my-box", "other"}));
    EXPECT_EQ(machine["checks"],
              Json::parse(R"([{"name":"init","result":"passed","milliseconds":1.5,"detail":"CUDA 12.4"}])"));
    EXPECT_EQ(machine["findings"][0]["code"], "code-a");
    ASSERT_EQ(machine["jobs"].size(), 1U);
    EXPECT_EQ(machine["jobs"][0]["job"], 7);
    EXPECT_EQ(machine["last_self_test"], 5);
}

TEST(CtlJson, KeysAreThereWhateverTheDaemonLacks) {
    const Json machine = machine_json(Value::object(), some_objects());
    const Json complete = machine_json(some_machine(), some_objects());
    for (const auto& [key, value] : complete.items()) EXPECT_TRUE(machine.contains(key)) << key;
    EXPECT_EQ(machine["policy_errors"], Json::array());
    EXPECT_EQ(driver_json(Value::object())["cuda_version"], "");
}

TEST(CtlJson, ADetailThatIsADiffIsCalledSo) {
    const Json changes = changes_json({{"create", "/a", "--- /dev/null\n+++ /a\n"}, {"allow", "/dev/char/1:2", "rw"}});
    EXPECT_EQ(changes[0]["detail"], "");
    EXPECT_EQ(changes[0]["diff"], "--- /dev/null\n+++ /a\n");
    EXPECT_EQ(changes[1]["detail"], "rw");
    EXPECT_EQ(changes[1]["diff"], "");
}

TEST(CtlJson, ProgressHasNumbersWhereTheDaemonSaysThem) {
    EXPECT_EQ(progress_text({{"Step", 2U}, {"Steps", 4U}, {"Text", "set the\x1b device rules"}}),
              "[2/4] set the\xef\xbf\xbd device rules");
    EXPECT_EQ(progress_text({{"Text", "waits"}}), "waits");
}

Signal changed(const std::string& path, const std::string& interface, const Value& properties) {
    return {path, "PropertiesChanged", {bus + interface, properties, Value::array()}};
}

class CtlMonitor : public testing::Test {
protected:
    CtlMonitor() { history.begin(some_objects(), {{"KernelVersion", "1"}, {"Generation", "1-a"}}); }
    History history;
};

TEST_F(CtlMonitor, TellsOnlyWhatIsNew) {
    const std::string path = root + "/machine/my_2dbox";
    EXPECT_TRUE(history.take(changed(path, "Machine", {{"State", "attached"}})).empty()) << "as it was";
    const auto events =
        history.take(changed(path, "Machine", {{"State", "detached"}, {"StateText", "taken"}, {"Verdict", "passed"}}));
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].json,
              Json::parse(R"({"event":"machine","machine":"my-box","state":"detached","text":"taken"})"));
    EXPECT_EQ(events[0].lines, std::vector<std::string>{"my-box: detached: taken"});
}

TEST_F(CtlMonitor, SaysNothingBehindAColonThatIsNotThere) {
    const auto events =
        history.take(changed(root + "/machine/my_2dbox", "Machine", {{"Verdict", "none"}, {"VerdictText", ""}}));
    EXPECT_EQ(events.at(0).lines, std::vector<std::string>{"my-box: verdict none"});
}

TEST_F(CtlMonitor, NamesGpusByTheirIndex) {
    const auto events = history.take(changed(root + "/machine/my_2dbox", "Machine", {{"Gpus", Value::array()}}));
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].lines, std::vector<std::string>{"my-box: no GPU"});
    const auto again = history.take(changed(root + "/machine/my_2dbox", "Machine", {{"Gpus", {"GPU-b"}}}));
    EXPECT_EQ(again.at(0).lines, std::vector<std::string>{"my-box: GPU 1"});
}

TEST_F(CtlMonitor, FollowsAJobFromItsBeginToItsEnd) {
    const std::string path = root + "/job/8";
    EXPECT_EQ(history.take({root, "JobNew", {8U, path, "my-box", "detach"}}).at(0).lines.at(0),
              "my-box: job 8 detach began");
    EXPECT_EQ(
        history.take(changed(path, "Job", {{"Step", 1U}, {"Steps", 2U}, {"Text", "close the door"}})).at(0).lines.at(0),
        "my-box: job 8 detach [1/2] close the door");
    const auto ended = history.take(changed(path, "Job", {{"State", "ended"}, {"Result", "done"}, {"Text", "done"}}));
    EXPECT_EQ(ended.at(0).lines.at(0), "my-box: job 8 detach done: done");
    EXPECT_EQ(ended.at(0).json["machine"], "my-box");
}

TEST_F(CtlMonitor, TellsWhatComesAndGoes) {
    const std::string path = root + "/machine/second";
    EXPECT_EQ(
        history.take({root, "InterfacesAdded", {path, {{bus + "Machine", {{"Name", "second"}}}}}}).at(0).lines.at(0),
        "second: has a policy");
    EXPECT_EQ(history.take({root, "InterfacesRemoved", {path, {bus + "Machine"}}}).at(0).lines.at(0),
              "second: has no policy any more");
    EXPECT_EQ(
        history.take({root + "/gpu", "InterfacesRemoved", {root + "/gpu/GPU_2db", {bus + "Gpu"}}}).at(0).lines.at(0),
        "GPU 1 H200 (GPU-b): is gone");
    EXPECT_EQ(history.take({"/", "NameOwnerChanged", {"org.cudanspawn1", ":1.5", ""}}).at(0).lines.at(0),
              "daemon: ended");
}

TEST_F(CtlMonitor, TellsWhatBecameOfTheDriver) {
    EXPECT_TRUE(history.take(changed(root, "Manager", {{"KernelVersion", "1"}, {"Generation", "1-a"}})).empty());
    const auto events = history.take(changed(root, "Manager", {{"KernelVersion", ""}, {"Generation", "2-b"}}));
    EXPECT_EQ(events.at(0).lines,
              (std::vector<std::string>{"driver: kernel module not loaded", "driver: generation 2-b"}));
}

TEST(CtlPolicy, IsOfTheMachineThatIsNamedWhateverItsFileIsCalled) {
    const auto result = parse_policy_of("/tmp/tmp.X7", "gpus: al\n", "box", {});
    ASSERT_TRUE(std::holds_alternative<std::vector<Diagnostic>>(result));
    const Diagnostic& first = std::get<std::vector<Diagnostic>>(result).at(0);
    EXPECT_EQ(first.path, "/tmp/tmp.X7");
    EXPECT_EQ(first.line, 1U);
    EXPECT_EQ(first.column, 7U);
    EXPECT_EQ(std::get<Policy>(parse_policy_of("/tmp/tmp.X7", "gpus: all\n", "box", {})).machine, "box");
}

}  // namespace
}  // namespace cuda_nspawn::ctl
