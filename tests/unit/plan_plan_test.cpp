#include "plan/plan.hpp"

#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::make_driver;
using testing::make_policy;
using testing::names_of;
using ::testing::Not;

const std::string generation = "999.42.01-0123456789abcdef";
const Image image = [] {
    Image debian = testing::image_at("/var/lib/machines/a");
    debian.guest = Guest{"debian", "Debian 13", Libc::glibc, "2.41", "x86-64", true, true};
    return debian;
}();

TEST(Planning, grants_the_named_gpus_by_their_minors_and_the_control_nodes) {
    const Planned planned = make_plan(make_policy("a", {GpuIndex{2}}), make_driver(), generation, image, false);
    EXPECT_FALSE(planned.obstacles.any());
    EXPECT_THAT(planned.plan.nodes,
                ElementsAre(DeviceNode{"nvidia-uvm", 510, 0}, DeviceNode{"nvidia-uvm-tools", 510, 1},
                            DeviceNode{"nvidia4", 195, 4}, DeviceNode{"nvidiactl", 195, 255}));
    EXPECT_EQ(planned.plan.generation, generation);
    EXPECT_TRUE(planned.plan.present);
    EXPECT_TRUE(planned.plan.mounts);
    EXPECT_EQ(planned.plan.policy_path, "/etc/cuda-nspawn/machines/a.yaml");
    ASSERT_EQ(planned.gpus.size(), 1U);
    EXPECT_EQ(planned.gpus[0].uuid, testing::uuid2);
}

TEST(Planning, a_gpus_node_has_the_gpus_own_major) {
    Driver driver = make_driver();
    for (Gpu& gpu : driver.gpus) gpu.major = 240;
    const Planned planned = make_plan(make_policy("a"), driver, generation, image, false);
    EXPECT_THAT(planned.plan.nodes, Contains(DeviceNode{"nvidia0", 240, 0}));
    EXPECT_THAT(all_nodes(driver), Contains(DeviceNode{"nvidia4", 240, 4}));
}

TEST(Planning, gives_modeset_for_display_only) {
    Driver driver = make_driver();
    driver.modeset = DeviceNode{"nvidia-modeset", 195, 254};
    Policy policy = make_policy("a");
    EXPECT_THAT(names_of(make_plan(policy, driver, generation, image, false).plan.nodes),
                Not(Contains("nvidia-modeset")));
    policy.capabilities.push_back(Capability::display);
    EXPECT_THAT(names_of(make_plan(policy, driver, generation, image, false).plan.nodes), Contains("nvidia-modeset"));
    EXPECT_THAT(names_of(all_nodes(driver)), Contains("nvidia-modeset")) << "the probe tries it for everybody";
}

TEST(Planning, nodes_have_the_hosts_mode_and_what_has_none_is_not_restricted) {
    Driver driver = make_driver();
    driver.node_mode = 0660;
    const Plan plan = make_plan(make_policy("a"), driver, generation, image, false).plan;
    EXPECT_EQ(plan.node_mode, 0660U);
    EXPECT_TRUE(plan.is_restricted());
    EXPECT_FALSE(make_plan(make_policy("a"), driver, generation, image, true).plan.is_restricted()) << "detached";
    EXPECT_FALSE(make_plan(make_policy("a"), make_driver(), generation, image, false).plan.is_restricted());
    driver.node_mode = 0664;
    EXPECT_TRUE(make_plan(make_policy("a"), driver, generation, image, false).plan.is_restricted()) << "reading alone";
}

TEST(Planning, sockets_come_and_go_with_the_gpus) {
    Policy policy = make_policy("a");
    policy.sockets = {HostSocket::persistenced};
    EXPECT_THAT(make_plan(policy, make_driver(), generation, image, false).plan.sockets,
                ElementsAre(HostSocket::persistenced));
    EXPECT_THAT(make_plan(policy, make_driver(), generation, image, true).plan.sockets, IsEmpty());
}

TEST(Planning, gpus_none_is_nothing_at_all) {
    const Planned planned = make_plan(make_policy("a", {}), make_driver(), generation, image, false);
    EXPECT_FALSE(planned.plan.present);
    EXPECT_FALSE(planned.plan.mounts);
    EXPECT_THAT(planned.plan.nodes, IsEmpty());
    EXPECT_FALSE(planned.obstacles.any());
}

TEST(Planning, a_revoked_machine_is_prepared_and_no_more) {
    const Planned planned = make_plan(make_policy("a"), make_driver(), generation, image, true);
    EXPECT_TRUE(planned.plan.mounts);
    EXPECT_EQ(planned.plan.generation, "");
    EXPECT_THAT(planned.plan.nodes, IsEmpty());
    EXPECT_FALSE(planned.obstacles.any());
}

TEST(Planning, without_a_generation_no_device_is_given_either) {
    const Planned planned = make_plan(make_policy("a"), make_driver(), "", image, false);
    EXPECT_TRUE(planned.plan.mounts);
    EXPECT_THAT(planned.plan.nodes, IsEmpty());
    EXPECT_THAT(planned.gpus, ::testing::SizeIs(1)) << "they are known all the same";
}

TEST(Planning, an_obstacle_of_the_host_leaves_the_machine_prepared) {
    Driver driver = make_driver();
    driver.kernel_version.clear();
    const Planned planned = make_plan(make_policy("a"), driver, generation, image, false);
    EXPECT_THAT(planned.obstacles.host, ElementsAre(HasSubstr("no NVIDIA kernel module")));
    EXPECT_TRUE(planned.plan.mounts);
    EXPECT_EQ(planned.plan.generation, "");
}

TEST(Planning, an_obstacle_of_the_guest_leaves_it_as_it_would_be_without_us) {
    Image musl = image;
    musl.guest->libc = Libc::musl;
    Image unit = image;
    unit.unit_problems = {"ExecStart= has --settings=no"};
    for (const Image& bad : {musl, unit}) {
        const Planned planned = make_plan(make_policy("a"), make_driver(), generation, bad, false);
        EXPECT_THAT(planned.obstacles.guest, ::testing::SizeIs(1));
        EXPECT_TRUE(planned.plan.present);
        EXPECT_FALSE(planned.plan.mounts);
        EXPECT_THAT(planned.plan.nodes, IsEmpty());
    }
}

TEST(Planning, names_every_obstacle_in_one_line_host_first) {
    Image unit = image;
    unit.unit_problems = {"one", "two"};
    Policy policy = make_policy("a", {GpuIndex{8}, GpuUuid{"GPU-no"}});
    const Planned planned = make_plan(policy, make_driver(), generation, unit, false);
    EXPECT_THAT(planned.obstacles.host, ::testing::SizeIs(2));
    EXPECT_THAT(planned.obstacles.text(), ::testing::ContainsRegex("GPU index 8.*; .*GPU-no.*; one; two$"));
}

TEST(Planning, an_image_that_was_not_looked_into_is_no_obstacle) {
    EXPECT_FALSE(make_plan(make_policy("a"), make_driver(), generation, Image{}, false).obstacles.any());
}

TEST(Planning, all_nodes_are_all_gpus_and_the_control_nodes) {
    EXPECT_THAT(names_of(all_nodes(make_driver())),
                ElementsAre("nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia1", "nvidia4", "nvidiactl"));
    EXPECT_THAT(all_nodes(Driver()), IsEmpty());
}

TEST(Planning, names_units_and_paths_as_systemd_does) {
    EXPECT_EQ(nspawn_unit("my-box"), "systemd-nspawn@my-box.service");
    EXPECT_EQ(scope_unit("my-box"), "machine-my\\x2dbox.scope");
    EXPECT_EQ(scope_drop_in_path("my-box"), "/run/systemd/system/machine-my\\x2dbox.scope.d/50-cuda-nspawn.conf");
    EXPECT_EQ(device_rule({"nvidia0", 195, 7}), "/dev/char/195:7");
}

}  // namespace
}  // namespace cuda_nspawn
