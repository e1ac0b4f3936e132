#include <gtest/gtest.h>

#include "ctl/command.hpp"
#include "ctl/completion.hpp"

namespace cuda_nspawn::ctl {
namespace {

using Words = std::vector<std::string>;

const std::vector<Command>& some_commands() {
    static const Option json{.name = "json",
                             .value = "short|pretty|off",
                             .help = "as JSON",
                             .letter = 'j',
                             .offer = Offer::json_modes,
                             .value_may_lack = true};
    static const std::vector<Command> commands{
        {.name = "list", .operands = "", .help = "all", .options = {json}},
        {.name = "status",
         .operands = "[MACHINE…]",
         .help = "one",
         .most = any_number,
         .offer = Offer::machines,
         .options = {{.name = "lines", .value = "N", .help = "lines", .letter = 'n'}, json}},
        {.name = "attach",
         .operands = "MACHINE",
         .help = "give",
         .least = 1,
         .most = 1,
         .offer = Offer::machines,
         .options = {{.name = "start", .value = "", .help = "start it"},
                     {.name = "policy", .value = "FILE", .help = "this one", .offer = Offer::files},
                     json}},
        {.name = "gpus", .operands = "[GPU…]", .help = "GPUs", .most = any_number, .offer = Offer::gpus}};
    return commands;
}

Arguments read(const Words& words) { return read_arguments(some_commands(), words); }

std::string mistake(const Words& words) {
    try {
        read(words);
    } catch (const WrongUsage& wrong) {
        return wrong.sentence;
    }
    return "";
}

TEST(CtlArguments, OptionsStandBeforeAndBehindTheCommand) {
    for (const Words& words : {Words{"--lines", "5", "status", "box"}, Words{"status", "-n5", "box"},
                               Words{"status", "box", "--lines=5"}, Words{"-n", "5", "status", "box"}}) {
        const Arguments arguments = read(words);
        EXPECT_EQ(arguments.command, "status");
        EXPECT_EQ(arguments.words, Words{"box"});
        EXPECT_EQ(arguments.value("lines"), "5");
    }
}

TEST(CtlArguments, BehindTwoDashesNothingIsAnOption) {
    EXPECT_EQ(read({"status", "--", "--lines"}).words, Words{"--lines"});
    EXPECT_EQ(read({"attach", "--policy", "-", "box"}).value("policy"), "-");
}

TEST(CtlArguments, JsonHasAModeOnlyBehindAnEqualsSign) {
    EXPECT_EQ(json_mode(read({"status"})), JsonMode::off);
    EXPECT_EQ(json_mode(read({"status", "--json", "box"})), JsonMode::automatic);
    EXPECT_EQ(json_mode(read({"status", "-j", "box"})), JsonMode::automatic);
    EXPECT_EQ(json_mode(read({"status", "--json=short"})), JsonMode::plain);
    EXPECT_EQ(json_mode(read({"status", "--json=pretty"})), JsonMode::pretty);
    EXPECT_EQ(json_mode(read({"status", "--json=off"})), JsonMode::off);
    EXPECT_NE(mistake({"status", "--json=xml"}).find("short, pretty or off"), std::string::npos);
}

TEST(CtlArguments, AMistakeIsToldWithTheWayOut) {
    EXPECT_EQ(mistake({}), "No command given.");
    EXPECT_EQ(mistake({"statsu"}), "Unknown command \"statsu\" (did you mean 'status'?).");
    EXPECT_EQ(mistake({"frobnicate"}), "Unknown command \"frobnicate\".");
    EXPECT_EQ(mistake({"attach", "box", "--strat"}), "attach has no option --strat (did you mean '--start'?).");
    EXPECT_EQ(mistake({"status", "--start"}), "status has no option --start.") << "another command's";
    EXPECT_EQ(mistake({"status", "-x"}), "status has no option -x.");
    EXPECT_EQ(mistake({"status", "--lines"}), "--lines needs a value.");
    EXPECT_EQ(mistake({"attach", "--start=yes", "box"}), "--start has no value.");
    EXPECT_EQ(mistake({"attach"}), "attach needs the name of a machine.");
    EXPECT_EQ(mistake({"attach", "one", "two"}), "\"two\" is one argument too many for attach.");
    EXPECT_EQ(mistake({"list", "one"}), "\"one\" is one argument too many for list.");
}

TEST(CtlHelp, HasEveryCommandAndOption) {
    const std::string help = help_of(some_commands());
    for (const char* word : {"list", "status [MACHINE…]", "-n, --lines N", "--start", "--policy FILE",
                             "-j, --json[=short|pretty|off]", "-h, --help", "--version", "--no-legend"})
        EXPECT_NE(help.find(word), std::string::npos) << word;
}

Words completed(Words words, std::size_t current) {
    return complete(some_commands(), std::move(words), current,
                    [](Offer offer) { return offer == Offer::gpus ? Words{"GPU-1", "GPU-2"} : Words{"box", "bar"}; });
}

TEST(CtlCompletion, OffersCommandsOptionsAndNames) {
    EXPECT_EQ(completed({"ctl", ""}, 1), (Words{"list", "status", "attach", "gpus"}));
    EXPECT_EQ(completed({"ctl", "st"}, 1), Words{"status"});
    EXPECT_EQ(completed({"ctl", "attach", "--st"}, 2), Words{"--start"});
    EXPECT_EQ(completed({"ctl", "status", "--st"}, 2), Words{});
    EXPECT_EQ(completed({"ctl", "status", "b"}, 2), (Words{"box", "bar"}));
    EXPECT_EQ(completed({"ctl", "status", "box", "ba"}, 3), Words{"bar"});
    EXPECT_EQ(completed({"ctl", "attach", "box", ""}, 3), Words{}) << "it takes one machine";
    EXPECT_EQ(completed({"ctl", "gpus", "GPU-2"}, 2), Words{"GPU-2"});
    EXPECT_EQ(completed({"ctl", "attach", "--start", "bo"}, 3), Words{"box"});
}

TEST(CtlCompletion, OffersTheValueOfAnOption) {
    EXPECT_EQ(completed({"ctl", "attach", "--policy", ""}, 3), Words{files_line});
    EXPECT_EQ(completed({"ctl", "attach", "--policy", "f", ""}, 4), (Words{"box", "bar"}));
    EXPECT_EQ(completed({"ctl", "status", "--json", "=", "p"}, 4), Words{"pretty"});
    EXPECT_EQ(completed({"ctl", "status", "--json", "="}, 3), (Words{"short", "pretty", "off"}));
    EXPECT_EQ(completed({"ctl", "status", "--json", "b"}, 3), (Words{"box", "bar"})) << "its value needs the sign";
    EXPECT_EQ(completed({"ctl", "status", "-n", ""}, 3), Words{});
    EXPECT_EQ(completed({"ctl", "status", "--", "--json"}, 3), Words{}) << "a machine's name";
}

TEST(CtlCompletion, LooksOnlyAtWhatStandsBeforeTheCursor) {
    EXPECT_EQ(completed({"ctl", "st", "box"}, 1), Words{"status"});
    EXPECT_EQ(completed({"ctl"}, 0), Words{});
    EXPECT_EQ(completed({}, 7), Words{});
}

}  // namespace
}  // namespace cuda_nspawn::ctl
