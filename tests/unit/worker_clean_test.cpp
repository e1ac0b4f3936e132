#include <gmock/gmock.h>

#include "worker/clean.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(WorkerClean, changes_no_owner_of_a_file) {
    EXPECT_THAT(clean_command("a", "/var/lib/machines/a", 0),
                AllOf(Contains("--directory=/var/lib/machines/a"), Contains("--private-users=pick"),
                      Contains("--private-users-ownership=map")));
    EXPECT_THAT(clean_command("a", "/var/lib/machines/a", 1310720),
                AllOf(Contains("--private-users=1310720:65536"), Contains("--private-users-ownership=off")));
    EXPECT_THAT(clean_command("a", "/var/lib/machines/a.raw", std::nullopt),
                AllOf(Contains("--machine=a"), Contains("--private-users-ownership=map")));
}

TEST(WorkerClean, nothing_of_the_machines_settings_takes_part) {
    EXPECT_THAT(clean_command("a", "/var/lib/machines/a", 0),
                AllOf(Contains("--settings=no"), Contains("--register=no"), Contains("--private-network"),
                      Not(Contains("--boot"))));
}

TEST(WorkerClean, what_is_printed_there_is_not_trusted) {
    EXPECT_THAT(removed_in("removed /usr/bin/nvidia-smi\n<5>removed /x\nremoved nothing\nremoved /a\033[31m"),
                ElementsAre(Change{"remove", "/usr/bin/nvidia-smi", "in the machine"},
                            Change{"remove", "/a\xef\xbf\xbd[31m", "in the machine"}));
    std::string flood;
    for (int i = 0; i < 1000; ++i) flood += "removed /" + std::string(1000, 'x') + "\n";
    EXPECT_THAT(removed_in(flood), SizeIs(64));
    EXPECT_EQ(removed_in(flood)[0].path.size(), 512U);
    EXPECT_THAT(removed_in(""), IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
