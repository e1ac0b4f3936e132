#include "worker/diagnosis_protocol.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace cuda_nspawn {
namespace {

using ::testing::StartsWith;

// Each member has a value that is not its default, and no two of a type the same one, so that none can be left out or
// taken for another.
HostEvidence whole_host() {
    HostEvidence host;
    host.kernel_release = "6.12";
    host.modules = {"nvidia", "nouveau"};
    host.pci = {{"0000:01:00.0", 0x0302, "vfio-pci"}};
    host.nodes = {{"/dev/nvidia0", 195, 7, 0660, 18'000'000'000'000'000'000u}};
    host.majors = {{"nvidia", 195}, {"nvidia-uvm", 510}};
    host.unified_cgroups = false;
    host.secure_boot = true;
    host.iommu = true;
    host.mig_gpus = {1, 4};
    host.kernel_log = {"NVRM: one", "two"};
    host.sockets = {"/run/nvidia-persistenced/socket"};
    host.fabric_manager = true;
    return host;
}

MachineEvidence whole_machine() {
    MachineEvidence machine;
    machine.settings = {SettingsOrigin::untrusted, "/var/lib/machines/a.nspawn", ""};
    machine.settings_lines = {{"Exec", "Boot", "yes", 3}};
    machine.binds = {{4, "/from", "/to", false, true}};
    machine.settings_notes = {"a note"};
    machine.unit = {{"/etc/x.conf", 5, "DeviceAllow", "/dev/x rw"}};
    machine.unit_log = {"Failed to x"};
    return machine;
}

Guest whole_guest() {
    Guest guest;
    guest.os_id = "debian";
    guest.os_name = "Debian";
    guest.libc = Libc::musl;
    guest.libc_version = "2.41";
    guest.architecture = "x86-64";
    guest.has_systemd = true;
    guest.has_ldconfig = true;
    guest.library_directories = {"/lib", "/usr/lib"};
    guest.before_fragment = 1;
    guest.bundled = {{"/a/libcuda.so.1", "535.1", BundledKind::empty}};
    guest.toolkits = {{"/usr/local/cuda", "12.4.1"}};
    return guest;
}

GuestSoftware whole_software() {
    GuestSoftware software;
    software.libraries = {{"/b/libcuda.so.1", "550.1", BundledKind::stub}};
    software.compat = {{"/c/libcuda.so.1", "560.1", CompatNote{"12.6", {535, 550}}}, {"/d", "1", std::nullopt}};
    software.packages = {{PackageKind::conda, "torch", "2.4.0", "12.1", "/opt/venv"}};
    software.environment = {{"/etc/environment", 6, "worker.service", "LD_PRELOAD", "/x"}};
    software.cached_libcuda = {"/e/libcuda.so.1"};
    software.has_cache = true;
    software.reads_fragments = false;
    software.container_tools = {"/usr/bin/docker"};
    software.has_cdi_spec = true;
    software.notes = {"too much"};
    return software;
}

Program whole_program() {
    Program program;
    program.path = "/opt/train";
    program.problem = "none";
    program.script_of = "/usr/bin/python3";
    program.architecture = "x86";
    program.is_64bit = false;
    program.interpreter = "/lib/ld.so";
    program.has_interpreter = false;
    program.needed_glibc = "2.34";
    program.library_path = "/opt/lib";
    program.libraries = {{"libcudart.so.12", "/f/libcudart.so.12", FoundBy::rpath, "/opt/train", "12.4"}};
    program.libcuda = LoadedLibrary{"libcuda.so.1", "/g/libcuda.so.1", FoundBy::cache, "/h", "535.2"};
    program.cudart = "12";
    return program;
}

TEST(WorkerDiagnosisProtocol, a_request_for_a_survey_survives_the_way) {
    const SurveyRequest read = parse_survey_request(to_json(SurveyRequest{{"a", "b"}, false}));
    EXPECT_EQ(read.machines, (std::vector<std::string>{"a", "b"}));
    EXPECT_FALSE(read.logs);
    EXPECT_TRUE(parse_survey_request(to_json(SurveyRequest{})).logs);
}

TEST(WorkerDiagnosisProtocol, a_survey_survives_the_way) {
    const SurveyReport read =
        parse_survey_report(to_json(SurveyReport{whole_host(), {{"a", whole_machine()}, {"b", {}}}}));
    EXPECT_EQ(read.host, whole_host());
    ASSERT_EQ(read.machines.size(), 2u);
    EXPECT_EQ(read.machines.at("a"), whole_machine());
    EXPECT_EQ(read.machines.at("b"), MachineEvidence{});
    EXPECT_EQ(parse_survey_report(to_json(SurveyReport{})).host, HostEvidence{});
}

TEST(WorkerDiagnosisProtocol, a_request_to_examine_survives_the_way) {
    const ExamineRequest read = parse_examine_request(
        to_json(ExamineRequest{.machines = {"a"}, .images = true, .program = "/p", .library_path = ""}));
    EXPECT_EQ(read.machines, std::vector<std::string>{"a"});
    EXPECT_TRUE(read.images);
    EXPECT_EQ(read.program, "/p");
    EXPECT_EQ(read.library_path, "") << "an empty one is not none";
    EXPECT_EQ(parse_examine_request(to_json(ExamineRequest{})).library_path, std::nullopt);
}

TEST(WorkerDiagnosisProtocol, what_was_examined_survives_the_way) {
    const Examined whole{"/var/lib/machines/a", whole_guest(), whole_software(), whole_program(), "a failure"};
    EXPECT_EQ(parse_examined(to_json(whole)), whole);
    EXPECT_EQ(parse_examined(to_json(Examined{})), Examined{});
    const ExamineReport report{{"a", whole}, {"b", {}}};
    EXPECT_EQ(parse_examine_report(to_json(report)), report);
}

TEST(WorkerDiagnosisProtocol, all_kinds_have_their_numbers) {
    Examined examined;
    for (const Libc libc : {Libc::none, Libc::glibc, Libc::musl}) {
        examined.guest = whole_guest();
        examined.guest->libc = libc;
        EXPECT_EQ(parse_examined(to_json(examined)), examined);
    }
    for (const BundledKind kind : {BundledKind::copy, BundledKind::compat, BundledKind::stub, BundledKind::empty}) {
        examined.guest->bundled.front().kind = kind;
        EXPECT_EQ(parse_examined(to_json(examined)), examined);
    }
    examined.program = whole_program();
    for (const FoundBy by : {FoundBy::rpath, FoundBy::library_path, FoundBy::runpath, FoundBy::cache,
                             FoundBy::standard_directory, FoundBy::none}) {
        examined.program->libcuda->by = by;
        EXPECT_EQ(parse_examined(to_json(examined)), examined);
    }
}

// A guest's files need not be UTF-8, and a sentence of the daemon has to be.
TEST(WorkerDiagnosisProtocol, text_that_is_no_utf_8_is_replaced) {
    Examined examined;
    examined.path = "/\xff";
    EXPECT_EQ(parse_examined(to_json(examined)).path, "/\xef\xbf\xbd");
}

template <class Parse>
std::string error_of(Parse parse, std::string_view text) {
    try {
        parse(text);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

TEST(WorkerDiagnosisProtocol, what_cannot_be_read_is_a_sentence) {
    for (const std::string_view text :
         {"", "{", "null", "7", "[1]", "\"x\"", "{\"machines\":7}", "{\"host\":{}}", "{\"a\":{\"path\":7}}", "\xff"}) {
        EXPECT_THAT(error_of(parse_survey_request, text), StartsWith("the request cannot be read: ")) << text;
        EXPECT_THAT(error_of(parse_examine_request, text), StartsWith("the request cannot be read: ")) << text;
        EXPECT_THAT(error_of(parse_survey_report, text), StartsWith("the report cannot be read: ")) << text;
        EXPECT_THAT(error_of(parse_examined, text), StartsWith("what was examined cannot be read: ")) << text;
    }
    for (const std::string_view text : {"", "{", "7", "[1]", "{\"a\":{\"path\":7}}", "{\"a\":{}}", "\xff"})
        EXPECT_THAT(error_of(parse_examine_report, text), StartsWith("the report cannot be read: ")) << text;
}

TEST(WorkerDiagnosisProtocol, a_member_that_is_missing_or_of_another_type_is_a_sentence) {
    std::string report = to_json(ExamineReport{{"a", {}}});
    EXPECT_EQ(error_of(parse_examine_report, report), "");
    for (const auto& [from, to] : {std::pair("\"failure\"", "\"failures\""), std::pair("\"path\":\"\"", "\"path\":[]"),
                                   std::pair("\"guest\":null", "\"guest\":{}")}) {
        std::string broken = report;
        const std::size_t place = broken.find(from);
        ASSERT_NE(place, std::string::npos) << from;
        broken.replace(place, std::string_view(from).size(), to);
        EXPECT_THAT(error_of(parse_examine_report, broken), StartsWith("the report cannot be read: ")) << to;
    }
}

}  // namespace
}  // namespace cuda_nspawn
