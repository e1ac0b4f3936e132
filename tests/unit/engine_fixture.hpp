// An engine between ports that do nothing until they are told to answer, and an observer that writes down what it
// hears.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/engine.hpp"

namespace cuda_nspawn::testing {

using Replies = std::variant<Reply<Looked>, Reply<std::string>, Reply<Exposed>, Reply<Granted>, Reply<Tested>,
                             Reply<Mounted>, Reply<Holders>, Reply<Cleaned>, Reply<Examination>, Reply<Audit>>;

struct Call {
    std::string verb;     // "look", "expose", …
    std::string subject;  // the machine, the unit, or the generation
    Plan plan{};          // of expose and dry-run
    Rules rules{};
    TestRequest request{};
    HoldersRequest holders{};
    Replies reply{};

    std::string text() const { return verb + " " + subject; }
};

inline Image image_at(const std::string& path) {
    Image image;
    image.path = path;
    return image;
}

class FakePorts final : public Ports {
public:
    std::vector<std::string> log;  // every call, "VERB SUBJECT", in order
    std::deque<Call> pending;
    std::set<std::string> store;                                    // complete generations
    std::map<std::string, Plan> on_disk;                            // by machine, what the default answers exposed
    std::map<std::string, std::vector<DeviceNode>> rules_in_force;  // of units
    std::map<std::string, Remembered> memory;                       // by machine
    std::map<std::string, std::string> gpu_uuids;                   // by node name: what the guest sees there
    std::function<void(const std::string& machine)> on_start;       // before start is answered
    Image image = image_at("/var/lib/machines/image");
    std::vector<std::string> expose_errors;
    std::set<unsigned> without_mounts;  // leaders of instances
    bool runs_systemd = true;           // whatever is mounted into
    std::set<std::string> stopping_units;
    // What systemd shows of our rules by unit, where a test wants their changes to be what really differs.
    std::optional<std::map<std::string, std::vector<DeviceNode>>> shown_rules;
    int collections = 0;
    std::optional<Examination> examination;
    std::vector<Question> questions;
    std::uint64_t now = 1'000'000;

    void look(const std::string& machine, Reply<Looked> reply) override { add({"look", machine}, std::move(reply)); }
    void build(const Driver&, const std::string& generation, Reply<std::string> reply) override {
        add({"build", generation}, std::move(reply));
    }
    bool has_generation(const std::string& generation) const override { return store.contains(generation); }
    std::string find_generation(const std::string& version) const override {
        const auto found = store.lower_bound(version + "-");
        return found != store.end() && found->starts_with(version + "-") ? *found : "";
    }
    void expose(const Plan& plan, ExposeMode mode, Reply<Exposed> reply) override {
        const char* verb = mode == ExposeMode::make ? "expose" : mode == ExposeMode::plan ? "dry-run" : "diff";
        add({verb, plan.machine, plan}, std::move(reply));
    }
    void reload_units(const std::string& machine, Reply<std::string> reply) override {
        add({"reload", machine}, std::move(reply));
    }
    void grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) override {
        add({"grant", instance.unit, {}, rules}, std::move(reply));
    }
    void plan_grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) override {
        add({"plan-grant", instance.unit, {}, rules}, std::move(reply));
    }
    unsigned find_root(const Instance& instance) const override { return instance.leader * 65536; }
    bool has_mounts(const Instance& instance) const override { return !without_mounts.contains(instance.leader); }
    void mount(const std::string& machine, Reply<Mounted> reply) override { add({"mount", machine}, std::move(reply)); }
    void collect() override { ++collections; }
    void release(const Instance& instance, Reply<std::string> reply) override {
        add({"release", instance.unit}, std::move(reply));
    }
    void start(const std::string& machine, Reply<std::string> reply) override {
        add({"start", machine}, std::move(reply));
    }
    void stop(const Instance& instance, Reply<std::string> reply) override {
        add({"stop", instance.unit}, std::move(reply));
    }
    void follow(const std::string& machine, bool active) override {
        log.push_back((active ? "follow " : "unfollow ") + machine);
    }
    void follow_again(const std::string& machine) override { log.push_back("follow again " + machine); }
    bool is_stopping_unit(const std::string& machine) const override { return stopping_units.contains(machine); }
    void test(const TestRequest& request, Reply<Tested> reply) override {
        add({"test", request.machine, {}, {}, request}, std::move(reply));
    }
    void end_test(const std::string& machine) override { log.push_back("end-test " + machine); }
    void holders(const HoldersRequest& request, Reply<Holders> reply) override {
        add({"holders", request.machine, {}, {}, {}, request}, std::move(reply));
    }
    void clean(const std::string& machine, Reply<Cleaned> reply) override { add({"clean", machine}, std::move(reply)); }
    // Nothing can be collected, unless a test says what.
    void examine(const Question& question, Reply<Examination> reply) override {
        questions.push_back(question);
        if (examination)
            add({"examine", question.machine}, std::move(reply));
        else
            reply({.failure = "nobody looks"});
    }
    void audit(bool, Reply<Audit> reply) override { add({"audit", ""}, std::move(reply)); }
    void remember(const std::string& machine, const Remembered& state) override { memory[machine] = state; }
    void forget(const std::string& machine) override { memory.erase(machine); }
    std::uint64_t now_usec() const override { return now; }

    bool is_pending(const std::string& verb) const {
        return std::any_of(pending.begin(), pending.end(), [&](const Call& call) { return call.verb == verb; });
    }
    std::vector<std::string> waiting() const {
        std::vector<std::string> texts;
        for (const Call& call : pending) texts.push_back(call.text());
        return texts;
    }
    // The oldest call of that verb, which the test answers itself.
    Call take(const std::string& verb) {
        for (auto call = pending.begin(); call != pending.end(); ++call)
            if (call->verb == verb) {
                Call taken = std::move(*call);
                pending.erase(call);
                return taken;
            }
        throw std::logic_error("nothing waits for " + verb);
    }
    // Answers as a host on which everything works.
    void answer(const std::string& verb) { answer(take(verb)); }
    void answer(const Call& call) {
        std::visit([&](const auto& reply) { answer(call, reply); }, call.reply);
    }
    void fail(const std::string& verb, const std::string& sentence) {
        const Call call = take(verb);
        if (const auto* looked = std::get_if<Reply<Looked>>(&call.reply)) (*looked)({{}, sentence});
        if (const auto* text = std::get_if<Reply<std::string>>(&call.reply)) (*text)(sentence);
        if (const auto* exposed = std::get_if<Reply<Exposed>>(&call.reply)) (*exposed)(failed_exposure(sentence));
        if (const auto* granted = std::get_if<Reply<Granted>>(&call.reply)) (*granted)({{}, sentence});
        if (const auto* tested = std::get_if<Reply<Tested>>(&call.reply)) (*tested)({{}, {}, sentence});
        if (const auto* mounted = std::get_if<Reply<Mounted>>(&call.reply)) (*mounted)({false, sentence});
        if (const auto* cleaned = std::get_if<Reply<Cleaned>>(&call.reply)) (*cleaned)({{}, sentence});
    }
    void answer_all(const std::string& but = "") {
        for (int rounds = 0; rounds < 100'000; ++rounds) {
            auto call = pending.begin();
            while (call != pending.end() && call->verb == but) ++call;
            if (call == pending.end()) return;
            const Call taken = std::move(*call);
            pending.erase(call);
            answer(taken);
        }
        throw std::logic_error("the engine never rests: " + log.back());
    }
    // The log since the last call of this.
    std::vector<std::string> news() { return std::exchange(log, {}); }

    Tested passed(const TestRequest& request) const {
        std::string output = "{\"check\":\"init\",\"result\":\"passed\",\"ms\":1}\n";
        for (const DeviceNode& node : request.granted)
            if (const auto uuid = gpu_uuids.find(node.name); uuid != gpu_uuids.end())
                output += "{\"gpu\":\"" + uuid->second + "\"}\n";
        return {{TestEnd::exited, 0, output + "{\"end\":true}\n", "", 42}, {}, ""};
    }
    static Exposed failed_exposure(const std::string& sentence) {
        Exposed exposed;
        exposed.failure = sentence;
        return exposed;
    }
    static Tested failed() {
        return {{TestEnd::exited, 1,
                 "{\"check\":\"init\",\"result\":\"failed\",\"detail\":\"cuInit: 999\"}\n{\"end\":true}\n", "", 42},
                {},
                ""};
    }

private:
    void add(Call call, Replies reply) {
        call.reply = std::move(reply);
        log.push_back(call.text());
        pending.push_back(std::move(call));
    }
    void answer(const Call&, const Reply<Looked>& reply) { reply({image, ""}); }
    void answer(const Call& call, const Reply<std::string>& reply) {
        if (call.verb == "start" && on_start) on_start(call.subject);
        if (call.verb == "build") store.insert(call.subject);
        reply("");
    }
    void answer(const Call& call, const Reply<Exposed>& reply) {
        Exposed exposed;
        exposed.errors = expose_errors;
        exposed.epoch = ++now;
        if (Plan& present = on_disk[call.plan.machine]; present != call.plan) {
            exposed.changes.push_back({"create", "/something", ""});
            exposed.units_changed = true;
            if (call.verb == "expose") present = call.plan;
        }
        reply(exposed);
    }
    void answer(const Call& call, const Reply<Granted>& reply) {
        if (shown_rules) return reply({change_rules(call), ""});
        std::vector<DeviceNode>& in_force = rules_in_force[call.subject];
        Granted granted;
        if (in_force != call.rules.granted)
            granted.changes.push_back({call.rules.granted.empty() ? "deny" : "allow", "/dev/char/195:0", ""});
        in_force = call.rules.granted;
        reply(granted);
    }
    std::vector<Change> change_rules(const Call& call) {
        std::vector<DeviceNode>& shown = (*shown_rules)[call.subject];
        std::vector<Change> changes;
        const auto compare = [&](const char* type, const auto& these, const auto& those) {
            for (const DeviceNode& node : these)
                if (std::find(those.begin(), those.end(), node) == those.end())
                    changes.push_back({type, device_rule(node), ""});
        };
        compare("allow", call.rules.granted, shown);
        compare("deny", shown, call.rules.granted);
        if (call.verb == "grant") shown = call.rules.granted;
        return changes;
    }
    void answer(const Call& call, const Reply<Tested>& reply) { reply(passed(call.request)); }
    void answer(const Call&, const Reply<Mounted>& reply) { reply({!runs_systemd, ""}); }
    void answer(const Call&, const Reply<Holders>& reply) { reply({}); }
    void answer(const Call&, const Reply<Examination>& reply) { reply(examination.value()); }
    void answer(const Call&, const Reply<Audit>& reply) { reply({}); }
    void answer(const Call&, const Reply<Cleaned>& reply) { reply({{{"remove", "/etc/ours", ""}}, ""}); }
};

class FakeObserver final : public Observer {
public:
    std::vector<std::string> events;
    std::vector<std::string> messages;
    std::vector<Message> story;  // the same, whole

    void machine_added(const std::string& machine) override { events.push_back("machine added " + machine); }
    void machine_changed(const std::string& machine) override { changes.insert(machine); }
    void machine_removed(const std::string& machine) override { events.push_back("machine removed " + machine); }
    void driver_changed() override { events.push_back("driver changed"); }
    void job_added(unsigned id) override { events.push_back("job added " + std::to_string(id)); }
    void job_changed(unsigned id) override { events.push_back("job changed " + std::to_string(id)); }
    void job_ended(unsigned id) override { events.push_back("job ended " + std::to_string(id)); }
    void job_forgotten(unsigned id) override { events.push_back("job forgotten " + std::to_string(id)); }
    void message(const Message& message) override {
        messages.push_back(message.machine + ": " + message.text);
        story.push_back(message);
    }
    std::set<std::string> changes;  // machines
};

inline const std::string uuid0 = "GPU-00000000-0000-0000-0000-000000000000";
inline const std::string uuid1 = "GPU-11111111-1111-1111-1111-111111111111";
inline const std::string uuid2 = "GPU-22222222-2222-2222-2222-222222222222";

// Three GPUs; the third one's minor is not its index.
inline Driver make_driver(const std::string& version = "999.42.01") {
    Driver driver;
    driver.kernel_version = version;
    driver.userspace_version = version;
    driver.control = {{"nvidia-uvm", 510, 0}, {"nvidia-uvm-tools", 510, 1}, {"nvidiactl", 195, 255}};
    driver.gpus = {{0, 0, uuid0, "0000:01:00.0", "Model", 195},
                   {1, 1, uuid1, "0000:02:00.0", "Model", 195},
                   {2, 4, uuid2, "0000:03:00.0", "Model", 195}};
    driver.files.push_back({Capability::compute,
                            FileKind::library,
                            "/lib/libcuda.so." + version,
                            "libcuda.so." + version,
                            {"libcuda.so.1"},
                            1,
                            1,
                            "",
                            ""});
    return driver;
}

inline Policy make_policy(const std::string& machine, std::vector<GpuSelector> gpus = {GpuIndex{0}}) {
    Policy policy;
    policy.machine = machine;
    policy.path = "/etc/cuda-nspawn/machines/" + machine + ".yaml";
    policy.gpus = std::move(gpus);
    return policy;
}

inline std::vector<std::string> names_of(const std::vector<DeviceNode>& nodes) {
    std::vector<std::string> names;
    for (const DeviceNode& node : nodes) names.push_back(node.name);
    return names;
}

class EngineFixture : public ::testing::Test {
protected:
    EngineFixture() {
        ports.gpu_uuids = {{"nvidia0", uuid0}, {"nvidia1", uuid1}, {"nvidia4", uuid2}};
        ports.on_start = [this](const std::string& machine) { engine.machine_started(machine, instance(machine)); };
    }

    static Instance instance(const std::string& machine, unsigned leader = 100) {
        return {"systemd-nspawn@" + machine + ".service", leader, leader * 1000ULL};
    }
    void set_policies(const std::vector<Policy>& policies) {
        std::vector<PolicyFile> files;
        for (const Policy& policy : policies) files.push_back({policy.machine, policy});
        engine.set_policies(files);
    }
    static PolicyFile broken(const std::string& machine, const std::string& message = "unknown key \"gpu\"") {
        return {machine, std::vector{Diagnostic{"/etc/cuda-nspawn/machines/" + machine + ".yaml", 1, 1, message}}};
    }
    // A host with driver and one policy, at rest.
    void prepare(const Policy& policy = make_policy("a")) {
        engine.set_driver(make_driver());
        set_policies({policy});
        engine.set_instances({});
        ports.answer_all();
        ports.news();
    }
    // That, and the machine runs with a passed verdict.
    void run(const Policy& policy = make_policy("a")) {
        prepare(policy);
        engine.machine_started(policy.machine, instance(policy.machine));
        ports.answer_all();
        ports.news();
    }
    const Machine& machine(const std::string& name = "a") const { return engine.machine(name); }
    std::string state(const std::string& name = "a") const {
        return std::string(to_string(machine(name).state(engine.generation_pending())));
    }
    std::string state_text(const std::string& name = "a") const {
        return machine(name).state_text(engine.generation_pending());
    }
    const Job& job(unsigned id) const { return engine.jobs().at(id); }

    FakePorts ports;
    FakeObserver observer;
    Engine engine{ports, observer};
};

}  // namespace cuda_nspawn::testing
