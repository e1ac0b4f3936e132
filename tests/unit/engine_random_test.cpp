// What holds whatever comes in whatever order: three machines on a host where anything happens and any step may fail,
// half done or not. Each sequence is made from its seed alone; a failure prints it, and what came last.
#include <gmock/gmock.h>

#include <random>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::Call;
using testing::FakeObserver;
using testing::FakePorts;
using testing::make_driver;
using testing::make_policy;

const std::vector<std::string> names{"a", "b", "c"};
const std::string sentence = "it is broken";

// One machine as the admin and the kernel see it.
struct Truth {
    std::optional<Policy> policy;  // the last good one
    bool broken = false;
    std::optional<Instance> instance;
    bool revoked = false;
    std::vector<DeviceNode> open;    // what rules may let through
    Plan disk;                       // what is there
    std::set<std::string> leftover;  // units with rules that would outlive their instance
};

bool contains(const std::vector<DeviceNode>& nodes, const DeviceNode& node) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

bool is_step(const std::string& verb) {
    static const std::set<std::string> steps{"look", "expose", "reload", "grant", "mount", "release", "start"};
    return steps.contains(verb);
}

// "systemd-nspawn@a.service", "machine-a.scope", "a" → "a"
std::string machine_of(const Call& call) {
    for (const std::string& name : names)
        for (const std::string& subject : {name, nspawn_unit(name), scope_unit(name)})
            if (call.subject == subject) return name;
    return "";
}

class RandomHost {
public:
    explicit RandomHost(unsigned seed) : random_(seed) {
        ports_.gpu_uuids = {{"nvidia0", testing::uuid0}, {"nvidia1", testing::uuid1}, {"nvidia4", testing::uuid2}};
        for (unsigned leader = 3; leader < 1000; leader += 3) ports_.without_mounts.insert(leader);
        ports_.on_start = [this](const std::string& name) {
            if (!truths_[name].instance) start(name);
        };
        engine_.set_driver(make_driver());
    }

    void act() {
        const std::size_t before = ports_.pending.size();
        const std::string generation = engine_.generation();
        if (ports_.pending.empty() || chance(40))
            check_new_calls(before, happen(), generation);
        else
            answer_one(chance(80));
        check();
    }

    // Everything works again, and is answered.
    void settle() {
        trail_.emplace_back("settle");
        engine_.set_driver(make_driver());
        answer_all();
        for (const std::string& name : names) engine_.image_changed(name);
        answer_all();
        engine_.set_policies(files());
        answer_all();
        check();
        for (const std::string& name : names) check_settled(name);
        EXPECT_TRUE(engine_.settled());
        for (const auto& [id, job] : engine_.jobs())
            EXPECT_TRUE(job.state == JobState::ended && job.step > 0) << to_string(job.kind) << " of " << job.machine;
        EXPECT_LE(ports_.log.size(), 12 * trail_.size()) << "more calls than what happened can explain";
    }

    std::string trail() const {
        std::string text;
        for (std::size_t i = trail_.size() > 25 ? trail_.size() - 25 : 0; i < trail_.size(); ++i)
            text += trail_[i] + "\n";
        return text;
    }

private:
    unsigned below(unsigned limit) { return std::uniform_int_distribution<unsigned>(0, limit - 1)(random_); }
    bool chance(unsigned percent) { return below(100) < percent; }

    // --- what happens; the machine that it concerns, nothing: all ---------------------------------------------------

    std::string happen() {
        const std::string name = names[below(static_cast<unsigned>(names.size()))];
        const unsigned kind = below(19);
        trail_.push_back("event " + std::to_string(kind) + " " + name);
        if (kind < 4) return change_policy(name);
        if (kind < 5) return change_driver();
        if (kind < 8) return start(name), name;
        if (kind < 9) return end(name), name;
        if (kind < 10) return engine_.image_changed(name), name;
        if (kind < 11) return list_instances();
        if (kind < 12) return keep_house(name);
        try {
            ask(name, kind);
            if (kind == 18) return "";  // whose job it was
        } catch (const JobRefused& refused) {
            trail_.back() += std::string(" refused: ") + refused.what();
        }
        return name;
    }

    void ask(const std::string& name, unsigned kind) {
        if (kind == 18) {
            const auto& jobs = engine_.jobs();
            if (jobs.empty()) return;
            const auto job = std::next(jobs.begin(), below(static_cast<unsigned>(jobs.size())));
            trail_.back() += " cancel " + std::to_string(job->first);
            engine_.cancel(job->first);
        } else if (kind < 14) {
            engine_.attach(name, {chance(50), chance(50), chance(30)});
            truths_[name].revoked = false;
        } else if (kind < 16) {
            const Machine& machine = engine_.machine(name);
            const bool holds = machine.instance || machine.under_way == Step::start;
            if (holds) truths_[name].revoked = true;
            engine_.detach(name);
        } else {
            engine_.self_test(name);
        }
    }

    std::string change_policy(const std::string& name) {
        Truth& truth = truths_[name];
        const unsigned kind = below(8);
        truth.broken = kind == 0;
        if (kind == 1) truth.policy.reset();
        if (kind > 1) truth.policy = make_policy(name, some_gpus());
        trail_.back() += " policy " + std::to_string(kind);
        if (chance(50)) {
            engine_.set_policies(files());
            return "";
        }
        engine_.set_policy(name, file(name), chance(50));
        return name;
    }
    std::vector<GpuSelector> some_gpus() {
        std::vector<GpuSelector> gpus;
        for (unsigned index = 0; index < 3; ++index)
            if (chance(60)) gpus.emplace_back(GpuIndex{index});
        return gpus;
    }
    std::optional<PolicyFile> file(const std::string& name) {
        const Truth& truth = truths_[name];
        if (truth.broken) return PolicyFile{name, std::vector{Diagnostic{name + ".yaml", 1, 1, "unknown key"}}};
        if (truth.policy) return PolicyFile{name, *truth.policy};
        return {};
    }
    std::vector<PolicyFile> files() {
        std::vector<PolicyFile> all;
        for (const std::string& name : names)
            if (const auto one = file(name)) all.push_back(*one);
        return all;
    }

    std::string change_driver() {
        Driver driver = make_driver(chance(50) ? "999.42.01" : "1000.1");
        const unsigned kind = below(6);
        if (kind == 0) driver = {};
        if (kind == 1) driver.gpus.resize(1);
        if (kind == 2) driver.kernel_version = "999.42.01";
        if (chance(30)) driver.node_mode = 0660;
        trail_.back() += " driver " + driver.kernel_version + "/" + driver.userspace_version;
        engine_.set_driver(driver);
        return "";
    }

    // As a service or by hand; the end of what ran before was missed.
    void start(const std::string& name) {
        const unsigned leader = ++leaders_;
        Truth& truth = truths_[name];
        if (truth.instance) truth.revoked = false;
        truth.instance = Instance{chance(70) ? nspawn_unit(name) : scope_unit(name), leader, leader * 1000ULL};
        truth.open = truth.disk.nodes;  // what its drop-in says
        engine_.machine_started(name, *truth.instance);
    }
    void end(const std::string& name) {
        Truth& truth = truths_[name];
        if (std::exchange(truth.instance, std::nullopt)) truth.revoked = false;
        truth.open.clear();
        engine_.machine_ended(name);
    }
    std::string list_instances() {
        std::map<std::string, Instance> running;
        for (const auto& [name, truth] : truths_)
            if (truth.instance) running[name] = *truth.instance;
        engine_.set_instances(running);
        return "";
    }
    std::string keep_house(const std::string& name) {
        ports_.now += below(100'000'000);
        engine_.forget_old_jobs();
        engine_.collect_if_due();
        engine_.adopt_leftover(name);
        return name;
    }

    // --- answers ------------------------------------------------------------------------------------------------

    void answer_all() {
        for (int rounds = 0; !ports_.pending.empty(); ++rounds) {
            if (rounds == 1000) throw std::logic_error("the engine never rests: " + ports_.log.back());
            answer_one(true);
        }
    }

    void answer_one(bool works) {
        const auto place = ports_.pending.begin() + below(static_cast<unsigned>(ports_.pending.size()));
        const Call call = std::move(*place);
        ports_.pending.erase(place);
        trail_.push_back((works ? "answer " : "fail ") + call.text());
        const std::size_t before = ports_.pending.size();
        const std::string generation = engine_.generation();
        const std::string name = machine_of(call);
        if (call.verb == "expose")
            answer_expose(call, truths_[name], works);
        else if (call.verb == "grant")
            answer_grant(call, truths_[name], works);
        else
            answer_other(call, works);
        check_new_calls(before, call.verb == "build" ? "" : name, generation);
    }

    // What failed may be there all the same.
    void answer_expose(const Call& call, Truth& truth, bool works) {
        Exposed exposed;
        if (truth.disk != call.plan) {
            exposed.changes.push_back({"create", "/something", ""});
            exposed.units_changed = true;
        }
        if (!works) exposed.failure = sentence;
        if (works || chance(50)) truth.disk = call.plan;
        std::get<Reply<Exposed>>(call.reply)(exposed);
    }
    void answer_grant(const Call& call, Truth& truth, bool works) {
        if (works || chance(50)) truth.leftover.insert(call.subject);
        // The unit's name is all that systemd knows of an instance.
        const bool reaches = truth.instance && truth.instance->unit == call.subject;
        if (reaches && (works || chance(50))) {
            const std::vector<DeviceNode> before = std::exchange(truth.open, call.rules.granted);
            if (call.rules.in_force)
                for (const DeviceNode& node : before)
                    if (!contains(truth.open, node)) truth.open.push_back(node);
        }
        std::get<Reply<Granted>>(call.reply)({{}, works ? "" : sentence});
    }
    void answer_other(const Call& call, bool works) {
        const std::string name = machine_of(call);
        if (call.verb == "release" && works) truths_[name].leftover.erase(call.subject);
        if (call.verb == "build" && works) ports_.store.insert(call.subject);
        if (works)
            ports_.answer(call);
        else {
            ports_.pending.push_front(call);
            ports_.fail(call.verb, sentence);
        }
        // A detach during the start was of what would run.
        if (call.verb == "start" && !truths_[name].instance) truths_[name].revoked = false;
    }

    // --- what always holds ----------------------------------------------------------------------------------------

    void check_new_calls(std::size_t before, const std::string& concerned, const std::string& generation) {
        const bool all = concerned.empty() || generation != engine_.generation();
        for (std::size_t i = before; i < ports_.pending.size(); ++i) {
            const Call& call = ports_.pending[i];
            trail_.back() += " > " + call.text();
            const std::string name = machine_of(call);
            EXPECT_TRUE(all || call.verb == "build" || name == concerned) << "machines do not disturb each other";
            if (is_step(call.verb)) check_step(call, name, truths_[name]);
        }
    }

    void check_step(const Call& call, const std::string& name, const Truth& truth) {
        for (const DeviceNode& node : call.verb == "grant" ? call.rules.granted : call.plan.nodes)
            EXPECT_TRUE(may_have(truth, node)) << node.name << " is given to " << name << ", no policy says so";
        if (call.rules.in_force && truth.instance && truth.instance->unit == call.subject) {
            EXPECT_EQ(*call.rules.in_force, truth.open) << "not what is in force in " << name;
            for (const DeviceNode& node : truth.open)
                EXPECT_TRUE(contains(call.rules.granted, node)) << node.name << " would stay open in " << name;
        }
        const bool shall_close = truth.instance && truth.revoked && !truth.open.empty();
        EXPECT_TRUE(!shall_close || call.verb == "grant" || call.verb == "release")
            << "a detach closes before anything else";
        if (call.verb != "expose") return;
        const bool is_of_guest = truth.instance && call.plan.is_restricted();
        EXPECT_EQ(call.plan.node_owner, is_of_guest ? ports_.find_root(*truth.instance) : 0) << "nodes of " << name;
        if (!truth.instance) return;
        for (const DeviceNode& node : truth.disk.nodes)
            EXPECT_FALSE(contains(truth.open, node) && !contains(call.plan.nodes, node))
                << node.name << " goes from " << name << " before its rule is closed";
    }

    static bool may_have(const Truth& truth, const DeviceNode& node) {
        if (!truth.policy || !truth.policy->wants_gpus() || truth.revoked) return false;
        if (contains(make_driver().control, node)) return true;
        for (const GpuSelector& gpu : truth.policy->gpus)
            if (node.minor == make_driver().gpus[std::get<GpuIndex>(gpu).value].minor) return true;
        return false;
    }

    void check() {
        std::map<std::string, int> under_way;
        for (const Call& call : ports_.pending)
            if (is_step(call.verb)) ++under_way[machine_of(call)];
        for (const auto& [name, count] : under_way) EXPECT_EQ(count, 1) << "steps of " << name;
        for (const auto& [id, job] : engine_.jobs())
            EXPECT_TRUE(job.state == JobState::ended || job.kind == JobKind::detach || !truths_[job.machine].revoked)
                << to_string(job.kind) << " of " << job.machine << " waits though a later detach overtook it";
        for (const auto& [id, job] : engine_.jobs()) {
            auto& [step, steps] = progress_[id];
            EXPECT_TRUE(job.step >= step && job.steps >= steps && job.step <= job.steps)
                << "job " << id << ", from " << step << " of " << steps << " to " << job.step << " of " << job.steps;
            step = job.step;
            steps = job.steps;
        }
        const std::vector<std::string> used = engine_.generations_in_use();
        for (const auto& [name, machine] : engine_.machines()) {
            const Truth& truth = truths_[name];
            EXPECT_EQ(machine.revoked, truth.revoked) << name << ": the newest wish counts";
            EXPECT_EQ(machine.instance, truth.instance) << name;
            const bool kept = std::find(used.begin(), used.end(), truth.disk.generation) != used.end();
            EXPECT_TRUE(kept || truth.disk.generation.empty()) << name << " would lose its driver";
        }
    }

    std::string expected_word(const Truth& truth) const {
        if (!truth.policy) return truth.broken ? "invalid" : "blocked";
        if (!truth.policy->wants_gpus()) return "blocked";
        if (!truth.instance) return "ready";
        return truth.revoked ? "detached" : "attached";
    }

    // Wishes and facts agree, the engine's with the host's.
    void check_settled(const std::string& name) {
        const Truth& truth = truths_[name];
        EXPECT_TRUE(truth.instance || truth.leftover.empty()) << "rules of " << name << " outlive it";
        if (!engine_.machines().contains(name)) {
            EXPECT_FALSE(truth.policy || truth.broken) << name << " is forgotten";
            EXPECT_FALSE(truth.disk.present) << name;
            return;
        }
        const Machine& machine = engine_.machine(name);
        EXPECT_EQ(machine.failure, "") << name;
        EXPECT_EQ(to_string(machine.state(false)), expected_word(truth)) << name;
        if (!truth.policy && truth.broken) return;  // hands off
        EXPECT_EQ(machine.exposed, machine.planned.plan) << name;
        EXPECT_EQ(truth.disk, machine.planned.plan) << name;
        EXPECT_EQ(truth.open, truth.instance ? machine.planned.plan.nodes : std::vector<DeviceNode>()) << name;
        if (expected_word(truth) != "attached") return;
        EXPECT_NE(machine.verdict.result, VerdictResult::none) << name << " is not tested";
        if (machine.verdict.result != VerdictResult::passed) return;
        EXPECT_EQ(machine.verdict.gpu_uuids.size(), truth.policy->gpus.size())
            << name << " was tested as it was before";
    }

    std::mt19937 random_;
    FakePorts ports_;
    FakeObserver observer_;
    Engine engine_{ports_, observer_};
    std::map<std::string, Truth> truths_;
    std::map<unsigned, std::pair<unsigned, unsigned>> progress_;  // by job: step, of how many
    unsigned leaders_ = 100;
    std::vector<std::string> trail_;
};

TEST(EngineRandom, whatever_comes_in_whatever_order) {
    for (unsigned seed = 1; seed <= 500 && !HasFailure(); ++seed) {
        RandomHost host(seed);
        for (int i = 0; i < 100 && !HasFailure(); ++i) host.act();
        if (!HasFailure()) host.settle();
        if (HasFailure()) ADD_FAILURE() << "seed " << seed << ", last:\n" << host.trail();
    }
}

}  // namespace
}  // namespace cuda_nspawn
