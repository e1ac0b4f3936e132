// What one policy's file causes, and what it does not.
#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::EngineFixture;
using ::testing::IsEmpty;
using testing::make_driver;
using testing::make_policy;

class EnginePolicies : public EngineFixture {
protected:
    void write(const Policy& policy) { engine.set_policy(policy.machine, PolicyFile{policy.machine, policy}, true); }
    // Machines a, b and c; the exposure of b failed, and all is at rest.
    void fail_one_of_three() {
        engine.set_driver(make_driver());
        set_policies({make_policy("a"), make_policy("b"), make_policy("c")});
        ports.answer_all();
        write(make_policy("b", {GpuIndex{1}}));
        ports.fail("expose", "the disk is full");
        ports.answer_all();
        ASSERT_EQ(state("b"), "failed");
        ports.news();
    }
};

TEST_F(EnginePolicies, an_edit_of_one_touches_no_other_machine) {
    fail_one_of_three();
    observer.changes.clear();
    write(make_policy("a", {GpuIndex{1}}));
    ports.answer_all();
    EXPECT_EQ(ports.news(), (std::vector<std::string>{"expose a", "reload a"}));
    EXPECT_EQ(observer.changes, std::set<std::string>{"a"});
    EXPECT_EQ(state("b"), "failed") << "its file is as it was";
}

TEST_F(EnginePolicies, a_removal_of_one_touches_no_other_machine) {
    fail_one_of_three();
    engine.set_policy("a", std::nullopt, true);
    ports.answer_all();
    EXPECT_EQ(ports.news(), (std::vector<std::string>{"expose a", "reload a"}));
    EXPECT_FALSE(engine.machines().contains("a"));
    EXPECT_EQ(state("b"), "failed");
}

TEST_F(EnginePolicies, what_failed_is_done_again_when_the_file_is_written_as_it_was) {
    fail_one_of_three();
    write(make_policy("b", {GpuIndex{1}}));
    ports.answer_all();
    EXPECT_EQ(state("b"), "ready");
}

TEST_F(EnginePolicies, what_failed_is_done_again_when_all_are_read) {
    fail_one_of_three();
    set_policies({make_policy("a"), make_policy("b", {GpuIndex{1}}), make_policy("c")});
    ports.answer_all();
    EXPECT_EQ(state("b"), "ready");
}

TEST_F(EnginePolicies, a_look_at_the_file_for_somebody_who_asks_does_nothing_again) {
    fail_one_of_three();
    engine.set_policy("b", PolicyFile{"b", make_policy("b", {GpuIndex{1}})});
    EXPECT_THAT(ports.news(), IsEmpty());
    EXPECT_EQ(state("b"), "failed");
}

}  // namespace
}  // namespace cuda_nspawn
