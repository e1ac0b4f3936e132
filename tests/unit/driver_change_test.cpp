#include "driver/change.hpp"

#include <gmock/gmock.h>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using testing::make_driver;
using testing::uuid1;

TEST(DriverChange, equal_drivers_are_worth_no_word) {
    EXPECT_EQ(describe_change(make_driver(), make_driver()), "");
    EXPECT_EQ(describe_change({}, {}), "");
    Driver noted = make_driver();
    noted.notes.emplace_back("something is odd");
    EXPECT_EQ(describe_change(make_driver(), noted), "") << "notes are told by themselves";
}

TEST(DriverChange, a_module_that_comes_goes_or_is_another) {
    Driver files_only = make_driver("580.1");
    files_only.kernel_version.clear();
    files_only.gpus.clear();
    files_only.control.clear();
    EXPECT_EQ(describe_change(files_only, make_driver("580.1")), "the NVIDIA kernel module was loaded: 580.1, 3 GPUs");
    EXPECT_EQ(describe_change(make_driver("580.1"), files_only), "the NVIDIA kernel module was unloaded: 580.1");
    EXPECT_EQ(describe_change(make_driver("550.1"), make_driver("580.1")),
              "the NVIDIA kernel module was reloaded: 550.1 -> 580.1; driver files changed: 550.1 -> 580.1");
    Driver without_gpu = make_driver("580.1");
    without_gpu.gpus.clear();
    EXPECT_EQ(describe_change(files_only, without_gpu), "the NVIDIA kernel module was loaded: 580.1, no GPU");
}

TEST(DriverChange, gpus_that_come_and_go_are_named) {
    Driver fewer = make_driver();
    fewer.gpus.erase(fewer.gpus.begin() + 1);
    fewer.gpus[1].index = 1;
    EXPECT_EQ(describe_change(make_driver(), fewer), "GPU 1 (" + uuid1 + ", Model) is gone");
    EXPECT_EQ(describe_change(fewer, make_driver()), "GPU 1 (" + uuid1 + ", Model) was added");
    Driver exchanged = make_driver();
    exchanged.gpus[1].uuid = "GPU-another";
    EXPECT_EQ(describe_change(make_driver(), exchanged),
              "GPU 1 (" + uuid1 + ", Model) is gone; GPU 1 (GPU-another, Model) was added");
}

TEST(DriverChange, a_uuid_that_is_told_late_is_no_other_gpu) {
    Driver unopened = make_driver();
    unopened.gpus[1].uuid.clear();
    EXPECT_EQ(describe_change(unopened, make_driver()),
              "GPU 1 (" + uuid1 + ", Model) at 0000:02:00.0 tells its UUID now");
    EXPECT_EQ(describe_change(make_driver(), unopened), "");
}

TEST(DriverChange, numbers_of_nodes) {
    Driver other = make_driver();
    other.control[0].major = 511;
    other.control[1].major = 511;
    other.gpus[2].minor = 2;
    EXPECT_EQ(describe_change(make_driver(), other), "GPU 2 (" + testing::uuid2 +
                                                         ", Model) has another node: nvidia4 -> nvidia2; "
                                                         "nvidia-uvm has another major: 510 -> 511");
    Driver without_uvm = make_driver();
    without_uvm.control = {{"nvidiactl", 195, 255}};
    EXPECT_EQ(describe_change(make_driver(), without_uvm), "nvidia-uvm is gone");
    EXPECT_EQ(describe_change(without_uvm, make_driver()), "nvidia-uvm was added");
    Driver with_modeset = make_driver();
    with_modeset.modeset = DeviceNode{"nvidia-modeset", 195, 254};
    EXPECT_EQ(describe_change(make_driver(), with_modeset), "nvidia-modeset was added");
}

TEST(DriverChange, the_mode_of_nodes) {
    Driver restricted = make_driver("550.1");
    restricted.node_mode = 0660;
    EXPECT_EQ(describe_change(make_driver("550.1"), restricted), "the nodes have another mode: 0666 -> 0660");
}

TEST(DriverChange, files) {
    Driver upgraded = make_driver("580.1");
    upgraded.kernel_version = "550.1";
    EXPECT_EQ(describe_change(make_driver("550.1"), upgraded), "driver files changed: 550.1 -> 580.1");
    Driver missing = make_driver("550.1");
    missing.userspace_version.clear();
    missing.files.clear();
    EXPECT_EQ(describe_change(make_driver("550.1"), missing), "driver files were removed: 550.1");
    EXPECT_EQ(describe_change(missing, make_driver("550.1")), "driver files were installed: 550.1");
    Driver rebuilt = make_driver("550.1");
    rebuilt.files[0].build_id = "aa";
    EXPECT_EQ(describe_change(make_driver("550.1"), rebuilt), "driver files of 550.1 changed");
}

TEST(DriverChange, what_is_there_in_a_line) {
    EXPECT_EQ(describe_driver(make_driver("580.1")), "NVIDIA kernel module 580.1, 3 GPUs, driver files 580.1");
    EXPECT_EQ(describe_driver({}), "no NVIDIA kernel module is loaded, no driver files");
    Driver single = make_driver("580.1");
    single.gpus.resize(1);
    single.userspace_version.clear();
    EXPECT_EQ(describe_driver(single), "NVIDIA kernel module 580.1, 1 GPU, no driver files");
}

}  // namespace
}  // namespace cuda_nspawn
