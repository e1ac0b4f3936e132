#include "worker/holders.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Processes as /proc shows them; the devices are ones that every host has.
class WorkerHolders : public ::testing::Test {
protected:
    WorkerHolders() {
        tree.write("/proc/self", "");
        request.nodes = {{"nvidia0", 1, 3}, {"nvidia-uvm", 1, 5}};
        request.units = {{"a", "systemd-nspawn@a.service"}, {"my-box", "machine-my\\x2dbox.scope"}};
    }

    void add_process(unsigned pid, const std::string& cgroup, const std::vector<std::string>& files,
                     const std::string& name = "python3", const std::string& pids = "") const {
        const std::string directory = "/proc/" + std::to_string(pid);
        tree.write(directory + "/cgroup", "1:name=other:/x\n0::" + cgroup + "\n");
        tree.write(directory + "/comm", name + "\n");
        tree.write(directory + "/status",
                   "Name:\tNSpid:\t9\nNSpid:\t" + std::to_string(pid) + pids + "\nThreads:\t1\n");
        std::filesystem::create_directories(tree.at(directory + "/fd"));
        for (std::size_t i = 0; i < files.size(); ++i) tree.link(directory + "/fd/" + std::to_string(i), files[i]);
    }
    Holders find(const HoldersLimits& limits = {}) const { return find_holders(request, tree.at("/proc"), limits); }
    std::string machine_in(const std::string& cgroup) const {
        add_process(10, cgroup, {null});
        const Holders found = find();
        return found.holders.size() == 1 ? found.holders[0].machine : "not found";
    }

    const std::string null = "/dev/null";  // 1:3
    const std::string zero = "/dev/zero";  // 1:5
    const std::string full = "/dev/full";
    testing::TemporaryTree tree;
    HoldersRequest request;
};

TEST_F(WorkerHolders, names_process_machine_and_devices) {
    add_process(4242, "/machine.slice/systemd-nspawn@a.service/payload/system.slice/x.service",
                {null, full, zero, null, "/nothing", "/etc"}, "python3", "\t56");
    add_process(77, "/system.slice/nvidia-persistenced.service", {null}, "nvidia-persiste");
    add_process(78, "/system.slice/other.service", {full});
    add_process(79, "/", {});
    const Holders found = find();
    EXPECT_THAT(found.holders,
                ::testing::UnorderedElementsAre(Holder{"a", 4242, 56, "python3", {"nvidia-uvm", "nvidia0"}},
                                                Holder{"", 77, 77, "nvidia-persiste", {"nvidia0"}}));
    EXPECT_THAT(found.notes, IsEmpty());
}

TEST_F(WorkerHolders, a_processs_number_is_that_in_the_machine_however_deep_it_sits) {
    add_process(1, "/machine.slice/systemd-nspawn@a.service/payload/x", {null}, "nested", "\t56\t1");
    add_process(2, "/machine.slice/systemd-nspawn@a.service/supervisor", {null}, "systemd-nspawn");
    EXPECT_THAT(find().holders, ::testing::UnorderedElementsAre(Holder{"a", 1, 56, "nested", {"nvidia0"}},
                                                                Holder{"a", 2, 2, "systemd-nspawn", {"nvidia0"}}));
}

TEST_F(WorkerHolders, a_machine_is_known_by_its_unit_in_any_slice) {
    EXPECT_EQ(machine_in("/machine.slice/systemd-nspawn@a.service"), "a");
    EXPECT_EQ(machine_in("/machine.slice/machine-gpu.slice/systemd-nspawn@a.service/payload"), "a");
    EXPECT_EQ(machine_in("/machine.slice/machine-my\\x2dbox.scope/payload"), "my-box");
    EXPECT_EQ(machine_in("/machine.slice/systemd-nspawn@b.service/payload"), "");
    EXPECT_EQ(machine_in("/machine.slice"), "");
    EXPECT_EQ(machine_in("/"), "");
}

TEST_F(WorkerHolders, a_cgroup_that_a_guest_or_user_named_after_a_machines_unit_is_not_that_machines) {
    EXPECT_EQ(machine_in("/machine.slice/systemd-nspawn@a.service/payload/machine-my\\x2dbox.scope"), "a");
    EXPECT_EQ(machine_in("/machine.slice/systemd-nspawn@b.service/payload/systemd-nspawn@a.service"), "");
    EXPECT_EQ(machine_in("/user.slice/user-1000.slice/user@1000.service/systemd-nspawn@a.service"), "");
}

TEST_F(WorkerHolders, a_machine_without_a_unit_has_no_process) {
    request.units = {{"odd", ""}};
    EXPECT_EQ(machine_in("/machine.slice"), "");
}

TEST_F(WorkerHolders, of_one_machine_only_its_own_are_found) {
    add_process(1, "/machine.slice/systemd-nspawn@a.service", {null});
    add_process(2, "/machine.slice/machine-my\\x2dbox.scope", {null});
    add_process(3, "/system.slice/x.service", {null});
    request.machine = "my-box";
    EXPECT_THAT(find().holders, ElementsAre(Holder{"my-box", 2, 2, "python3", {"nvidia0"}}));
    request.machine = "does-not-run";
    EXPECT_THAT(find().holders, IsEmpty());
}

TEST_F(WorkerHolders, a_descriptor_that_only_names_a_node_holds_nothing) {
    add_process(1, "/", {null, zero});
    tree.write("/proc/1/fdinfo/0", "pos:\t0\nflags:\t012000000\nmnt_id:\t1\n");  // O_PATH | O_CLOEXEC
    tree.write("/proc/1/fdinfo/1", "pos:\t0\nflags:\t02100002\nmnt_id:\t1\n");
    EXPECT_THAT(find().holders, ElementsAre(Holder{"", 1, 1, "python3", {"nvidia-uvm"}}));
}

TEST_F(WorkerHolders, a_name_is_made_printable) {
    add_process(1, "/", {null}, "\x1b[31m\n\xff: is me");
    EXPECT_EQ(find().holders.at(0).name, "\xef\xbf\xbd[31m \xef\xbf\xbd: is me");
}

TEST_F(WorkerHolders, processes_that_end_meanwhile_are_left_out) {
    add_process(1, "/", {null});
    std::filesystem::create_directories(tree.at("/proc/2"));
    std::filesystem::create_directories(tree.at("/proc/3/fd"));
    EXPECT_THAT(find().holders, SizeIs(1));
}

TEST_F(WorkerHolders, what_is_beyond_the_limits_is_said) {
    for (unsigned pid = 1; pid <= 5; ++pid) add_process(pid, "/", {null});
    const Holders found = find({.holders = 3});
    EXPECT_THAT(found.holders, SizeIs(3));
    EXPECT_THAT(found.notes, ElementsAre(HasSubstr("and later ones were not looked at")));
    EXPECT_THAT(find({.files = 2}).holders, SizeIs(2));
    EXPECT_THAT(find({.files = 2}).notes, ElementsAre(HasSubstr("were not looked at")));
    EXPECT_THAT(find({.holders = 6, .files = 6}).notes, IsEmpty());
}

TEST_F(WorkerHolders, a_process_with_too_much_open_is_said_to_be) {
    add_process(1, "/", {full, full, full, full});
    add_process(2, "/", {null});
    const Holders found = find({.files_of_one = 3});
    EXPECT_THAT(found.notes, ElementsAre("process 1 has too much open: 3 files were looked at"));
    EXPECT_THAT(found.holders, SizeIs(1));
}

TEST_F(WorkerHolders, no_proc_is_a_failure) {
    EXPECT_THROW(find_holders(request, tree.at("/nothing")), std::runtime_error);
}

// The kernel's own /proc: a child that holds the device, and lets it go.
TEST_F(WorkerHolders, finds_a_process_of_this_very_host) {
    struct stat status{};
    ASSERT_EQ(::stat("/dev/full", &status), 0);
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const int fd = ::open("/dev/full", O_RDWR);
        if (fd < 0 || ::open("/dev/full", O_PATH) < 0 || ::write(ready[1], "!", 1) != 1) ::_exit(1);
        ::pause();
        ::_exit(0);
    }
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    request.nodes = {{"nvidia7", 1, 7}};
    const auto is_child = [&](const Holder& holder) { return holder.pid == static_cast<unsigned>(child); };
    const auto holders = find_holders(request).holders;
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
    ::close(ready[1]);
    const auto found = std::find_if(holders.begin(), holders.end(), is_child);
    ASSERT_NE(found, holders.end());
    EXPECT_THAT(found->nodes, ElementsAre("nvidia7"));
    EXPECT_EQ(found->name, "unit_tests");
    const auto later = find_holders(request).holders;
    EXPECT_TRUE(std::none_of(later.begin(), later.end(), is_child));
}

}  // namespace
}  // namespace cuda_nspawn
