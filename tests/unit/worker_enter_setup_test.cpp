#include "worker/enter_setup.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <thread>

#include "driver_fixture.hpp"
#include "inotify_limit.hpp"

namespace cuda_nspawn {
namespace {

using std::chrono::milliseconds;
using testing::TemporaryTree;

// A guest whose first process is this one, as far as /proc tells.
struct Guest {
    Guest() {
        machine.leader = ::getpid();
        machine.pidfd = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
        const std::string process = fmt::format("/proc/{}", ::getpid());
        tree.write("/epoch", "7\n");
        tree.write("/guest/run/other", "");
        struct stat epoch{};
        EXPECT_EQ(::stat(tree.at("/epoch").c_str(), &epoch), 0);
        tree.write(process + "/mountinfo", fmt::format("1 2 {}:{} /a /run/cuda-nspawn ro - tmpfs none ro\n"
                                                       "3 2 0:1 /b /run/cuda-nspawn-store ro - ext4 none ro\n",
                                                       major(epoch.st_dev), minor(epoch.st_dev)));
        std::filesystem::create_symlink(tree.at("/guest"), tree.at(process + "/root"));
    }
    void report(std::uint64_t epoch) const {
        tree.write("/guest/run/.new", fmt::format("epoch={}\n", epoch));
        std::filesystem::rename(tree.at("/guest/run/.new"), tree.at("/guest/run/cuda-nspawn-setup"));
    }
    std::optional<SetupState> wait(milliseconds limit) const {
        return wait_for_setup(machine, 7, tree.at("/epoch"), tree.at("/proc"), limit);
    }
    TemporaryTree tree;
    RunningMachine machine;
};

TEST(WaitForSetup, sleeps_until_the_guest_has_seen_the_epoch) {
    const Guest guest;
    guest.report(6);
    std::thread later([&] { guest.report(7); });
    const auto state = guest.wait(milliseconds(20000));
    later.join();
    ASSERT_TRUE(state);
    EXPECT_EQ(state->epoch, 7U);
}

TEST(WaitForSetup, ends_when_the_time_is_over) {
    const Guest guest;
    guest.report(6);
    EXPECT_FALSE(guest.wait(milliseconds(20)));
}

void wait_without_inotify() {
    testing::use_up_inotify();
    const Guest guest;
    // After the first look, so that only another one can see it.
    std::thread later([&] {
        std::this_thread::sleep_for(milliseconds(100));
        guest.report(7);
    });
    const bool seen = guest.wait(milliseconds(20000)).has_value();
    later.join();
    std::_Exit(seen ? 0 : 1);
}

TEST(WaitForSetupDeathTest, looks_now_and_then_where_the_kernel_has_no_inotify_left) {
    EXPECT_EXIT(wait_without_inotify(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace cuda_nspawn
