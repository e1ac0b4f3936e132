#include <fmt/format.h>
#include <gmock/gmock.h>

#include <fstream>
#include <regex>
#include <set>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BusApi : public BusFixture {};

using Holders =
    std::vector<sdbus::Struct<std::string, std::uint32_t, std::uint32_t, std::string, std::vector<std::string>>>;

const std::string machine_a = "/org/cudanspawn1/machine/a";

// Every member of our interfaces as lines: "Manager method Attach 1 name s in", "Gpu property Uuid s read", and which
// properties are announced otherwise than by their new values.
std::set<std::string> members_of(const std::string& xml) {
    static const std::regex tag("<(interface|method|signal|property|arg|annotation)\\b([^>]*)>");
    static const std::regex attribute("(name|type|direction|access|value)=\"([^\"]*)\"");
    std::set<std::string> lines;
    std::string interface, member;
    int argument = 0;
    for (std::sregex_iterator found(xml.begin(), xml.end(), tag), end; found != end; ++found) {
        const std::string kind = (*found)[1], attributes = (*found)[2];
        std::map<std::string, std::string> values;
        for (std::sregex_iterator one(attributes.begin(), attributes.end(), attribute); one != end; ++one)
            values[(*one)[1]] = (*one)[2];
        if (kind == "interface") {
            interface = values["name"];
            continue;
        }
        if (!interface.starts_with("org.cudanspawn1.")) continue;
        if (kind == "annotation") {
            if (values["name"] == "org.freedesktop.DBus.Property.EmitsChangedSignal" && values["value"] != "true")
                lines.insert(interface + " " + member + " emits " + values["value"]);
            continue;
        }
        if (kind != "arg") {
            member = kind + " " + values["name"];
            argument = 0;
        }
        const bool is_signal_argument = kind == "arg" && member.starts_with("signal");
        lines.insert(interface + " " + member +
                     (kind == "arg" ? fmt::format(" {} {}", ++argument, values["name"]) : "") + " " + values["type"] +
                     " " + (is_signal_argument ? "" : values["direction"]) + values["access"]);
    }
    return lines;
}

TEST_F(BusApi, introspection_equals_the_xml) {
    start_daemon_with("gpus: [0]\n");
    const auto [job, changes] = call<ObjectPath, Changes>("Attach", "a", Options{});
    std::set<std::string> lines;
    for (const std::string& path :
         {std::string("/org/cudanspawn1"), machine_a,
          "/org/cudanspawn1/gpu/" + std::regex_replace(uuid0, std::regex("-"), "_2d"), std::string(job)}) {
        std::string xml;
        proxy_at(path)->callMethod("Introspect").onInterface("org.freedesktop.DBus.Introspectable").storeResultsTo(xml);
        lines.merge(members_of(xml));
    }
    std::ifstream file(INTERFACE_XML);
    const auto expected = members_of({std::istreambuf_iterator<char>(file), {}});
    EXPECT_GT(expected.size(), 60U);
    EXPECT_EQ(lines, expected);
}

TEST_F(BusApi, manager_tells_of_driver_and_generation) {
    start_daemon_with("gpus: [0]\n");
    Properties manager = properties("/org/cudanspawn1", "org.cudanspawn1.Manager");
    EXPECT_EQ(manager.at("KernelVersion").get<std::string>(), driver_version);
    EXPECT_EQ(manager.at("DriverVersion").get<std::string>(), driver_version);
    EXPECT_THAT(manager.at("Generation").get<std::string>(), ::testing::StartsWith(driver_version + "-"));
    EXPECT_THAT(manager.at("Warnings").get<std::vector<std::string>>(), IsEmpty());
    EXPECT_THAT(manager.at("Generations").get<std::vector<std::string>>(),
                ElementsAre(manager.at("Generation").get<std::string>()));
    EXPECT_EQ(manager.at("CudaVersion").get<std::string>(), "") << "no such driver is known";
    EXPECT_THAT(manager.at("Version").get<std::string>(), ::testing::Not(IsEmpty()));
}

TEST_F(BusApi, lists_machines_and_finds_one_by_name) {
    host->add_policy("my-box.example", "gpus: all\n");
    start_daemon_with("gpus: [0]\n");
    using Listed = sdbus::Struct<std::string, std::string, ObjectPath>;
    ASSERT_TRUE(wait_for_state("my-box.example", "ready"));
    const auto [machines] = call<std::vector<Listed>>("ListMachines");
    EXPECT_THAT(machines, ElementsAre(Listed{"a", "ready", ObjectPath{machine_a}},
                                      Listed{"my-box.example", "ready",
                                             ObjectPath{"/org/cudanspawn1/machine/my_2dbox_2eexample"}}));
    EXPECT_EQ(std::get<0>(call<ObjectPath>("GetMachine", "a")), machine_a);
    EXPECT_EQ(text("my-box.example", "Name"), "my-box.example");
    EXPECT_THAT(text("my-box.example", "StateText"), HasSubstr("no image of machine \"my-box.example\" yet"));
}

TEST_F(BusApi, there_is_no_object_where_there_is_no_machine) {
    start_daemon_with("gpus: [0]\n");
    for (const char* path : {"/org/cudanspawn1/machine", "/org/cudanspawn1/machine/b", "/org/cudanspawn1/machine/_61",
                             "/org/cudanspawn1/machine/a/a"})
        EXPECT_THAT(failure_of([&] { properties(path, "org.cudanspawn1.Machine"); }).name,
                    ::testing::StartsWith("org.freedesktop.DBus.Error.Unknown"))
            << path;
}

TEST_F(BusApi, a_gpu_tells_which_machines_have_it) {
    start_daemon_with("gpus: [0]\n");
    const auto gpu = [](const std::string& uuid) {
        return "/org/cudanspawn1/gpu/" + std::regex_replace(uuid, std::regex("-"), "_2d");
    };
    const auto machines = [&](const std::string& uuid) {
        return properties(gpu(uuid), "org.cudanspawn1.Gpu").at("Machines").get<std::vector<std::string>>();
    };
    EXPECT_THAT(machines(uuid0), ElementsAre("a"));
    host->add_policy("b", "gpus: [1]\n");
    ASSERT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", gpu(uuid1), "Machines") == 1; }));
    EXPECT_THAT(machines(uuid1), ElementsAre("b"));
    host->add_policy("b", "gpus: [0]\n");
    ASSERT_TRUE(wait_until([&] { return count_signals("PropertiesChanged", gpu(uuid1), "Machines") == 2; }));
    EXPECT_THAT(machines(uuid1), IsEmpty());
    std::filesystem::remove(host->policies() / "a.yaml");
    EXPECT_TRUE(wait_until([&] { return machines(uuid0) == std::vector<std::string>{"b"}; }));
    std::filesystem::remove(host->policies() / "b.yaml");
    const unsigned before = count_signals("PropertiesChanged", gpu(uuid1), "Machines");
    EXPECT_TRUE(wait_until([&] { return machines(uuid0).empty(); }));
    EXPECT_EQ(count_signals("PropertiesChanged", gpu(uuid1), "Machines"), before) << "it had nothing to do with it";
}

TEST_F(BusApi, an_unknown_machine_is_told_how_to_become_known) {
    start_daemon();
    for (const auto& made : std::vector<std::function<void()>>{
             [&] { call<ObjectPath>("GetMachine", "b"); }, [&] { call<Changes>("Plan", "b", Options{}); },
             [&] { call<ObjectPath, Changes>("Attach", "b", Options{}); },
             [&] { call<ObjectPath, Changes>("Detach", "b", Options{}); },
             [&] { call<ObjectPath, std::string, std::string>("SelfTest", "b", Options{}); },
             [&] { call<Holders>("ListHolders", "b"); }}) {
        const Failure failure = failure_of(made);
        EXPECT_EQ(failure.name, "org.cudanspawn1.Error.NoSuchMachine");
        EXPECT_THAT(failure.text, HasSubstr("write /etc/cuda-nspawn/machines/b.yaml"));
    }
}

TEST_F(BusApi, one_call_of_the_object_manager_is_the_whole_truth) {
    start_daemon_with("gpus: [0]\n");
    std::map<ObjectPath, std::map<std::string, Properties>> objects;
    proxy_at("/org/cudanspawn1")
        ->callMethod("GetManagedObjects")
        .onInterface("org.freedesktop.DBus.ObjectManager")
        .storeResultsTo(objects);
    Properties& found = objects.at(ObjectPath{machine_a}).at("org.cudanspawn1.Machine");
    EXPECT_EQ(found.at("State").get<std::string>(), "ready");
    EXPECT_EQ(found.size(), 14U);
    Properties& gpu = objects.at(ObjectPath{"/org/cudanspawn1/gpu/GPU_2d11111111_2d1111_2d1111_2d1111_2d111111111111"})
                          .at("org.cudanspawn1.Gpu");
    EXPECT_EQ(gpu.at("Index").get<std::uint32_t>(), 1U);
    EXPECT_EQ(gpu.at("PciAddress").get<std::string>(), "0000:02:00.0");
}

TEST_F(BusApi, options_that_are_unknown_or_of_another_type_are_refused_and_nothing_is_done) {
    start_daemon_with("gpus: [0]\n");
    const auto refusal = [&](const std::string& method, const Options& options) {
        const Failure failure = failure_of([&] {
            if (method == "SelfTest")
                call<ObjectPath, std::string, std::string>(method, "a", options);
            else if (method == "Plan")
                call<Changes>(method, "a", options);
            else
                call<ObjectPath, Changes>(method, "a", options);
        });
        EXPECT_EQ(failure.name, "org.cudanspawn1.Error.InvalidArgs") << method;
        return failure.text;
    };
    EXPECT_EQ(refusal("Attach", {{"now", sdbus::Variant(true)}}),
              "Unknown option \"now\": known are start, test, fresh, wait.");
    EXPECT_EQ(refusal("Attach", {{"wait", sdbus::Variant("yes")}}), "Option \"wait\" must be of type b, not s.");
    EXPECT_EQ(refusal("Detach", {{"fresh", sdbus::Variant(true)}}),
              "Unknown option \"fresh\": known are wait, by_unit, offline.");
    EXPECT_EQ(refusal("Plan", {{"fresh", sdbus::Variant(true)}}),
              "Unknown option \"fresh\": known are verb, start, diff, policy, without_policy.");
    EXPECT_EQ(refusal("Plan", {{"policy", sdbus::Variant(7)}}), "Option \"policy\" must be of type s, not i.");
    EXPECT_EQ(refusal("SelfTest", {{"level", sdbus::Variant(7)}}), "Option \"level\" must be of type s, not i.");
    EXPECT_EQ(refusal("SelfTest", {{"level", sdbus::Variant("slow")}}),
              "Option \"level\" is quick or full, not \"slow\".");
    hear_all();
    EXPECT_EQ(count_signals("JobNew", "/org/cudanspawn1"), 0U);
}

TEST_F(BusApi, plan_says_what_attach_then_does) {
    host->add_policy("b", "gpus: [1]\n");
    start_daemon();
    ASSERT_TRUE(wait_for_state("b", "ready")) << "the driver is in the store by then";
    expose_worker->set({.report = "{\"failure\": \"not today\"}"});
    host->add_policy("a", "gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("a", "failed"));
    expose_worker->set({});
    const auto [planned] = call<Changes>("Plan", "a", Options{});
    EXPECT_FALSE(host->has_node("a", "nvidia0"));
    const auto [job, changes] = call<ObjectPath, Changes>("Attach", "a", Options{});
    EXPECT_EQ(changes, planned);
    EXPECT_THAT(planned,
                Contains(Changes::value_type{"create", "/run/cuda-nspawn/machines/a/dev/nvidia0", "node 195:0"}));
    EXPECT_TRUE(host->has_node("a", "nvidia0"));
    EXPECT_THAT(std::get<0>(call<Changes>("Plan", "a", Options{})), IsEmpty());
}

TEST_F(BusApi, attach_with_start_test_and_wait_ends_with_the_verdict) {
    start_daemon_with("gpus: [0]\n");
    const Options options{
        {"start", sdbus::Variant(true)}, {"test", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}};
    const auto [job, changes] = call<ObjectPath, Changes>("Attach", "a", options);
    EXPECT_THAT(text("a", "VerdictText"), HasSubstr("passed: 1 GPU"));
    EXPECT_EQ(text("a", "State"), "attached");
    EXPECT_EQ(text("a", "Unit"), "systemd-nspawn@a.service");
    EXPECT_THAT(list("a", "Gpus"), ElementsAre(uuid0));
    EXPECT_THAT(systemd->rules()["systemd-nspawn@a.service"],
                ElementsAre("/dev/char/510:0 rw", "/dev/char/510:1 rw", "/dev/char/195:0 rw", "/dev/char/195:255 rw"));
    Properties ended = properties(job, "org.cudanspawn1.Job");
    EXPECT_EQ(ended.at("Result").get<std::string>(), "done");
    EXPECT_EQ(ended.at("State").get<std::string>(), "ended");
    EXPECT_EQ(ended.at("Kind").get<std::string>(), "attach");
    ASSERT_TRUE(wait_until([&] { return count_signals("JobRemoved", "/org/cudanspawn1", "done") == 1; }));
    EXPECT_EQ(count_signals("JobNew", "/org/cudanspawn1", "attach"), 1U);
    EXPECT_EQ(count_signals("InterfacesAdded", "/org/cudanspawn1", job), 1U);
}

TEST_F(BusApi, a_failed_verdict_is_an_error_of_a_waiting_attach_and_an_answer_of_a_self_test) {
    host->self_test_output = "{\"check\":\"init\",\"result\":\"failed\",\"detail\":\"cuInit: 999\"}\n{\"end\":true}\n";
    start_daemon_with("gpus: [0]\n");
    const Options options{
        {"start", sdbus::Variant(true)}, {"test", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}};
    const Failure failure = failure_of([&] { call<ObjectPath, Changes>("Attach", "a", options); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed");
    EXPECT_EQ(failure.text,
              "failed: init: cuInit: 999. On the host: cuda-nspawnctl attach --fresh --test a [self-test-failed]");
    const auto [job, verdict, summary] =
        call<ObjectPath, std::string, std::string>("SelfTest", "a", Options{{"wait", sdbus::Variant(true)}});
    EXPECT_EQ(verdict, "failed");
    EXPECT_EQ(summary, "failed: init: cuInit: 999");
}

TEST_F(BusApi, a_self_test_that_could_not_run_does_not_answer_with_an_old_verdict) {
    start_daemon_with("gpus: [0]\n");
    call<ObjectPath, Changes>(
        "Attach", "a",
        Options{{"start", sdbus::Variant(true)}, {"test", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    host->add_policy("a", "gpus: [7]\n");
    ASSERT_TRUE(wait_for_state("a", "blocked"));
    const Failure failure = failure_of(
        [&] { call<ObjectPath, std::string, std::string>("SelfTest", "a", Options{{"wait", sdbus::Variant(true)}}); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed");
    EXPECT_THAT(failure.text, HasSubstr("GPU index 7"));
}

TEST_F(BusApi, self_test_of_a_machine_that_does_not_run_is_refused) {
    start_daemon_with("gpus: [0]\n");
    const Failure failure = failure_of([&] { call<ObjectPath, std::string, std::string>("SelfTest", "a", Options{}); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.NotRunning");
    EXPECT_THAT(failure.text, HasSubstr("systemctl start cuda-nspawn@a.service"));
}

TEST_F(BusApi, detach_takes_everything_from_the_running_machine_and_says_so) {
    start_daemon_with("gpus: [0]\n");
    call<ObjectPath, Changes>("Attach", "a", Options{{"start", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    const auto [job, changes] = call<ObjectPath, Changes>("Detach", "a", Options{{"wait", sdbus::Variant(true)}});
    EXPECT_THAT(changes, Contains(Changes::value_type{"deny", "/dev/char/195:0", "for systemd-nspawn@a.service"}));
    EXPECT_THAT(systemd->rules()["systemd-nspawn@a.service"], IsEmpty());
    EXPECT_FALSE(host->has_node("a", "nvidia0"));
    EXPECT_EQ(text("a", "State"), "detached");
    EXPECT_THAT(list("a", "Gpus"), IsEmpty());
}

TEST_F(BusApi, holders_are_told_by_machine_and_process) {
    start_daemon_with("gpus: [0]\n");
    call<ObjectPath, Changes>("Attach", "a", Options{{"start", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    const std::string node = host->tree.at("/root/run/cuda-nspawn/machines/a/dev/nvidia0");
    host->add_process(4242, "/machine.slice/systemd-nspawn@a.service/payload", node);
    host->add_process(77, "/system.slice/x.service", node);
    const Holders::value_type in_a{"a", 4242U, 56U, "python3", {"nvidia0"}};
    EXPECT_THAT(std::get<0>(call<Holders>("ListHolders", "a")), ElementsAre(in_a));
    EXPECT_THAT(std::get<0>(call<Holders>("ListHolders", "")),
                ::testing::UnorderedElementsAre(in_a, Holders::value_type{"", 77U, 77U, "python3", {"nvidia0"}}));
}

TEST_F(BusApi, holders_that_cannot_be_found_are_a_failure_with_the_reason) {
    start_daemon_with("gpus: [0]\n");
    for (const auto& [report, reason] : std::map<std::string, std::string>{
             {"{\"failure\":\"/proc cannot be read\"}", "/proc cannot be read"}, {"{}", "the report cannot be read"}}) {
        systemd->set("cuda-nspawn-holders@", {.report = report});
        const Failure failure = failure_of([&] { call<Holders>("ListHolders", "a"); });
        EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed");
        EXPECT_THAT(failure.text, HasSubstr(reason));
    }
}

TEST_F(BusApi, the_store_is_verified_byte_by_byte_when_somebody_asks) {
    start_daemon_with("gpus: [0]\n");
    const auto generation =
        properties("/org/cudanspawn1", "org.cudanspawn1.Manager").at("Generation").get<std::string>();
    EXPECT_THAT(std::get<0>(call<Changes>("VerifyStore")), ElementsAre(Changes::value_type{generation, "intact", ""}));
    const std::string store = "/root/var/lib/cuda-nspawn/driver/" + generation;
    std::filesystem::path library;
    for (const auto& entry : std::filesystem::directory_iterator(host->tree.at(store + "/compute/lib")))
        if (!entry.is_symlink()) library = entry.path();
    std::string bytes(std::filesystem::file_size(library), 'x');
    host->tree.write(store + "/compute/lib/" + library.filename().string(), bytes);
    const auto mended = std::get<0>(call<Changes>("VerifyStore"));
    ASSERT_EQ(mended.size(), 1U);
    EXPECT_EQ(mended[0].get<1>(), "rebuilt");
    EXPECT_THAT(mended[0].get<2>(), HasSubstr(library.filename().string() + " differs from"));
    systemd->set("cuda-nspawn-store@", {.report = "{\"failure\":\"No space left on device\"}"});
    const Failure failure = failure_of([&] { call<Changes>("VerifyStore"); });
    EXPECT_EQ(failure.name, "org.cudanspawn1.Error.Failed");
    EXPECT_THAT(failure.text, HasSubstr("No space left on device"));
}

TEST_F(BusApi, a_later_opposite_is_told_to_who_waits) {
    start_daemon_with("gpus: [0]\n");
    systemd->set("systemd-nspawn@", {.held = true});
    auto attach = call_later<ObjectPath, Changes>(
        "Attach", "a", Options{{"start", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    ASSERT_TRUE(wait_until([&] { return systemd->holds("systemd-nspawn@a"); }));
    auto detach = call_later<ObjectPath, Changes>("Detach", "a", Options{});
    EXPECT_EQ(failure_of([&] { attach.get(); }).name, "org.cudanspawn1.Error.Superseded");
    systemd->finish("systemd-nspawn@");
    detach.get();
    EXPECT_EQ(text("a", "State"), "detached") << "it runs now, but without a GPU";
    EXPECT_THAT(systemd->rules()["systemd-nspawn@a.service"], IsEmpty());
}

TEST_F(BusApi, the_verbs_of_a_machine_object_are_the_managers) {
    start_daemon_with("gpus: [0]\n");
    ObjectPath job;
    Changes changes;
    proxy_at(machine_a)
        ->callMethod("Attach")
        .onInterface("org.cudanspawn1.Machine")
        .withArguments(Options{{"wait", sdbus::Variant(true)}})
        .storeResultsTo(job, changes);
    EXPECT_EQ(properties(job, "org.cudanspawn1.Job").at("Machine").get<std::string>(), "a");
    proxy_at(machine_a)
        ->callMethod("Plan")
        .onInterface("org.cudanspawn1.Machine")
        .withArguments(Options{})
        .storeResultsTo(changes);
    EXPECT_THAT(changes, IsEmpty());
    // What was written just now counts, whoever tells the daemon later.
    host->add_policy("a", "gpus: [1]\n");
    proxy_at(machine_a)
        ->callMethod("Attach")
        .onInterface("org.cudanspawn1.Machine")
        .withArguments(Options{{"wait", sdbus::Variant(true)}})
        .storeResultsTo(job, changes);
    EXPECT_TRUE(host->has_node("a", "nvidia1"));
    EXPECT_FALSE(host->has_node("a", "nvidia0"));
}

TEST_F(BusApi, everybody_may_read_and_only_root_may_change) {
    start_daemon_with("gpus: [0]\n");
    const auto as_nobody = [&](const std::vector<std::string>& words) {
        std::vector<std::string> command{"setpriv", "--reuid=65534",        "--regid=65534", "--clear-groups",
                                         "busctl",  "--address=" + address, "call",          "org.cudanspawn1"};
        command.insert(command.end(), words.begin(), words.end());
        return Process(command, {}, host->tree.at("/busctl.log")).wait();
    };
    EXPECT_EQ(as_nobody({"/org/cudanspawn1", "org.cudanspawn1.Manager", "ListMachines"}), 0);
    EXPECT_EQ(as_nobody({"/org/cudanspawn1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"}), 0);
    EXPECT_EQ(as_nobody({machine_a, "org.freedesktop.DBus.Properties", "GetAll", "s", "org.cudanspawn1.Machine"}), 0);
    for (const char* verb : {"Attach", "Detach", "SelfTest", "Plan"})
        EXPECT_EQ(as_nobody({"/org/cudanspawn1", "org.cudanspawn1.Manager", verb, "sa{sv}", "a", "0"}), 1) << verb;
    for (const char* verb : {"Attach", "Detach", "SelfTest", "Plan"})
        EXPECT_EQ(as_nobody({machine_a, "org.cudanspawn1.Machine", verb, "a{sv}", "0"}), 1) << verb;
    EXPECT_EQ(as_nobody({"/org/cudanspawn1", "org.cudanspawn1.Manager", "Refresh", "a{sv}", "0"}), 1);
    EXPECT_EQ(as_nobody({"/org/cudanspawn1", "org.cudanspawn1.Manager", "ListHolders", "s", "a"}), 1);
    EXPECT_EQ(as_nobody({"/org/cudanspawn1", "org.cudanspawn1.Manager", "VerifyStore"}), 1);
    hear_all();
    EXPECT_EQ(count_signals("JobNew", "/org/cudanspawn1"), 0U);
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
