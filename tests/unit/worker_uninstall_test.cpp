#include <gmock/gmock.h>

#include "worker/uninstall.hpp"
#include "worker_host.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class Uninstall : public testing::WorkerHost {
protected:
    const std::string unit = "systemd-nspawn@a.service";
    const std::string control = "/run/systemd/system.control/" + unit + ".d/50-DeviceAllow.conf";
    const std::string state = "/run/cuda-nspawn/state/" + unit + ".control";
};

TEST_F(Uninstall, takes_every_machines_files_from_systemd) {
    write("/etc/systemd/nspawn/b.nspawn", "[Exec]\nHostname=b\n");
    run(is_root() ? granted() : prepared());
    run(prepared("b"));
    ASSERT_THAT(below_run(), Contains(HasSubstr("/settings/b.nspawn")));
    EXPECT_THAT(uninstall(host), IsEmpty());
    EXPECT_THAT(below_run(), Each(StartsWith("/run/cuda-nspawn/machines/")));
    EXPECT_EQ(read("/etc/systemd/nspawn/b.nspawn"), "[Exec]\nHostname=b\n");
}

TEST_F(Uninstall, leaves_to_running_guests_what_they_take_themselves_back_by) {
    run(is_root() ? granted() : prepared());
    uninstall(host);
    EXPECT_THAT(below_run(), AllOf(Contains("/run/cuda-nspawn/machines/a/guest/setup"),
                                   Not(Contains(HasSubstr("/dev/"))), Not(Contains(HasSubstr("/driver")))));
}

TEST_F(Uninstall, leaves_what_is_the_admins) {
    const std::vector<std::string> files{"/run/systemd/nspawn/a.nspawn",
                                         "/run/systemd/system/systemd-nspawn@a.service.d/20-mine.conf",
                                         "/run/systemd/system/systemd-nspawn@b.service.d/50-cuda-nspawn.conf"};
    for (const std::string& file : files) write(file, "# mine\n");
    EXPECT_THAT(uninstall(host), IsEmpty());
    for (const std::string& file : files) EXPECT_EQ(read(file), "# mine\n") << file;
}

TEST_F(Uninstall, takes_our_rules_out_of_what_systemd_keeps) {
    write(control, "[Service]\nDeviceAllow=/dev/fuse rw\nDeviceAllow=/dev/char/195:0 rw\n");
    write(state, to_json(ControlFile{true, {}, {"/dev/char/195:0"}}));
    EXPECT_THAT(uninstall(host), IsEmpty());
    EXPECT_EQ(read(control), "[Service]\nDeviceAllow=/dev/fuse rw\n");
    EXPECT_THAT(below_run(), Not(Contains(state))) << "or it would count for who is installed next";
}

TEST_F(Uninstall, says_what_it_could_not_do_and_goes_on) {
    run(prepared());
    write(state, "no JSON");
    EXPECT_THAT(uninstall(host), ElementsAre(StartsWith(unit + ": ")));
    EXPECT_THAT(below_run(), Not(Contains(HasSubstr("50-cuda-nspawn.conf"))));
}

TEST_F(Uninstall, finds_nothing_where_nothing_is) { EXPECT_THAT(uninstall(host), IsEmpty()); }

}  // namespace
}  // namespace cuda_nspawn
