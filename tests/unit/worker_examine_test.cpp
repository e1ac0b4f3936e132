#include "worker/examine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "driver_fixture.hpp"
#include "guest/rootfs_reader.hpp"
#include "guest_tree.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::TemporaryTree;

std::vector<std::string> machines_of(const ExamineReport& report) {
    std::vector<std::string> names;
    for (const auto& [machine, examined] : report) names.push_back(machine);
    return names;
}

class WorkerExamine : public ::testing::Test {
protected:
    WorkerExamine() {
        host.root = tree.at("/root");
        host.cache = tree.at("/cache");
        std::filesystem::create_directories(host.root);
        std::filesystem::create_directories(host.cache);
    }
    static std::string path_of(const std::string& machine, const std::string& path) {
        return "/root/var/lib/machines/" + machine + path;
    }
    void write(const std::string& machine, const std::string& path, const std::string& text) const {
        tree.write(path_of(machine, path), text);
    }
    void add_debian(const std::string& machine, const std::string& glibc = "2.36") const {
        for (const auto& [path, content] : debian(glibc).files) write(machine, path, content);
        write(machine, "/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
    }
    ExamineReport run(const ExamineRequest& request) const { return examine(request, host); }
    ExamineReport audit() const { return run({}); }
    Examined of(const std::string& machine) const {
        ExamineRequest request;
        request.machines = {machine};
        return run(request).at(machine);
    }
    std::string os_in_audit(const std::string& machine) const { return audit().at(machine).guest.value().os_name; }

    // Another system's name in what is remembered: who says it has not looked.
    void forge(const std::string& machine, const std::string& key = "", const std::string& value = "") const {
        const std::string file = "/cache/" + machine + ".json";
        auto json = nlohmann::json::parse(tree.read(file));
        Examined examined = parse_examined(json.at("examined").get<std::string>());
        examined.guest->os_name = "remembered";
        json["examined"] = to_json(examined);
        if (!key.empty()) json[key] = value;
        tree.write(file, json.dump());
    }

    TemporaryTree tree;
    ExamineHost host;
};

const std::string bookworm = "Debian GNU/Linux 12 (bookworm)";

// --- one machine -----------------------------------------------------------------------------------------------------

TEST_F(WorkerExamine, looks_into_the_root_file_system_of_a_machine) {
    add_debian("a");
    write("a", "/etc/environment", "LD_PRELOAD=/opt/x/libcuda.so.1\n");
    const Examined examined = of("a");
    EXPECT_EQ(examined.path, "/var/lib/machines/a");
    ASSERT_TRUE(examined.guest && examined.software);
    EXPECT_EQ(examined.guest->os_name, bookworm);
    EXPECT_EQ(examined.guest->libc_version, "2.36");
    ASSERT_EQ(examined.software->environment.size(), 1u);
    EXPECT_EQ(examined.software->environment.front().name, "LD_PRELOAD");
    EXPECT_FALSE(examined.program) << "none was asked about";
    EXPECT_EQ(examined.failure, "");
    EXPECT_THAT(tree.read("/cache/a.json"), IsEmpty()) << "only an audit is remembered";
}

TEST_F(WorkerExamine, looks_at_the_program_that_is_asked_about) {
    add_debian("a");
    ExamineRequest request{.machines = {"a"}, .images = false, .program = "/opt/train", .library_path = "/opt/lib"};
    const auto program = run(request).at("a").program;
    ASSERT_TRUE(program);
    EXPECT_EQ(program->path, "/opt/train");
    EXPECT_THAT(program->problem, Not(IsEmpty())) << "there is none";
    write("a", "/opt/train", testing::make_elf({.interpreter = "/lib64/ld-linux-x86-64.so.2"}));
    EXPECT_EQ(run(request).at("a").program.value().problem, "");
    EXPECT_EQ(run(request).at("a").program.value().library_path, "/opt/lib");
}

TEST_F(WorkerExamine, needs_no_software_of_a_guest_that_cannot_run_the_driver) {
    write("a", "/etc/os-release", "ID=alpine\nPRETTY_NAME=Alpine\n");
    write("a", "/lib/ld-musl-x86_64.so.1", elf(x86_64));
    const Examined examined = of("a");
    EXPECT_EQ(examined.guest.value().libc, Libc::musl);
    EXPECT_FALSE(examined.software);
}

TEST_F(WorkerExamine, tells_of_a_machine_without_an_image_that_it_has_none) { EXPECT_EQ(of("a"), Examined{}); }

TEST_F(WorkerExamine, tells_why_an_image_was_not_looked_into) {
    tree.write("/root/var/lib/machines/a.raw", "no file system");
    ExamineRequest request;
    request.machines = {"a"};
    EXPECT_EQ(run(request).at("a").failure, "") << "nobody asked for raw images";
    request.images = true;
    const Examined examined = run(request).at("a");
    EXPECT_EQ(examined.path, "/var/lib/machines/a.raw");
    EXPECT_THAT(examined.failure, Not(IsEmpty()));
    EXPECT_FALSE(examined.guest);
}

TEST_F(WorkerExamine, leaves_out_what_is_no_name_of_a_machine) {
    add_debian("a");
    tree.write("/root/secret/etc/os-release", "ID=secret\n");
    ExamineRequest request;
    request.machines = {"../../../secret", "a", "", "a/../a", ".", "b c", "a\nb"};
    EXPECT_THAT(machines_of(run(request)), ElementsAre("a"));
}

TEST_F(WorkerExamine, reaches_nothing_of_the_host_through_a_guests_links) {
    add_debian("a");
    tree.write("/root/var/lib/machines/host-release", "ID=host\nPRETTY_NAME=host\n");
    tree.link(path_of("a", "/etc/os-release"), "../../host-release");
    EXPECT_EQ(of("a").guest.value().os_name, "");
}

// --- all of them -----------------------------------------------------------------------------------------------------

TEST_F(WorkerExamine, audits_all_images) {
    add_debian("a");
    add_debian("b", "2.41");
    tree.write("/root/var/lib/machines/raw.raw", "no file system");
    tree.write("/root/var/lib/machines/no image", "");
    const ExamineReport report = audit();
    EXPECT_THAT(machines_of(report), ElementsAre("a", "b", "raw"));
    EXPECT_EQ(report.at("b").guest.value().libc_version, "2.41");
    EXPECT_EQ(report.at("raw").path, "/var/lib/machines/raw.raw");
    EXPECT_FALSE(report.at("raw").guest) << "that takes --images";
    EXPECT_EQ(report.at("raw").failure, "");
}

TEST_F(WorkerExamine, takes_from_the_last_audit_what_has_not_changed) {
    add_debian("a");
    EXPECT_EQ(os_in_audit("a"), bookworm);
    forge("a");
    EXPECT_EQ(os_in_audit("a"), "remembered");
    EXPECT_EQ(of("a").guest.value().os_name, bookworm) << "who asks for one wants to know what is there now";
}

TEST_F(WorkerExamine, remembers_all_that_it_found) {
    add_debian("a");
    write("a", "/etc/environment", "LD_PRELOAD=/opt/x/libcuda.so.1\n");
    const Examined first = audit().at("a");
    EXPECT_EQ(audit().at("a"), first);
    EXPECT_EQ(of("a"), first);
}

TEST_F(WorkerExamine, looks_again_where_something_that_it_asked_for_has_changed) {
    add_debian("a");
    const auto looks_again_after = [&](const char* what, const auto& change) {
        audit();
        forge("a");
        EXPECT_EQ(os_in_audit("a"), "remembered") << "before: " << what;
        change();
        EXPECT_NE(os_in_audit("a"), "remembered") << what;
    };
    looks_again_after("a file", [&] { write("a", "/etc/ld.so.conf", "/opt/x\ninclude /etc/ld.so.conf.d/*.conf\n"); });
    looks_again_after("a file that was not there", [&] { write("a", "/etc/environment", "A=B\n"); });
    looks_again_after("a file that is gone",
                      [&] { std::filesystem::remove(tree.at(path_of("a", "/etc/environment"))); });
    looks_again_after("a name in a directory", [&] { write("a", "/etc/ld.so.conf.d/x.conf", "/opt/lib\n"); });
    looks_again_after("a name in one that is named there", [&] { write("a", "/opt/lib/libcuda.so.1", "old"); });
    write("a", "/etc/one", "ID=one\nPRETTY_NAME=one\n");
    write("a", "/etc/two", "ID=two\nPRETTY_NAME=two\n");
    looks_again_after("a file in place of another", [&] { tree.link(path_of("a", "/etc/os-release"), "one"); });
    looks_again_after("where a link leads", [&] { tree.link(path_of("a", "/etc/os-release"), "two"); });
    EXPECT_EQ(os_in_audit("a"), "two");
}

TEST_F(WorkerExamine, does_not_look_again_for_what_it_never_asked_for) {
    add_debian("a");
    audit();
    forge("a");
    write("a", "/var/log/syslog", "something\n");
    EXPECT_EQ(os_in_audit("a"), "remembered");
}

TEST_F(WorkerExamine, looks_again_after_another_version_or_for_an_image_elsewhere) {
    add_debian("a");
    audit();
    forge("a", "version", "0.0.0");
    EXPECT_EQ(os_in_audit("a"), bookworm);
    forge("a", "image", "/var/lib/machines/elsewhere");
    EXPECT_EQ(os_in_audit("a"), bookworm);
    forge("a");
    EXPECT_EQ(os_in_audit("a"), "remembered") << "it is remembered anew";
}

TEST_F(WorkerExamine, looks_again_where_what_was_remembered_is_of_no_use) {
    add_debian("a");
    for (const char* text : {"", "{", "[]", "{}", "null", "\"x\"", R"({"version":1,"image":2,"paths":3,"stamp":4})"}) {
        tree.write("/cache/a.json", text);
        EXPECT_EQ(os_in_audit("a"), bookworm) << text;
    }
    audit();
    auto json = nlohmann::json::parse(tree.read("/cache/a.json"));
    json["examined"] = "{\"path\":";
    tree.write("/cache/a.json", json.dump());
    EXPECT_EQ(os_in_audit("a"), bookworm);
    std::filesystem::remove_all(host.cache);
    EXPECT_EQ(os_in_audit("a"), bookworm) << "nothing can be remembered";
    host.cache.clear();
    EXPECT_EQ(os_in_audit("a"), bookworm) << "nothing shall be remembered";
}

TEST_F(WorkerExamine, forgets_images_that_are_gone) {
    add_debian("a");
    add_debian("b.c");
    audit();
    tree.write("/cache/b.c.json.new", "cut off");
    std::filesystem::remove_all(tree.at(path_of("a", "")));
    of("b.c");
    EXPECT_TRUE(std::filesystem::exists(tree.at("/cache/a.json"))) << "a look at one tells nothing of others";
    audit();
    std::vector<std::string> kept;
    for (const auto& entry : std::filesystem::directory_iterator(host.cache)) kept.push_back(entry.path().filename());
    EXPECT_THAT(kept, ElementsAre("b.c.json"));
}

TEST_F(WorkerExamine, does_not_remember_a_look_that_was_cut_short) {
    add_debian("a");
    for (int i = 0; i < 4100; ++i) write("a", "/etc/profile.d/" + std::to_string(i), "");
    const Examined examined = audit().at("a");
    ASSERT_TRUE(examined.software);
    ASSERT_THAT(examined.software->notes, Not(IsEmpty()));
    EXPECT_FALSE(std::filesystem::exists(tree.at("/cache/a.json")));
}

// --- what was asked for ----------------------------------------------------------------------------------------------

TEST_F(WorkerExamine, writes_down_each_path_that_is_asked_for_once_and_in_order) {
    const FakeTree fake = debian();
    const RecordingTree recording(fake);
    EXPECT_EQ(recording.read("/etc/os-release", 3), "PRE");
    recording.list("/a", 10);
    EXPECT_TRUE(recording.is_file("/sbin/ldconfig"));
    recording.read("/etc/os-release", 100);
    EXPECT_FALSE(recording.is_directory("/b"));
    recording.find("/c");
    EXPECT_EQ(recording.open("/d"), nullptr);
    EXPECT_NE(recording.open("/sbin/ldconfig"), nullptr);
    EXPECT_THAT(recording.paths(), ElementsAre("/etc/os-release", "/a", "/sbin/ldconfig", "/b", "/c", "/d"));
}

TEST_F(WorkerExamine, stamps_what_stands_at_the_paths) {
    tree.write("/root/a", "one");
    tree.write("/root/b", "one");
    const RootfsReader reader(host.root);
    const std::string stamp = stamp_of(reader, {"/a", "/b"});
    EXPECT_EQ(stamp.size(), 16u);
    EXPECT_EQ(stamp_of(reader, {"/a", "/b"}), stamp);
    EXPECT_NE(stamp_of(reader, {"/b", "/a"}), stamp);
    EXPECT_NE(stamp_of(reader, {"/a"}), stamp);
    std::filesystem::rename(tree.at("/root/b"), tree.at("/root/c"));
    EXPECT_NE(stamp_of(reader, {"/a", "/b"}), stamp);
}

TEST_F(WorkerExamine, stamps_what_stood_there_before_it_was_read) {
    tree.write("/root/a", "one");
    const RootfsReader reader(host.root);
    const RecordingTree recording(reader);
    recording.read("/a", 10);
    EXPECT_EQ(recording.stamp(), stamp_of(reader, recording.paths()));
    tree.write("/root/a", "other");
    EXPECT_NE(recording.stamp(), stamp_of(reader, recording.paths()));
}

}  // namespace
}  // namespace cuda_nspawn
