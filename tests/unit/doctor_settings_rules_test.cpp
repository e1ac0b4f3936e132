#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "doctor/catalogue.hpp"
#include "doctor/rules.hpp"
#include "doctor_evidence.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* settings_file = "/etc/systemd/nspawn/trainer.nspawn";
constexpr const char* drop_in = "/etc/systemd/system/systemd-nspawn@trainer.service.d/60-mine.conf";

Findings in_settings(const Evidence& evidence) { return found(find_in_settings, evidence); }
Finding in_settings(const Evidence& evidence, std::string_view code) {
    EXPECT_LT(rank_of(code), finding_catalogue().size()) << code;
    return only(in_settings(evidence), code);
}

Evidence with_settings() {
    Evidence evidence = healthy();
    evidence.on_host.settings = {SettingsOrigin::trusted, settings_file, ""};
    return evidence;
}
Evidence with_bind(const SettingsBind& bind) {
    Evidence evidence = with_settings();
    evidence.on_host.binds = {bind};
    return evidence;
}
Evidence with_unit(const std::string& key, const std::string& value, const std::string& path = drop_in) {
    Evidence evidence = healthy();
    evidence.on_host.unit = {{path, 3, key, value}};
    return evidence;
}
constexpr const char* drop_unit_line =
    "sed -i '3s/^/#/' /etc/systemd/system/systemd-nspawn@trainer.service.d/60-mine.conf && "
    "systemctl daemon-reload";
// What an error is worth at once.
const std::string restarts = " && cuda-nspawnctl attach trainer && systemctl restart systemd-nspawn@trainer.service";

TEST(DoctorSettingsRules, say_nothing_where_nothing_is_set) {
    EXPECT_THAT(in_settings(healthy()), IsEmpty());
    EXPECT_THAT(in_settings(with_settings()), IsEmpty());
}

// --- the settings file -----------------------------------------------------------------------------------------------

// What the composing of such a file complains of.
std::vector<std::string> errors_of(const std::string& text) {
    const auto composed = compose_settings("trainer", "/p", {SettingsOrigin::trusted, settings_file, text},
                                           "/run/cuda-nspawn/machines/"
                                           "trainer",
                                           "/var/lib/cuda-nspawn/driver");
    std::vector<std::string> errors;
    for (const Diagnostic& error : composed.errors) errors.push_back(to_string(error));
    return errors;
}

TEST(DoctorSettingsRules, name_the_line_of_a_settings_file_that_is_broken) {
    Evidence evidence = with_settings();
    evidence.expose_errors = errors_of("[Exec]\nBoot\n");
    ASSERT_EQ(evidence.expose_errors.size(), 1u);
    const Finding finding = in_settings(evidence, "settings-broken");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("/etc/systemd/nspawn/trainer.nspawn:2"));
    EXPECT_EQ(finding.evidence, evidence.expose_errors);
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_EQ(finding.fix, "Mend that line: systemd.nspawn(5)");
}

TEST(DoctorSettingsRules, know_a_settings_file_that_collides_with_ours) {
    for (const char* text : {"[Files]\nBind=/srv:/run/cuda-nspawn\n", "[Exec]\nEnvironment=SYSTEMD_UNIT_PATH=/x:\n"}) {
        Evidence evidence = with_settings();
        evidence.expose_errors = errors_of(text);
        const Finding finding = in_settings(evidence, "settings-collide");
        EXPECT_EQ(finding.severity, FindingSeverity::error) << text;
        EXPECT_THAT(finding.text, HasSubstr("/etc/systemd/nspawn/trainer.nspawn:2")) << text;
        EXPECT_EQ(finding.evidence, evidence.expose_errors);
        EXPECT_THAT(finding.fix, HasSubstr("Take that line out of the settings file"));
    }
}

constexpr const char* drop_settings_line = "sed -i '4s/^/#/' /etc/systemd/nspawn/trainer.nspawn";

TEST(DoctorSettingsRules, miss_what_a_bind_is_to_bring) {
    const Finding finding = in_settings(with_bind({4, "/srv/data", "/data", false, false}), "bind-source-missing");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "/etc/systemd/nspawn/trainer.nspawn:4 binds /srv/data, which is not on the host: the machine does not "
              "start.");
    EXPECT_THAT(finding.evidence, ElementsAre("/etc/systemd/nspawn/trainer.nspawn:4: /srv/data on /data"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, drop_settings_line + restarts);
    Evidence down = with_bind({4, "/srv/data", "/data", false, false});
    down.running.reset();
    EXPECT_EQ(in_settings(down, "bind-source-missing").fix,
              std::string(drop_settings_line) + " && systemctl start cuda-nspawn@trainer.service");
}

TEST(DoctorSettingsRules, say_that_binds_for_the_driver_are_not_needed) {
    for (const char* source : {"/dev/nvidia0", "/usr/lib/x86_64-linux-gnu/libcuda.so.535.183.01"})
        EXPECT_THAT(in_settings(with_bind({4, source, source, false, false}), "bind-source-missing").text,
                    AllOf(HasSubstr("the driver was upgraded"), HasSubstr("what it needs without that")))
            << source;
}

TEST(DoctorSettingsRules, know_a_node_that_is_bound_by_hand) {
    const Finding finding = in_settings(with_bind({4, "/dev/nvidia0", "/dev/nvidia0"}), "node-bound-by-hand");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, HasSubstr("trainer.nspawn:4 binds the host's node /dev/nvidia0"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, drop_settings_line);
}

TEST(DoctorSettingsRules, know_a_directory_of_libraries_over_the_guests) {
    const std::string directory = "/usr/lib/x86_64-linux-gnu";
    const Finding finding = in_settings(with_bind({4, directory, directory, true, true}), "library-directory-bound");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("over the guest's " + directory), HasSubstr("name resolution")));
    EXPECT_EQ(finding.fix, drop_settings_line + restarts);
    EXPECT_THAT(in_settings(with_bind({4, "/opt/libraries", "/opt/libraries", true, true})), IsEmpty());
    EXPECT_THAT(in_settings(with_bind({4, directory, directory + "/nvidia", true, true})), IsEmpty());
}

TEST(DoctorSettingsRules, know_a_library_of_the_hosts_over_the_guests) {
    const std::string library = "/usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04";
    const Finding finding = in_settings(with_bind({4, library, library}), "host-library-bound");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("the host's library " + library), HasSubstr("GLIBC_… not found")));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, drop_settings_line);
    EXPECT_THAT(in_settings(with_bind({4, library, "/run/host-libraries/libcuda.so.1"})), IsEmpty());
    EXPECT_THAT(in_settings(with_bind({4, "/srv/library.txt", "/srv/library.txt"})), IsEmpty());
}

TEST(DoctorSettingsRules, know_system_calls_that_the_settings_file_denies) {
    Evidence evidence = with_settings();
    evidence.on_host.settings_lines = {{"Exec", "SystemCallFilter", "@raw-io ~@clock", 2},
                                       {"Exec", "SystemCallFilter", "~@mount ioctl:EPERM mmap", 4}};
    const Finding finding = in_settings(evidence, "system-calls-denied");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "/etc/systemd/nspawn/trainer.nspawn:4 denies the machine the system call ioctl, without which CUDA "
              "does not work.");
    EXPECT_THAT(finding.evidence, ElementsAre("/etc/systemd/nspawn/trainer.nspawn:4: SystemCallFilter"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_THAT(finding.fix, HasSubstr("sed -i '4s/^/#/' /etc/systemd/nspawn/trainer.nspawn && "));
    evidence.on_host.settings_lines = {{"Exec", "SystemCallFilter", "~@mount @clock", 4},
                                       {"Network", "SystemCallFilter", "~ioctl", 5}};
    EXPECT_THAT(in_settings(evidence), IsEmpty());
}

TEST(DoctorSettingsRules, tell_what_of_an_untrusted_file_has_no_effect) {
    Evidence evidence = healthy();
    evidence.on_host.settings = {SettingsOrigin::untrusted, "/var/lib/machines/trainer.nspawn", ""};
    evidence.on_host.settings_notes = {"/var/lib/machines/trainer.nspawn:2: Bind= has no effect"};
    const Finding finding = in_settings(evidence, "settings-ignored");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.text, "/var/lib/machines/trainer.nspawn:2: Bind= has no effect");
    // To move it would make all of it trusted.
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, HasSubstr("/etc/systemd/nspawn/trainer.nspawn, line by line"));
}

// --- the unit --------------------------------------------------------------------------------------------------------

TEST(DoctorSettingsRules, pass_on_what_of_the_command_line_defeats_the_settings) {
    Evidence evidence = healthy();
    evidence.image->unit_problems = {"ExecStart= has --settings=no: take that out of /etc/x.conf"};
    const Finding finding = in_settings(evidence, "exec-start-defeats");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text, evidence.image->unit_problems.front());
    EXPECT_THAT(finding.evidence, ElementsAre("systemctl cat systemd-nspawn@trainer.service"));
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, HasSubstr("systemctl daemon-reload" + restarts));
}

TEST(DoctorSettingsRules, know_a_reset_of_device_rules_that_comes_after_ours) {
    const Finding finding = in_settings(with_unit("DeviceAllow", ""), "device-rules-elsewhere");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("60-mine.conf:3 says DeviceAllow="), HasSubstr("takes back all")));
    EXPECT_THAT(finding.evidence, ElementsAre(std::string(drop_in) + ":3: DeviceAllow="));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, drop_unit_line + restarts);
}

TEST(DoctorSettingsRules, leave_a_reset_that_is_read_before_ours) {
    for (const char* path :
         {"/etc/systemd/system/systemd-nspawn@trainer.service.d/10-mine.conf",
          "/etc/systemd/system.control/systemd-nspawn@trainer.service.d/50-DeviceAllow.conf",
          "/etc/systemd/system/systemd-nspawn@trainer.service", "/etc/systemd/system/systemd-nspawn@.service"})
        EXPECT_THAT(in_settings(with_unit("DeviceAllow", "", path)), IsEmpty()) << path;
}

TEST(DoctorSettingsRules, know_device_policies_that_deny_too_much) {
    const Finding strict = in_settings(with_unit("DevicePolicy", "strict"), "device-rules-elsewhere");
    EXPECT_EQ(strict.severity, FindingSeverity::warning);
    EXPECT_THAT(strict.text, HasSubstr("DevicePolicy=strict, which denies even the standard devices"));
    const Finding hidden = in_settings(with_unit("PrivateDevices", "on"), "device-rules-elsewhere");
    EXPECT_EQ(hidden.severity, FindingSeverity::error);
    EXPECT_THAT(hidden.text, HasSubstr("PrivateDevices=on, which hides all devices"));
    for (const auto& [key, value] : {std::pair("DevicePolicy", "closed"), std::pair("PrivateDevices", "no")})
        EXPECT_THAT(in_settings(with_unit(key, value)), IsEmpty()) << key;
}

TEST(DoctorSettingsRules, know_a_rule_whose_number_is_nobodys_any_more) {
    const Finding finding = in_settings(with_unit("DeviceAllow", "/dev/char/509:0 rw"), "rule-has-stale-number");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("60-mine.conf:3 allows the device number 509:0"),
                                    HasSubstr("which no driver of this host has")));
    EXPECT_THAT(finding.evidence, ElementsAre(std::string(drop_in) + ":3: DeviceAllow=/dev/char/509:0 rw"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, drop_unit_line);
}

TEST(DoctorSettingsRules, know_rules_that_set_property_left_over) {
    const Finding finding =
        in_settings(with_unit("DeviceAllow", "/dev/char/509:0 rw",
                              "/etc/systemd/system.control/systemd-nspawn@trainer.service.d/50-DeviceAllow.conf"),
                    "rules-left-over");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix,
              "sed -i '3s/^/#/' /etc/systemd/system.control/systemd-nspawn@trainer.service.d/50-DeviceAllow.conf && "
              "systemctl daemon-reload");
}

TEST(DoctorSettingsRules, leave_rules_of_numbers_that_somebody_has_or_may_get) {
    for (const char* rule : {"/dev/char/195:0 rw", "/dev/char/510:0 rw", "/dev/char/241:0 rw", "/dev/char/10:200 rwm",
                             "/dev/char/300:0 rw", "/dev/char/x rw", "/dev/char/509 rw", "/dev/char/509:x rw",
                             "/dev/null rw", "char-pts rw", "block-* r"})
        EXPECT_THAT(in_settings(with_unit("DeviceAllow", rule)), IsEmpty()) << rule;
}

TEST(DoctorSettingsRules, know_a_rule_whose_node_came_later_than_the_machine) {
    Evidence evidence = with_unit("DeviceAllow", "/dev/nvidia0 rw");
    EXPECT_THAT(in_settings(evidence), IsEmpty()) << "the node is older than the machine's start";
    evidence.host.nodes[1].changed_usec = evidence.running->since_usec + 1;
    const Finding finding = in_settings(evidence, "rule-came-too-early");
    EXPECT_EQ(finding.severity, FindingSeverity::warning);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("60-mine.conf:3 allows /dev/nvidia0 by its path"),
                                    HasSubstr("the node was made after the machine had started")));
    EXPECT_THAT(finding.evidence, ElementsAre(std::string(drop_in) + ":3: DeviceAllow=/dev/nvidia0 rw",
                                              "/dev/nvidia0 is younger than the machine's start"));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, drop_unit_line);
    evidence.running.reset();
    EXPECT_THAT(in_settings(evidence), IsEmpty());
}

TEST(DoctorSettingsRules, know_a_rule_whose_node_is_not_there) {
    const Finding finding = in_settings(with_unit("DeviceAllow", "/dev/nvidia7 rw"), "rule-came-too-early");
    EXPECT_THAT(finding.text, HasSubstr("there is no such node on the host"));
    EXPECT_THAT(finding.evidence, ElementsAre(HasSubstr("DeviceAllow=/dev/nvidia7 rw"), "/dev/nvidia7: not there"));
}

TEST(DoctorSettingsRules, know_system_calls_that_a_drop_in_denies) {
    const Finding finding = in_settings(with_unit("SystemCallFilter", "~@basic-io"), "system-calls-denied");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, HasSubstr("60-mine.conf:3 denies the machine the system call @basic-io"));
    EXPECT_EQ(finding.fix, drop_unit_line + restarts);
    EXPECT_THAT(in_settings(with_unit("SystemCallFilter", "~kexec_load")), IsEmpty());
}

// --- its last start --------------------------------------------------------------------------------------------------

Evidence stopped(const std::vector<std::string>& log) {
    Evidence evidence = healthy();
    evidence.running.reset();
    evidence.on_host.unit_log = log;
    evidence.start_failed = true;
    return evidence;
}

TEST(DoctorSettingsRules, know_the_start_that_is_refused_after_a_kill) {
    const std::string line = "Mount point '/run/systemd/nspawn/unix-export/trainer' exists already, refusing.";
    const Finding finding = in_settings(stopped({"Spawning container trainer", line}), "start-refused-after-kill");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_THAT(finding.text, AllOf(HasSubstr("the next one works"), HasSubstr(line)));
    EXPECT_THAT(finding.evidence, ElementsAre("journalctl -u systemd-nspawn@trainer.service: " + line));
    EXPECT_EQ(finding.where, FixPlace::host);
    EXPECT_EQ(finding.fix, "systemctl start cuda-nspawn@trainer.service");
    Evidence mended = stopped({line});
    mended.start_failed = false;
    EXPECT_THAT(in_settings(mended), IsEmpty()) << "it was reset, or has started and ended since";
}

TEST(DoctorSettingsRules, tell_why_the_machine_did_not_start) {
    const Finding finding = in_settings(stopped({"Failed to stat /srv/data: No such file or directory", "Failed to x"}),
                                        "machine-not-started");
    EXPECT_EQ(finding.severity, FindingSeverity::error);
    EXPECT_EQ(finding.text,
              "systemd-nspawn@trainer.service did not start: Failed to stat /srv/data: No such file or directory");
    EXPECT_EQ(finding.where, FixPlace::none);
    EXPECT_THAT(finding.fix, HasSubstr("journalctl -u systemd-nspawn@trainer.service"));
}

TEST(DoctorSettingsRules, take_pid_1s_word_where_nspawn_said_nothing) {
    const std::string line = "systemd-nspawn@trainer.service: Main process exited, code=exited, status=208/STDIN";
    EXPECT_THAT(in_settings(stopped({line}), "machine-not-started").text, HasSubstr("status=208/STDIN"));
    EXPECT_THAT(in_settings(stopped({line, "Failed to x"}), "machine-not-started").text, HasSubstr("Failed to x"));
}

TEST(DoctorSettingsRules, take_no_complaint_for_a_failed_start) {
    EXPECT_THAT(in_settings(stopped({"Failed to copy /etc/resolv.conf to /x, ignoring: Permission denied",
                                     "Failed to set up X, proceeding without it.", "Container trainer terminated."})),
                testing::SizeIs(1))
        << "only what nspawn says it ignores is left out";
    EXPECT_THAT(in_settings(stopped({"Failed to copy /etc/resolv.conf to /x, ignoring: Permission denied"})),
                IsEmpty());
    Evidence runs = healthy();
    runs.on_host.unit_log = {"Failed to stat /srv/data: No such file or directory"};
    EXPECT_THAT(in_settings(runs), IsEmpty()) << "it did start";
}

}  // namespace
}  // namespace cuda_nspawn
