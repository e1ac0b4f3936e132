#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <functional>

#include "driver/generation.hpp"
#include "driver_fixture.hpp"
#include "elf/file_descriptor.hpp"

namespace cuda_nspawn {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::elf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string version = "580.159.04";
const std::string directory = "/usr/lib64";
const std::string cuda = "libcuda.so." + version;

class Generation : public testing::HostFixture {
protected:
    Generation() {
        add_kernel(version);
        add_library(directory, "libcuda", version);
        add_library(directory, "libnvidia-allocator", version);
        add_library(directory, "libEGL_nvidia", version, "0");
        add("/usr/share/glvnd/egl_vendor.d/10_nvidia.json",
            R"({"ICD":{"library_path":"/usr/lib64/libEGL_nvidia.so.0"}})");
        add("/usr/lib/i386-linux-gnu/" + cuda, testing::elf32("libcuda.so.1"));
        add("/usr/lib/firmware/nvidia/" + version + "/gsp_ga10x.bin", std::string(3'000'000, 'f'));
        tree.write_program("/root/usr/bin/nvidia-smi", elf());
        fs::create_directories(store());
    }

    fs::path store() const { return tree.at("/store"); }
    std::string in_generation(const std::string& path) const { return "/store/" + name() + "/" + path; }
    std::string name() const { return generation_name(discover()); }
    bool build() const { return build_generation(discover(), name(), store(), tree.at("/root")); }
    bool is_complete() const { return generation_is_complete(name(), store()); }

    std::vector<std::string> in_store() const {
        std::vector<std::string> result;
        for (const auto& entry : fs::directory_iterator(store())) result.push_back(entry.path().filename());
        std::ranges::sort(result);
        return result;
    }
    template <class Function>
    static std::string failure(Function function) {
        try {
            function();
        } catch (const std::exception& error) {
            return error.what();
        }
        return "no exception";
    }
};

TEST_F(Generation, has_every_file_in_its_place_with_its_links) {
    EXPECT_TRUE(build());
    EXPECT_TRUE(is_complete());
    EXPECT_EQ(tree.read(in_generation("compute/lib/" + cuda)), elf("libcuda.so.1"));
    EXPECT_EQ(fs::read_symlink(tree.at(in_generation("compute/lib/libcuda.so.1"))), cuda);
    EXPECT_EQ(tree.read(in_generation("compute/lib/libcuda.so")), elf("libcuda.so.1"));
    EXPECT_EQ(tree.read(in_generation("compute/lib/gbm/nvidia-drm_gbm.so")), elf("libnvidia-allocator.so.1"));
    EXPECT_EQ(tree.read(in_generation("utility/bin/nvidia-smi")), elf());
    EXPECT_EQ(tree.read(in_generation("compat32/lib32/libcuda.so.1")), testing::elf32("libcuda.so.1"));
    EXPECT_EQ(tree.read(in_generation("compute/firmware/nvidia/" + version + "/gsp_ga10x.bin")),
              std::string(3'000'000, 'f'));
    EXPECT_THAT(tree.read(in_generation("graphics/share/glvnd/egl_vendor.d/10_nvidia.json")),
                HasSubstr("\"libEGL_nvidia.so.0\""));
    EXPECT_THAT(in_store(), ElementsAre(name()));
}

TEST_F(Generation, can_be_read_by_everyone_whatever_the_umask) {
    const auto umask = ::umask(0077);
    build();
    ::umask(umask);
    for (const auto& entry : fs::recursive_directory_iterator(store())) {
        if (entry.is_symlink()) continue;
        const bool executable = entry.is_directory() || entry.path().filename() == "nvidia-smi";
        EXPECT_EQ(static_cast<unsigned>(fs::status(entry).permissions()), executable ? 0755U : 0644U) << entry.path();
    }
}

TEST_F(Generation, has_no_absolute_link) {
    build();
    for (const auto& entry : fs::recursive_directory_iterator(store()))
        EXPECT_TRUE(!entry.is_symlink() || (fs::read_symlink(entry).is_relative() && fs::exists(entry)))
            << entry.path();
}

TEST_F(Generation, is_left_alone_when_it_is_complete) {
    build();
    const auto before = fs::last_write_time(tree.at(in_generation("manifest.json")));
    EXPECT_FALSE(build());
    EXPECT_EQ(fs::last_write_time(tree.at(in_generation("manifest.json"))), before);
}

TEST_F(Generation, is_rebuilt_when_it_is_damaged) {
    const std::vector<std::function<void()>> damages{
        [this] { fs::remove(tree.at(in_generation("compute/lib/" + cuda))); },
        [this] { fs::resize_file(tree.at(in_generation("compute/lib/" + cuda)), 10); },
        [this] { fs::remove(tree.at(in_generation("compute/lib/libcuda.so.1"))); },
        [this] {
            fs::remove(tree.at(in_generation("compute/lib/libcuda.so.1")));
            tree.link(in_generation("compute/lib/libcuda.so.1"), "/etc/passwd");
        },
        [this] { fs::remove(tree.at(in_generation("manifest.json"))); },
        [this] { tree.write(in_generation("manifest.json"), "{\"format\": 1, \"files\": ["); },
        [this] { tree.write(in_generation("manifest.json"), "{\"format\": 1, \"files\": []}"); },
        [this] { fs::remove_all(tree.at(in_generation("compat32"))); },
    };
    build();
    for (std::size_t i = 0; i < damages.size(); ++i) {
        damages[i]();
        EXPECT_FALSE(is_complete()) << i;
        EXPECT_TRUE(build()) << i;
        EXPECT_TRUE(is_complete()) << i;
        EXPECT_EQ(tree.read(in_generation("compute/lib/libcuda.so.1")), elf("libcuda.so.1")) << i;
        EXPECT_THAT(in_store(), ElementsAre(name())) << i;
    }
}

TEST_F(Generation, is_intact_when_it_is_what_it_was_copied_from) {
    build();
    const auto faults = verify_generation(name(), store(), tree.at("/root"));
    EXPECT_THAT(faults.damaged, IsEmpty());
    EXPECT_THAT(faults.unknown, IsEmpty());
}

TEST_F(Generation, tells_each_damage_byte_by_byte) {
    build();
    const auto damaged = [this] { return verify_generation(name(), store(), tree.at("/root")).damaged; };
    const std::string firmware = "compute/firmware/nvidia/" + version + "/gsp_ga10x.bin";
    auto bytes = tree.read(in_generation(firmware));
    bytes[2'500'000] = 'x';
    tree.write(in_generation(firmware), bytes);
    EXPECT_TRUE(is_complete()) << "by its sizes and links";
    EXPECT_THAT(damaged(),
                ElementsAre(firmware + " differs from /usr/lib/firmware/nvidia/" + version + "/gsp_ga10x.bin"));
    build();
    EXPECT_THAT(damaged(), ::testing::SizeIs(1)) << "a complete one is left alone";
    rebuild_generation(discover(), name(), store(), tree.at("/root"));
    EXPECT_THAT(damaged(), IsEmpty());
    EXPECT_THAT(in_store(), ElementsAre(name()));

    const std::string json = "graphics/share/glvnd/egl_vendor.d/10_nvidia.json";
    auto text = tree.read(in_generation(json));
    text[text.find("EGL")] = 'X';
    tree.write(in_generation(json), text);
    fs::remove(tree.at(in_generation("compute/lib/libcuda.so.1")));
    EXPECT_THAT(damaged(), ElementsAre("compute/lib/" + cuda + " or a link to it is missing, or is another",
                                       HasSubstr(json + " differs from")));
    tree.write(in_generation("manifest.json"), "{}");
    EXPECT_THAT(damaged(), ElementsAre(HasSubstr("manifest of a generation is damaged")));
    fs::remove(tree.at(in_generation("manifest.json")));
    EXPECT_THAT(damaged(), ElementsAre("its manifest.json cannot be read"));
    fs::remove_all(tree.at("/store/" + name()));
    EXPECT_THAT(damaged(), ElementsAre(HasSubstr("No such file or directory")));
}

TEST_F(Generation, has_nothing_to_be_compared_with_when_the_driver_went_on) {
    build();
    const auto before = name();
    add(directory + "/" + cuda, elf("libcuda.so.1") + "upgraded");
    fs::remove(tree.at("/root/usr/bin/nvidia-smi"));
    const auto faults = verify_generation(before, store(), tree.at("/root"));
    EXPECT_THAT(faults.damaged, IsEmpty());
    EXPECT_THAT(faults.unknown, ElementsAre("compute/lib/" + cuda + " cannot be compared: " + directory + "/" + cuda +
                                                " has changed since, or is gone",
                                            HasSubstr("utility/bin/nvidia-smi cannot be compared")));
}

TEST_F(Generation, is_always_there_while_it_is_rebuilt) {
    build();
    const auto path = tree.at(in_generation("manifest.json"));
    const pid_t reader = ::fork();
    ASSERT_GE(reader, 0);
    if (reader == 0) {
        for (;;)
            if (::access(path.c_str(), F_OK) != 0) ::_exit(errno == ENOENT ? 1 : 2);
    }
    const auto driver = discover();
    const auto target = name();
    for (int i = 0; i < 20; ++i) rebuild_generation(driver, target, store(), tree.at("/root"));
    int status = 0;
    EXPECT_EQ(::waitpid(reader, &status, WNOHANG), 0) << "it was missing for a moment";
    ::kill(reader, SIGKILL);
    ::waitpid(reader, &status, 0);
    EXPECT_THAT(in_store(), ElementsAre(target));
}

TEST_F(Generation, is_not_built_from_a_source_that_changed) {
    const auto driver = discover();
    const auto target = generation_name(driver);
    const auto try_build = [&] { build_generation(driver, target, store(), tree.at("/root")); };
    const auto source = tree.at("/root" + directory + "/" + cuda);

    add(directory + "/" + cuda, elf("libcuda.so.1") + "longer");
    EXPECT_THAT(failure(try_build),
                ::testing::AllOf(HasSubstr(directory + "/" + cuda + " has changed"), HasSubstr("try again")));
    fs::remove(source);
    EXPECT_THAT(failure(try_build), HasSubstr("cannot open " + directory + "/" + cuda));
    add_link(directory + "/" + cuda, "/usr/lib64/libnvidia-allocator.so." + version);
    EXPECT_THAT(failure(try_build), HasSubstr("cannot open " + directory + "/" + cuda));
    fs::remove(source);
    ASSERT_EQ(::mkfifo(source.c_str(), 0600), 0);
    EXPECT_THAT(failure(try_build), HasSubstr("cannot open " + directory + "/" + cuda));
    EXPECT_THAT(in_store(), IsEmpty());
}

TEST_F(Generation, refuses_names_that_leave_their_folder_or_clash) {
    auto driver = discover();
    const auto try_build = [&](const std::string& generation) {
        return failure([&] { build_generation(driver, generation, store(), tree.at("/root")); });
    };
    EXPECT_THAT(try_build("../x"), HasSubstr("no name of a generation"));
    EXPECT_THAT(try_build(".hidden"), HasSubstr("no name of a generation"));
    for (const auto* bad : {"../../escape", "/etc/passwd", "a/../b", "", "a//b", "a b", "x\n"}) {
        driver = discover();
        driver.files[0].links = {bad};
        EXPECT_THAT(try_build("580-a"), HasSubstr("cannot be a file name")) << bad;
        driver = discover();
        driver.files[0].name = bad;
        EXPECT_THAT(try_build("580-a"), HasSubstr("cannot be a file name")) << bad;
    }
    driver = discover();
    driver.files.push_back(driver.files[0]);
    EXPECT_THAT(try_build("580-a"), HasSubstr("two files of a generation have the name"));
    EXPECT_THAT(in_store(), IsEmpty());
    EXPECT_FALSE(fs::exists(tree.at("/escape")));
}

// A tmpfs of one megabyte, mounted nowhere: it ends with its descriptor.
FileDescriptor make_tiny_file_system() {
    const FileDescriptor context(::fsopen("tmpfs", FSOPEN_CLOEXEC));
    if (!context || ::fsconfig(context.get(), FSCONFIG_SET_STRING, "size", "1m", 0) < 0 ||
        ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0)
        return FileDescriptor();
    return FileDescriptor(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
}

TEST_F(Generation, leaves_the_store_as_it_was_when_the_disk_is_full) {
    const auto file_system = make_tiny_file_system();
    if (!file_system) GTEST_SKIP() << "needs root to make a small file system";
    const fs::path tiny_store = "/proc/self/fd/" + std::to_string(file_system.get()) + "/store";
    EXPECT_THAT(failure([&] { build_generation(discover(), name(), tiny_store, tree.at("/root")); }),
                ::testing::AllOf(HasSubstr("gsp_ga10x.bin"), HasSubstr("No space left on device")));
    EXPECT_TRUE(fs::is_empty(tiny_store));
}

TEST_F(Generation, takes_away_what_an_interrupted_build_left) {
    tree.write("/store/." + name() + ".a1B2c3/compute/lib/" + cuda, "half");
    tree.write("/store/.admin/notes", "x");
    EXPECT_TRUE(build());
    EXPECT_THAT(in_store(), ElementsAre(".admin", name()));
}

TEST_F(Generation, waits_for_another_build) {
    const FileDescriptor lock(::open((store().string() + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_EQ(::flock(lock.get(), LOCK_EX), 0);
    tree.write("/store/." + name() + ".a1B2c3/compute/lib/" + cuda, "in the making");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) ::_exit(build() ? 0 : 1);
    ::usleep(100'000);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, WNOHANG), 0) << "it did not wait";
    EXPECT_TRUE(fs::exists(tree.at("/store/." + name() + ".a1B2c3"))) << "it took away what another one builds";
    ASSERT_EQ(::flock(lock.get(), LOCK_UN), 0);
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(is_complete());
}

TEST_F(Generation, is_collected_unless_it_is_kept) {
    build();
    const auto first = name();
    add(directory + "/" + cuda, testing::make_elf({.soname = "libcuda.so.1", .build_id = "new"}));
    build();
    const auto second = name();
    ASSERT_NE(first, second);
    tree.write("/store/lost+found/x", "x");
    tree.write("/store/backup/x", "an admin's directory with the name of a generation");
    tree.write("/store/note", "x");
    tree.write("/store/." + first + ".a1B2c3/x", "x");

    EXPECT_THAT(collect_generations(store(), {first, second}), IsEmpty());
    EXPECT_THAT(collect_generations(store().string() + "/", {second}), ElementsAre(first));
    EXPECT_THAT(in_store(), ElementsAre(second, "backup", "lost+found", "note"));
    EXPECT_TRUE(is_complete());
}

TEST_F(Generation, is_not_collected_through_a_link) {
    build();
    fs::rename(tree.at("/store/" + name()), tree.at("/elsewhere"));
    tree.link("/store/" + name(), "../elsewhere");
    EXPECT_THAT(collect_generations(store(), {}), IsEmpty());
    EXPECT_TRUE(fs::exists(tree.at("/elsewhere/manifest.json")));
    EXPECT_FALSE(fs::exists(tree.at("/store/." + name())));
}

TEST_F(Generation, needs_no_store_to_be_collected) {
    EXPECT_THAT(collect_generations(tree.at("/none"), {}), IsEmpty());
}

TEST_F(Generation, has_a_manifest_that_can_be_read_back) {
    const auto driver = discover();
    const auto text = manifest_text(driver, "580-a");
    EXPECT_TRUE(text.ends_with("}\n"));
    auto expected = driver.files;
    for (auto& file : expected) {
        if (!file.text.empty()) file.size = file.text.size();
        file.text.clear();
    }
    EXPECT_EQ(parse_manifest(text), expected);
}

TEST_F(Generation, has_a_manifest_whose_faults_are_named) {
    const auto text = manifest_text(discover(), "580-a");
    const auto fault = [&text, this](const std::string& from, const std::string& to) {
        auto changed = text;
        const auto at = changed.find(from);
        if (at == std::string::npos) return std::string("nothing to change");
        changed.replace(at, from.size(), to);
        return failure([&changed] { parse_manifest(changed); });
    };
    EXPECT_THAT(fault("\"format\": 1", "\"format\": 2"), HasSubstr("format is 2"));
    EXPECT_THAT(fault("\"compute\"", "\"compote\""), HasSubstr("unknown capability \"compote\""));
    EXPECT_THAT(fault("\"library\"", "\"book\""), HasSubstr("unknown kind \"book\""));
    EXPECT_THAT(fault("\"size\"", "\"sise\""), HasSubstr("size"));
    EXPECT_THAT(fault("\"libcuda.so.1\"", "\"../../../x\""), HasSubstr("cannot be a file name"));
    EXPECT_THAT(failure([] { parse_manifest("[]"); }), HasSubstr("manifest of a generation is damaged"));
    EXPECT_THAT(failure([] { parse_manifest(""); }), HasSubstr("manifest of a generation is damaged"));
}

TEST(GenerationName, is_a_plain_file_name) {
    for (const auto* name : {"580.159.04-0123456789abcdef", "a", "999.42.01"})
        EXPECT_TRUE(is_generation_name(name)) << name;
    for (const auto* name : {"", ".", "..", ".a", "a/b", "a b", "a_b", "lost+found", "a\n", "\xc3\xa9"})
        EXPECT_FALSE(is_generation_name(name)) << name;
    EXPECT_TRUE(is_generation_name(std::string(128, 'a')));
    EXPECT_FALSE(is_generation_name(std::string(129, 'a')));
}

TEST(GenerationLayout, puts_each_kind_into_its_folder) {
    DriverFile file;
    file.capability = Capability::utility;
    file.kind = FileKind::program;
    file.name = "nvidia-smi";
    EXPECT_EQ(generation_path(file), "utility/bin/nvidia-smi");
    EXPECT_EQ(link_target(file, "smi"), "nvidia-smi");
    EXPECT_EQ(link_target(file, "a/b/smi"), "../../nvidia-smi");
    EXPECT_EQ(generation_folder(FileKind::library32), "lib32");
}

}  // namespace
}  // namespace cuda_nspawn
