#include "system/watcher.hpp"

#include <gtest/gtest.h>

#include "inotify_limit.hpp"

namespace cuda_nspawn {
namespace {

void watch_without_inotify() {
    testing::use_up_inotify();
    EventLoop loop;
    Watcher watcher(loop);
    watcher.watch("/etc", [](const std::vector<std::string>&, bool) {});
    std::exit(0);
}

TEST(WatcherDeathTest, a_limit_that_is_used_up_is_named) {
    EXPECT_EXIT(watch_without_inotify(), ::testing::ExitedWithCode(0),
                "changes in /etc are not noticed by themselves: fs.inotify.max_user_instances is used up");
}

}  // namespace
}  // namespace cuda_nspawn
