// What comes while something else is under way, or after something failed: nothing old is taken for the truth.
#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::Call;
using ::testing::ElementsAre;

class EngineOvertaken : public testing::EngineFixture {
protected:
    static Policy with(SelfTestLevel level, std::vector<GpuSelector> gpus = {GpuIndex{0}}) {
        Policy policy = make_policy("a", std::move(gpus));
        policy.self_test = level;
        return policy;
    }
};

TEST_F(EngineOvertaken, a_look_that_a_change_of_the_image_overtook_is_done_again) {
    prepare();
    engine.attach("a", {});
    const Call look = ports.take("look");
    engine.image_changed("a");
    ports.answer(look);
    EXPECT_THAT(ports.waiting(), ElementsAre("look a")) << "what was read may be what was there before";
    ports.image.path = "/var/lib/machines/later";
    ports.answer_all();
    EXPECT_EQ(machine().image->path, "/var/lib/machines/later");
    EXPECT_EQ(state(), "ready");
}

TEST_F(EngineOvertaken, the_failure_of_a_look_that_was_overtaken_is_none) {
    prepare();
    engine.attach("a", {});
    engine.image_changed("a");
    ports.fail("look", "the image changed");
    ports.answer_all();
    EXPECT_EQ(state(), "ready");
}

}  // namespace
}  // namespace cuda_nspawn
