// Who may call: root, and whom polkit authorizes.
#include <gmock/gmock.h>

#include <algorithm>

#include "bus_fixture.hpp"
#include "fake_polkit.hpp"
#include "stranger.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Decision = FakePolkit::Decision;
using Question = FakePolkit::Question;

constexpr const char* denied = "org.freedesktop.DBus.Error.AccessDenied";
constexpr const char* too_many = "org.freedesktop.DBus.Error.LimitsExceeded";

class BusAuthority : public BusFixture {
protected:
    void start(FakePolkit::Rule rule) {
        add_polkit(std::move(rule));
        start_daemon_with("gpus: [0]\n");
    }
    unsigned jobs() {
        hear_all();
        return count_signals("JobNew", "/org/cudanspawn1");
    }
};

Decision never(const Question&) { return Decision::no; }
Decision held(const Question&) { return Decision::none; }

TEST_F(BusAuthority, root_is_not_asked_about) {
    start(never);
    call<ObjectPath, Changes>("Attach", "a", Options{{"wait", sdbus::Variant(true)}});
    EXPECT_THAT(polkit->questions(), IsEmpty());
}

TEST_F(BusAuthority, others_do_what_polkit_authorizes_for_this_machine) {
    host->add_policy("b", "gpus: [1]\n");
    start([](const Question& question) {
        return question.action == "org.cudanspawn1.apply" && question.details.at("machine") == "a" ? Decision::yes
                                                                                                   : Decision::no;
    });
    Stranger user(address);
    EXPECT_EQ(user.call("Attach", "sa{sv}", "a", 1, "wait", "b", 1).text, "");
    EXPECT_EQ(jobs(), 1U);
    EXPECT_EQ(polkit->questions().at(0).caller, user.name());
    EXPECT_EQ(user.call_of("/org/cudanspawn1/machine/a", "org.cudanspawn1.Machine", "Attach", "a{sv}", 0).text, "");
    EXPECT_EQ(jobs(), 2U);
    const auto refused = user.call("Attach", "sa{sv}", "b", 0);
    EXPECT_EQ(refused.error, denied);
    EXPECT_EQ(refused.text, "polkit does not authorize user 65534 for org.cudanspawn1.apply.");
    EXPECT_EQ(jobs(), 2U);
}

TEST_F(BusAuthority, every_method_that_does_something_has_its_action) {
    start(never);
    Stranger user(address);
    const char* machine = "/org/cudanspawn1/machine/a";
    const char* of_machine = "org.cudanspawn1.Machine";
    std::vector<Stranger::Answer> answers{user.call("Attach", "sa{sv}", "a", 0),
                                          user.call("Detach", "sa{sv}", "a", 0),
                                          user.call_of(machine, of_machine, "Attach", "a{sv}", 0),
                                          user.call_of(machine, of_machine, "Detach", "a{sv}", 0),
                                          user.call("SelfTest", "sa{sv}", "a", 0),
                                          user.call_of(machine, of_machine, "SelfTest", "a{sv}", 0),
                                          user.call("Plan", "sa{sv}", "a", 0),
                                          user.call("Diagnose", "sa{sv}", "a", 0),
                                          user.call("ListHolders", "s", "a"),
                                          user.call_of(machine, of_machine, "Plan", "a{sv}", 0),
                                          user.call_of(machine, of_machine, "Diagnose", "a{sv}", 0),
                                          user.call("ListHolders", "s", ""),
                                          user.call("Audit", "a{sv}", 0),
                                          user.call("Refresh", "a{sv}", 0),
                                          user.call("VerifyStore", ""),
                                          user.call("Reload", "")};
    std::string asked;
    for (const Question& question : polkit->questions()) {
        asked += question.action.substr(question.action.rfind('.') + 1);
        for (const auto& [name, value] : question.details) asked += " " + name + "=" + value;
        asked += "\n";
    }
    EXPECT_EQ(asked,
              "apply machine=a\napply machine=a\napply machine=a\napply machine=a\n"
              "self-test machine=a\nself-test machine=a\n"
              "inspect machine=a\ninspect machine=a\ninspect machine=a\ninspect machine=a\ninspect machine=a\n"
              "inspect\ninspect\nrefresh\nrefresh\nrefresh\n");
    for (const auto& answer : answers) EXPECT_EQ(answer.error, denied) << answer.text;
    EXPECT_EQ(jobs(), 0U);
}

TEST_F(BusAuthority, reading_is_free) {
    start(never);
    Stranger user(address);
    EXPECT_EQ(user.call("ListMachines", "").text, "");
    EXPECT_EQ(user.call("GetMachine", "s", "a").text, "");
    EXPECT_EQ(user.call("GetMachine", "s", "b").error, "org.cudanspawn1.Error.NoSuchMachine");
    EXPECT_EQ(user.call_of("/org/cudanspawn1", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "").text, "");
    EXPECT_THAT(polkit->questions(), IsEmpty());
}

TEST_F(BusAuthority, a_name_that_is_none_is_not_asked_about) {
    start(never);
    Stranger user(address);
    for (const char* name : {"", "../x", "a/b", "%i", "a\nb"})
        EXPECT_EQ(user.call("Attach", "sa{sv}", name, 0).error, "org.cudanspawn1.Error.InvalidName") << name;
    EXPECT_THAT(polkit->questions(), IsEmpty());
}

TEST_F(BusAuthority, a_job_is_cancelled_by_who_may_do_what_it_does) {
    start(never);
    systemd->set("systemd-nspawn@", {.held = true});
    auto attach = call_later<ObjectPath, Changes>(
        "Attach", "a", Options{{"start", sdbus::Variant(true)}, {"wait", sdbus::Variant(true)}});
    ASSERT_TRUE(wait_until([&] { return systemd->holds("systemd-nspawn@a"); }));
    Stranger user(address);
    EXPECT_EQ(user.call("CancelJob", "u", 1).error, denied);
    EXPECT_EQ(user.call_of("/org/cudanspawn1/job/1", "org.cudanspawn1.Job", "Cancel", "").error, denied);
    ASSERT_EQ(polkit->questions().size(), 2U);
    for (const Question& question : polkit->questions()) {
        EXPECT_EQ(question.action, "org.cudanspawn1.apply");
        EXPECT_EQ(question.details.at("machine"), "a");
    }
    EXPECT_EQ(user.call("CancelJob", "u", 77).error, "org.cudanspawn1.Error.NoSuchJob");
    systemd->finish("systemd-nspawn@");
    attach.get();
    EXPECT_EQ(user.call("CancelJob", "u", 1).error, "org.cudanspawn1.Error.NotCancellable");
    EXPECT_EQ(polkit->questions().size(), 2U);
}

TEST_F(BusAuthority, options_that_no_method_has_are_refused_before_they_are_looked_into) {
    start(never);
    Stranger user(address);
    const auto refusal = [](const Stranger::Answer& answer) {
        EXPECT_EQ(answer.error, "org.cudanspawn1.Error.InvalidArgs");
        return answer.text;
    };
    EXPECT_EQ(refusal(user.call("Attach", "sa{sv}", "a", 2, "wait", "b", 1, "wait", "b", 0)),
              "Option \"wait\" is given twice.");
    EXPECT_EQ(refusal(user.call("Attach", "sa{sv}", "a", 1, "wait", "as", 1, "yes")),
              "Option \"wait\" is no boolean, number or text.");
    EXPECT_EQ(refusal(user.call("Attach", "sa{sv}", "a", 1, "wait", "v", "b", 1)),
              "Option \"wait\" is no boolean, number or text.");
    EXPECT_THAT(
        refusal(user.call("Refresh", "a{sv}", 1, std::string(1 << 20, 'x').c_str(), "b", 1)),
        ::testing::AllOf(HasSubstr("no name has more than 64 characters"), ::testing::SizeIs(::testing::Lt(200))));
    EXPECT_EQ(refusal(user.call("Plan", "sa{sv}", "a", 1, "policy", "s", std::string(1 << 20, '#').c_str())),
              "Option \"policy\" has more than 65536 bytes.");
    EXPECT_THAT(polkit->questions(), IsEmpty());
}

TEST_F(BusAuthority, somebody_is_asked_for_a_password_only_if_the_call_allows_it) {
    start([](const Question&) { return Decision::challenge; });
    Stranger user(address);
    const auto silent = user.call("Reload", "");
    EXPECT_EQ(silent.error, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
    EXPECT_THAT(silent.text, HasSubstr("org.cudanspawn1.refresh"));
    user.may_ask = true;
    const auto asked = user.call("Reload", "");
    EXPECT_EQ(asked.error, denied);
    EXPECT_THAT(asked.text, HasSubstr("somebody would have to authenticate"));
    EXPECT_EQ(polkit->questions().at(0).flags, 0U);
    EXPECT_EQ(polkit->questions().at(1).flags, 1U);
}

TEST_F(BusAuthority, without_polkit_only_root_may_and_the_answer_says_why) {
    start_daemon_with("gpus: [0]\n");
    const auto answer = Stranger(address).call("Attach", "sa{sv}", "a", 0);
    EXPECT_EQ(answer.error, denied);
    EXPECT_THAT(answer.text, HasSubstr("Install polkitd, or call as root."));
}

TEST_F(BusAuthority, a_polkit_that_fails_authorizes_nobody) {
    start([](const Question&) { return Decision::failure; });
    const auto answer = Stranger(address).call("Attach", "sa{sv}", "a", 0);
    EXPECT_EQ(answer.error, denied);
    EXPECT_THAT(answer.text, HasSubstr("out of order"));
    EXPECT_EQ(jobs(), 0U);
}

TEST_F(BusAuthority, for_a_caller_that_left_nothing_is_done) {
    start(held);
    {
        Stranger user(address);
        user.send("Attach", "sa{sv}", "a", 0);
        ASSERT_TRUE(wait_until([&] { return polkit->questions().size() == 1; }));
    }
    ASSERT_TRUE(wait_until([&] { return polkit->cancelled().size() == 1; }));
    EXPECT_EQ(polkit->cancelled().at(0), polkit->questions().at(0).cancellation_id);
    polkit->answer_all(Decision::yes);
    EXPECT_EQ(jobs(), 0U);
}

TEST_F(BusAuthority, a_caller_in_a_loop_is_refused_and_hinders_nobody) {
    start(held);
    Stranger user(address), same_user(address), other_user(address, 1);
    for (int i = 0; i < 8; ++i) (i % 2 == 0 ? user : same_user).send("Attach", "sa{sv}", "a", 0);
    ASSERT_TRUE(wait_until([&] { return polkit->questions().size() == 8; }));
    const auto refused = same_user.call("Attach", "sa{sv}", "a", 0);
    EXPECT_EQ(refused.error, too_many);
    EXPECT_THAT(refused.text, HasSubstr("8 calls of user 65534"));
    other_user.send("Detach", "sa{sv}", "a", 0);
    EXPECT_TRUE(wait_until([&] { return polkit->questions().size() == 9; }));
    call<ObjectPath, Changes>("Attach", "a", Options{{"wait", sdbus::Variant(true)}});
    polkit->answer_all(Decision::yes);
    ASSERT_TRUE(wait_until([&] { return jobs() == 10; }));
}

TEST_F(BusAuthority, all_callers_together_may_not_fill_the_daemon) {
    start(held);
    std::vector<std::unique_ptr<Stranger>> users;
    for (uid_t user = 1; user <= 9; ++user) {  // the bus wants them to have names
        users.push_back(std::make_unique<Stranger>(address, user));
        for (int i = 0; i < 8; ++i) users.back()->send("Attach", "sa{sv}", "a", 0);
    }
    ASSERT_TRUE(wait_until([&] { return polkit->questions().size() == 64; }));
    EXPECT_EQ(Stranger(address).call("Attach", "sa{sv}", "a", 0).error, too_many);
    call<ObjectPath, Changes>("Attach", "a", Options{{"wait", sdbus::Variant(true)}});
    users.clear();
    EXPECT_TRUE(wait_until([&] { return polkit->cancelled().size() == 64; }));
}

// --- LogControl1 -----------------------------------------------------------------------------------------------------

class BusLogControl : public BusFixture {
protected:
    std::string get(const std::string& property) {
        return proxy_at(object)->getProperty(property).onInterface(interface).get<std::string>();
    }
    Failure set(const std::string& property, const std::string& word) {
        return failure_of([&] { proxy_at(object)->setProperty(property).onInterface(interface).toValue(word); });
    }
    // What is logged of one refresh.
    std::string news_of(const std::string& cause) {
        const std::string before = log();
        call<>("Refresh", Options{{"cause", sdbus::Variant(cause)}});
        hear_all();
        return log().substr(before.size());
    }
    static constexpr const char* object = "/org/freedesktop/LogControl1";
    static constexpr const char* interface = "org.freedesktop.LogControl1";
};

TEST_F(BusLogControl, the_level_decides_what_is_logged) {
    start_daemon_with("gpus: [0]\n");
    EXPECT_EQ(get("LogLevel"), "debug") << "as --debug has it";
    EXPECT_EQ(get("SyslogIdentifier"), "cuda-nspawnd");
    EXPECT_THAT(news_of("loud"), HasSubstr("the driver is looked at (loud)"));
    set("LogLevel", "info");
    EXPECT_EQ(get("LogLevel"), "info");
    const std::string quieter = news_of("quieter");
    EXPECT_THAT(quieter, ::testing::Not(HasSubstr("the driver is looked at")));
    EXPECT_THAT(quieter, HasSubstr("what the machines have is verified (quieter)"));
    for (const char* level : {"emerg", "alert", "crit", "err", "warning", "notice"}) {
        EXPECT_EQ(set("LogLevel", level).name, "");
        EXPECT_EQ(get("LogLevel"), level);
        EXPECT_EQ(news_of(level), "");
    }
}

TEST_F(BusLogControl, the_target_decides_where_it_goes) {
    start_daemon_with("gpus: [0]\n");
    EXPECT_EQ(get("LogTarget"), "console") << "standard error is a file here";
    set("LogTarget", "null");
    EXPECT_EQ(news_of("unheard"), "");
    set("LogTarget", "auto");
    EXPECT_EQ(get("LogTarget"), "console");
    EXPECT_THAT(news_of("heard"), HasSubstr("(heard)"));
}

TEST_F(BusLogControl, words_that_there_are_not_are_refused_and_only_root_may_set) {
    start_daemon_with("gpus: [0]\n");
    for (const char* property : {"LogLevel", "LogTarget"}) {
        const std::string before = get(property);
        const Failure failure = set(property, "loud");
        EXPECT_EQ(failure.name, "org.freedesktop.DBus.Error.InvalidArgs");
        EXPECT_THAT(failure.text, HasSubstr("loud"));
        const auto refused = Stranger(address).call_of(object, "org.freedesktop.DBus.Properties", "Set", "ssv",
                                                       interface, property, "s", "null");
        EXPECT_EQ(refused.error, denied);
        EXPECT_EQ(get(property), before);
    }
    EXPECT_NE(set("SyslogIdentifier", "other").name, "");
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
