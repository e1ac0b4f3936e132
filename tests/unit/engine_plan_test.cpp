// Plan: what an attach or a detach would change, which is what it then does change.
#include <gmock/gmock.h>

#include "engine_situations.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Host;
using ::testing::IsEmpty;
using testing::make_driver;
using testing::make_policy;
using testing::names_of;
using ::testing::Not;
using testing::Situation;
using testing::situations;

class EnginePlan : public testing::EngineFixture {
protected:
    PlannedChanges plan(const PlanRequest& request) {
        std::optional<PlannedChanges> answer;
        engine.plan(request, [&](PlannedChanges planned) { answer = std::move(planned); });
        ports.answer_all();
        EXPECT_TRUE(answer);
        return answer.value_or(PlannedChanges{});
    }
    std::string refusal(const PlanRequest& request) {
        try {
            engine.plan(request, [](const PlannedChanges&) {});
        } catch (const JobRefused& refused) {
            text_ = refused.what();
            return refused.name();
        }
        return "";
    }
    std::string text_;
};

// In every situation, by all verbs. What has failed and would again is no plan of what is done.
TEST(EnginePlans, whatever_the_situation_what_is_planned_is_what_is_done) {
    unsigned compared = 0, with_changes = 0;
    for (const Situation& one : situations())
        for (const char* verb : {"attach", "+start", "detach"}) {
            Host host;
            host.ports.shown_rules.emplace();
            host.ports.on_start = [&](const std::string& machine) {
                // It begins with what its drop-in says.
                (*host.ports.shown_rules)[nspawn_unit(machine)] = host.ports.on_disk[machine].nodes;
                if (!host.running) host.start();
            };
            one.reach(host);
            host.ports.answer_all();
            PlanRequest request{.machine = "a"};
            request.detach = verb == std::string("detach");
            request.start = verb == std::string("+start");
            std::optional<PlannedChanges> planned;
            try {
                host.engine.plan(request, [&](PlannedChanges answer) { planned = std::move(answer); });
            } catch (const JobRefused&) {
                continue;
            }
            host.ports.answer_all();
            ASSERT_TRUE(planned) << one.name << " x " << verb;
            EXPECT_EQ(planned->failure, "") << one.name << " x " << verb;
            happen(host, verb);
            host.ports.answer_all();
            EXPECT_EQ(host.engine.jobs().at(*host.job).changes, planned->changes) << one.name << " x " << verb;
            ++compared;
            with_changes += planned->changes.empty() ? 0 : 1;
        }
    EXPECT_GT(compared, 80U);
    EXPECT_GT(with_changes, 20U);
}

TEST_F(EnginePlan, nothing_is_done_for_a_plan) {
    run();
    engine.detach("a");
    ports.answer_all();
    ports.news();
    plan({.machine = "a"});
    EXPECT_THAT(ports.news(), ElementsAre("dry-run a", "plan-grant systemd-nspawn@a.service"));
    EXPECT_EQ(state(), "detached");
    EXPECT_EQ(engine.jobs().size(), 1U);
    plan({.machine = "a", .diff = true});
    EXPECT_THAT(ports.news(), ElementsAre("diff a", "plan-grant systemd-nspawn@a.service"));
}

TEST_F(EnginePlan, the_rules_that_are_planned_are_those_that_attach_would_ask_for) {
    run();
    engine.detach("a");
    ports.answer_all();
    engine.plan({.machine = "a"}, [](const PlannedChanges&) {});
    ports.answer("dry-run");
    const Rules planned = ports.take("plan-grant").rules;
    engine.attach("a", {});
    ports.answer("expose");
    const Rules made = ports.take("grant").rules;
    EXPECT_EQ(names_of(planned.ours), names_of(made.ours));
    EXPECT_EQ(planned.granted, made.granted);
    EXPECT_EQ(planned.in_force, made.in_force);
}

TEST_F(EnginePlan, a_start_and_a_mount_are_changes_as_well) {
    prepare();
    const Change start{"start", "systemd-nspawn@a.service", "the machine"};
    EXPECT_THAT(plan({.machine = "a"}).changes, Not(Contains(start)));
    EXPECT_THAT(plan({.machine = "a", .start = true}).changes, Contains(start));
    ports.without_mounts = {100};
    engine.machine_started("a", instance("a"));
    const Change mount{"mount", "systemd-nspawn@a.service", "the driver, into the running machine"};
    EXPECT_THAT(plan({.machine = "a", .start = true}).changes, ::testing::AllOf(Contains(mount), Not(Contains(start))));
}

TEST_F(EnginePlan, a_policy_that_is_in_no_file_is_planned_and_forgotten) {
    prepare(make_policy("b"));
    const PlannedChanges planned = plan({.machine = "a", .policy = make_policy("a", {GpuIndex{1}})});
    EXPECT_THAT(planned.changes, Not(IsEmpty()));
    EXPECT_FALSE(engine.machines().contains("a"));
    run(make_policy("a", {GpuIndex{0}}));
    engine.plan({.machine = "a", .policy = make_policy("a", {GpuIndex{1}})}, [](const PlannedChanges&) {});
    ports.take("plan-grant");  // closes before it makes anything
    EXPECT_EQ(machine().policy->gpus, std::vector<GpuSelector>{GpuIndex{0}});
}

TEST_F(EnginePlan, the_first_policy_of_a_host_is_planned_with_the_driver_that_will_be_copied_for_it) {
    engine.set_driver(make_driver());
    engine.plan({.machine = "a", .policy = make_policy("a")}, [](const PlannedChanges&) {});
    ports.answer("look");
    const Plan planned = ports.take("dry-run").plan;
    EXPECT_EQ(planned.generation, generation_name(make_driver()));
    EXPECT_THAT(names_of(planned.nodes), Contains("nvidia0"));
    EXPECT_FALSE(ports.is_pending("build")) << "it is a plan";
}

TEST_F(EnginePlan, without_a_policy_all_of_ours_would_go) {
    run();
    ports.shown_rules = {{"systemd-nspawn@a.service", machine().planned.plan.nodes}};
    engine.plan({.machine = "a", .without_policy = true}, [](const PlannedChanges&) {});
    EXPECT_THAT(ports.take("plan-grant").rules.granted, IsEmpty());
    engine.plan({.machine = "a", .without_policy = true}, [](const PlannedChanges&) {});
    ports.answer("plan-grant");
    EXPECT_FALSE(ports.take("dry-run").plan.present);
    EXPECT_TRUE(machine().policy);
}

TEST_F(EnginePlan, what_cannot_be_planned_is_refused) {
    engine.set_policies({broken("a")});
    EXPECT_EQ(refusal({.machine = "a"}), "Failed");
    EXPECT_THAT(text_, HasSubstr("unknown key"));
    EXPECT_EQ(refusal({.machine = "nobody"}), "NoSuchMachine");
    EXPECT_EQ(refusal({.machine = "nobody", .detach = true}), "NoSuchMachine");
    EXPECT_EQ(refusal({.machine = "../a", .policy = make_policy("a")}), "InvalidName");
    EXPECT_EQ(refusal({.machine = "../a", .without_policy = true}), "InvalidName");
    EXPECT_EQ(refusal({.machine = "a", .policy = make_policy("a")}), "");
}

TEST_F(EnginePlan, what_cannot_be_found_out_is_a_failure) {
    run();
    engine.detach("a");
    ports.answer_all();
    for (const char* verb : {"dry-run", "plan-grant"}) {
        std::string failure;
        engine.plan({.machine = "a"}, [&](const PlannedChanges& planned) { failure = planned.failure; });
        if (verb == std::string("plan-grant")) ports.answer("dry-run");
        const testing::Call call = ports.take(verb);
        if (const auto* exposed = std::get_if<Reply<Exposed>>(&call.reply))
            (*exposed)(testing::FakePorts::failed_exposure("no"));
        if (const auto* granted = std::get_if<Reply<Granted>>(&call.reply)) (*granted)({{}, "no"});
        EXPECT_EQ(failure, "no") << verb;
    }
}

}  // namespace
}  // namespace cuda_nspawn
