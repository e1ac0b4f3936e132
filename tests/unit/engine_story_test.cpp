// What the journal is told: the closed list of events, their entries in the catalog, and a machine's story.
#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "engine_fixture.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::make_policy;
using ::testing::Not;
using namespace std::string_literals;

// --- the list --------------------------------------------------------------------------------------------------------

TEST(Events, have_names_and_ids_of_their_own) {
    std::set<std::string_view> names;
    std::set<std::string_view> ids;
    for (const EventKind& kind : event_kinds()) {
        EXPECT_TRUE(names.insert(kind.name).second) << kind.name;
        EXPECT_TRUE(ids.insert(kind.message_id).second) << kind.name;
        EXPECT_TRUE(std::regex_match(std::string(kind.message_id), std::regex("[0-9a-f]{32}"))) << kind.name;
    }
    EXPECT_EQ(kind_of(event_kinds().back().event).name, event_kinds().back().name);
}

// id → the rest of the entry
std::map<std::string, std::string> read_catalog() {
    std::ifstream file(CATALOG);
    std::map<std::string, std::string> entries;
    std::string id;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("-- ")) {
            id = line.substr(3);
            EXPECT_FALSE(entries.contains(id)) << id;
            entries[id];
        } else if (!id.empty() && !line.starts_with('#')) {
            entries[id] += line + "\n";
        }
    }
    return entries;
}

TEST(Events, have_each_an_entry_in_the_catalog_and_no_entry_has_none) {
    std::map<std::string, std::string> entries = read_catalog();
    for (const EventKind& kind : event_kinds()) {
        const auto entry = entries.extract(std::string(kind.message_id));
        ASSERT_FALSE(entry.empty()) << kind.name;
        // Subject, the rest of the header, an empty line, then what happened and what to do.
        EXPECT_TRUE(std::regex_search(entry.mapped(), std::regex("^Subject: .+\nDefined-By: cuda-nspawn\nSupport: .+\n"
                                                                 "Documentation: man:.+\n\n.+")))
            << kind.name;
    }
    EXPECT_TRUE(entries.empty()) << entries.begin()->first;
}

TEST(Events, are_in_the_man_page) {
    std::ifstream file(DAEMON_PAGE);
    const std::string page{std::istreambuf_iterator<char>(file), {}};
    for (const EventKind& kind : event_kinds())
        EXPECT_THAT(page, HasSubstr(std::string("\n").append(kind.name).append(" "))) << kind.name;
    for (const EventKind& kind : event_kinds())
        EXPECT_THAT(page, HasSubstr(std::string(" ").append(kind.message_id).append("\n"))) << kind.name;
}

TEST(Events, fill_in_only_fields_that_they_have) {
    const std::set<std::string> known{
        "MESSAGE",         "CUDA_NSPAWN_MACHINE", "CUDA_NSPAWN_DRIVER", "CUDA_NSPAWN_GENERATION", "CUDA_NSPAWN_VERDICT",
        "CUDA_NSPAWN_JOB", "CUDA_NSPAWN_RESULT",  "CUDA_NSPAWN_STEP",   "CUDA_NSPAWN_FINDING"};
    const std::regex field("@([A-Z_]+)@");
    for (const auto& [id, entry] : read_catalog())
        for (std::sregex_iterator match(entry.begin(), entry.end(), field), end; match != end; ++match)
            EXPECT_THAT(known, Contains((*match)[1].str())) << id;
}

// --- an entry --------------------------------------------------------------------------------------------------------

TEST(JournalFields, are_what_an_event_has) {
    EXPECT_THAT(
        journal_fields(
            {Event::self_test_failed, "trainer", "self-test failed: init", {.driver = "580.1", .verdict = "failed"}}),
        ElementsAre("MESSAGE=trainer: self-test failed: init", "PRIORITY=3", "CUDA_NSPAWN_MACHINE=trainer",
                    "OBJECT_SYSTEMD_UNIT=cuda-nspawn@trainer.service",
                    std::string("MESSAGE_ID=").append(kind_of(Event::self_test_failed).message_id),
                    "CUDA_NSPAWN_DRIVER=580.1", "CUDA_NSPAWN_VERDICT=failed"));
    EXPECT_THAT(journal_fields(Severity::debug, "", "told"), ElementsAre("MESSAGE=told", "PRIORITY=7"));
}

TEST(JournalFields, stay_one_line_and_one_field_whatever_a_guest_says) {
    const std::string hostile = "a\nMESSAGE_ID=0\n\0\x1b[2K\xff"s;
    for (const std::string& field :
         journal_fields({Event::job_failed, "trainer", hostile, {.verdict = hostile, .finding = hostile}}))
        EXPECT_TRUE(std::ranges::none_of(field, [](unsigned char byte) { return byte < ' '; })) << field;
    EXPECT_THAT(journal_fields({Event::job_failed, "trainer", hostile}).front(), HasSubstr("trainer: a MESSAGE_ID=0"));
    EXPECT_LE(journal_fields({Event::job_failed, "", std::string(100'000, 'a')}).front().size(), 5'000U);
}

// --- a story ---------------------------------------------------------------------------------------------------------

class Story : public testing::EngineFixture {
protected:
    std::vector<std::string_view> events() const {
        std::vector<std::string_view> names;
        for (const Message& message : observer.story)
            if (message.machine == "a") names.push_back(kind_of(message.event).name);
        return names;
    }
    const Message& told(Event event) const {
        const auto place = std::ranges::find(observer.story, event, &Message::event);
        if (place == observer.story.end()) throw std::runtime_error("was not told");
        return *place;
    }
};

TEST_F(Story, tells_a_start_in_order) {
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all();
    EXPECT_THAT(events(), ElementsAre("policy-read", "image-seen", "exposure-made", "job-begun", "machine-started",
                                      "rules-set", "attached", "self-test-passed", "job-done"));
    EXPECT_EQ(told(Event::policy_read).text, "policy /etc/cuda-nspawn/machines/a.yaml: gpus: 0");
    EXPECT_EQ(told(Event::attached).text, "attached: 1 GPU, driver " + engine.generation());
    EXPECT_EQ(told(Event::attached).fields.generation, engine.generation());
    EXPECT_EQ(told(Event::self_test_passed).fields.verdict, "passed");
    EXPECT_EQ(told(Event::self_test_passed).fields.driver, "999.42.01");
    EXPECT_EQ(told(Event::job_done).fields.job, std::to_string(id));
    EXPECT_EQ(told(Event::job_done).fields.result, "done");
    EXPECT_EQ(told(Event::generation_made).machine, "");
}

TEST_F(Story, tells_a_detach_and_an_end) {
    run();
    observer.story.clear();
    engine.detach("a");
    ports.answer_all();
    engine.machine_ended("a");
    ports.answer_all();
    EXPECT_THAT(events(), ElementsAre("job-begun", "rules-set", "exposure-removed", "detached", "job-done",
                                      "machine-ended", "exposure-made"));
}

TEST_F(Story, is_not_told_twice) {
    run();
    observer.story.clear();
    engine.attach("a", {false, false, true});  // looks at everything again
    ports.answer_all();
    EXPECT_THAT(events(), ElementsAre("job-begun", "job-done"));
}

TEST_F(Story, of_a_new_daemon_does_not_repeat_that_it_is_attached) {
    run();
    Engine next(ports, observer);
    observer.story.clear();
    next.set_driver(testing::make_driver());
    next.set_instances({{"a", instance("a")}});
    next.restore("a", ports.memory.at("a"));
    next.set_policies({{"a", make_policy("a")}});
    ports.answer_all();
    EXPECT_THAT(events(), Not(Contains("attached")));
    EXPECT_THAT(events(), Not(Contains("machine-started")));
}

TEST_F(Story, of_a_failure_names_its_cause) {
    ports.examination.emplace();
    ports.examination->host.unified_cgroups = false;
    prepare();
    const unsigned id = engine.attach("a", {true, true, false});
    ports.answer_all("test");
    std::get<Reply<Tested>>(ports.take("test").reply)(ports.failed());
    ports.answer_all();
    EXPECT_EQ(told(Event::self_test_failed).fields.verdict, "failed");
    EXPECT_EQ(told(Event::job_failed).fields.finding, machine().findings.at(0).code);
    EXPECT_EQ(told(Event::job_failed).fields.job, std::to_string(id));
    EXPECT_THAT(told(Event::job_failed).text, HasSubstr(machine().findings.at(0).code));
}

TEST_F(Story, of_a_machine_that_is_blocked_from_the_beginning) {
    engine.set_driver({});
    engine.set_policies({{"a", make_policy("a")}});
    ports.answer_all();
    engine.attach("a", {});
    ports.answer_all();
    EXPECT_THAT(events(), Not(Contains("exposure-removed"))) << "there was none before";
    EXPECT_EQ(std::ranges::count(events(), "machine-blocked"), 1) << "what was said is not said again";
}

TEST_F(Story, of_a_policy_that_is_wrong_and_then_gone) {
    engine.set_policies({broken("a")});
    engine.set_policies({});
    ports.answer_all();
    EXPECT_THAT(events(), ElementsAre("policy-invalid", "policy-removed", "exposure-removed"));
}

}  // namespace
}  // namespace cuda_nspawn
