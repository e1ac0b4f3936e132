// The examples of machines/ are copied by admins, so every one must load and mean what its name says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "policy/policy.hpp"

namespace cuda_nspawn {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;

std::string read(const std::filesystem::path& path) {
    std::ifstream stream(path);
    std::ostringstream text;
    text << stream.rdbuf();
    EXPECT_TRUE(stream) << path;
    return text.str();
}

std::string sentences(const std::vector<Diagnostic>& diagnostics) {
    std::string text;
    for (const Diagnostic& diagnostic : diagnostics) text += to_string(diagnostic) + "\n";
    return text;
}

std::map<std::string, Policy> load_examples() {
    std::map<std::string, Policy> policies;
    for (const auto& entry : std::filesystem::directory_iterator(EXAMPLES_DIR)) {
        const std::string name = entry.path().filename();
        const bool is_defaults = name == "defaults.yaml";
        const std::string text = read(entry.path());
        const auto result = is_defaults ? parse_defaults(name, text) : parse_policy(name, text);
        if (const auto* diagnostics = std::get_if<std::vector<Diagnostic>>(&result))
            ADD_FAILURE() << sentences(*diagnostics);
        else
            policies[entry.path().stem()] = std::get<Policy>(result);
    }
    return policies;
}

std::vector<std::string> gpus(const Policy& policy) {
    std::vector<std::string> texts;
    for (const GpuSelector& selector : policy.gpus) texts.push_back(to_string(selector));
    return texts;
}

class Examples : public testing::Test {
protected:
    const Policy& example(const std::string& name) { return policies_.at(name); }
    std::map<std::string, Policy> policies_ = load_examples();
};

TEST_F(Examples, load_all_and_are_known_here) {
    std::vector<std::string> names;
    for (const auto& [name, policy] : policies_) names.push_back(name);
    EXPECT_THAT(names,
                ElementsAre("all-gpus", "beside-mig", "compute-only", "defaults", "detach-on-failure", "graphics",
                            "hand-started", "no-gpu", "no-self-test", "one-by-index", "one-by-pci-address",
                            "one-by-uuid", "read-only", "several-gpus", "stop-on-failure"));
}

TEST_F(Examples, are_for_the_machine_of_their_name) {
    for (const auto& [name, policy] : policies_)
        if (name != "defaults") {
            EXPECT_EQ(policy.machine, name);
        }
}

TEST_F(Examples, name_gpus_in_every_way) {
    EXPECT_TRUE(example("all-gpus").all_gpus);
    EXPECT_FALSE(example("no-gpu").wants_gpus());
    EXPECT_THAT(gpus(example("one-by-index")), ElementsAre("0"));
    EXPECT_THAT(gpus(example("one-by-uuid")), ElementsAre("GPU-3f8e2a61-5c47-4b0d-9e12-7a6c0d4f1b28"));
    EXPECT_THAT(gpus(example("one-by-pci-address")), ElementsAre("0000:65:00.0"));
    EXPECT_THAT(gpus(example("several-gpus")), ElementsAre("0", "1", "0000:65:00.0"));
}

TEST_F(Examples, differ_from_the_defaults_in_what_they_are_for) {
    EXPECT_THAT(example("compute-only").capabilities, ElementsAre(Capability::compute));
    EXPECT_THAT(example("graphics").capabilities, IsSupersetOf({Capability::graphics, Capability::display}));
    EXPECT_EQ(example("no-self-test").self_test, SelfTestLevel::off);
    EXPECT_EQ(example("stop-on-failure").on_failure, OnFailure::stop);
    EXPECT_EQ(example("detach-on-failure").on_failure, OnFailure::detach);
}

TEST_F(Examples, show_the_built_in_defaults) {
    Policy built_in;
    built_in.path = "defaults.yaml";
    EXPECT_EQ(example("defaults"), built_in);
    EXPECT_THAT(example("defaults").gpus, IsEmpty());
}

}  // namespace
}  // namespace cuda_nspawn
