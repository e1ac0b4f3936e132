#include "worker/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "driver/generation.hpp"
#include "driver_fixture.hpp"

namespace cuda_nspawn {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string library = "/usr/lib64/libcuda.so.580.159.04";

class Store : public testing::HostFixture {
protected:
    Store() {
        add_kernel("580.159.04");
        add_library("/usr/lib64", "libcuda", "580.159.04");
        fs::create_directories(tree.at("/store"));
    }

    StoreReport work(const StoreRequest& request) const { return work_on_store(request, {tree.at("/store"), roots()}); }
    std::string build() const {
        const std::string name = generation_name(discover());
        EXPECT_THAT(work({.build = name, .keep = {name}}), IsEmpty());
        return name;
    }
    StoredGeneration verify(const std::string& name) const {
        const StoreReport report = work({.build = "", .keep = {name}, .verify = true});
        return report.empty() ? StoredGeneration{} : report.front();
    }
    fs::path copy(const std::string& name) const {
        return tree.at("/store/" + name + "/compute/lib/libcuda.so.580.159.04");
    }
    void damage(const std::string& name) const {
        auto bytes = testing::elf("libcuda.so.1");
        bytes.back() = static_cast<char>(bytes.back() + 1);
        tree.write("/store/" + name + "/compute/lib/libcuda.so.580.159.04", bytes);
    }
};

TEST_F(Store, builds_what_the_daemon_named_and_removes_what_it_did_not_keep) {
    const auto first = build();
    EXPECT_TRUE(generation_is_complete(first, tree.at("/store")));
    add(library, testing::make_elf({.soname = "libcuda.so.1", .build_id = "new"}));
    const auto second = build();
    EXPECT_FALSE(fs::exists(tree.at("/store/" + first)));
    EXPECT_TRUE(generation_is_complete(second, tree.at("/store")));
}

TEST_F(Store, builds_nothing_by_another_name_than_it_finds_itself) {
    EXPECT_THROW(work({.build = "580.159.04-0000000000000000", .keep = {}}), std::runtime_error);
    EXPECT_TRUE(fs::is_empty(tree.at("/store")));
}

TEST_F(Store, leaves_an_intact_generation_alone) {
    const auto name = build();
    const auto before = fs::last_write_time(copy(name));
    EXPECT_EQ(verify(name), (StoredGeneration{name, "intact", ""}));
    EXPECT_EQ(fs::last_write_time(copy(name)), before);
    EXPECT_THAT(work({.build = "", .keep = {name}}), IsEmpty()) << "nobody asked for it";
}

TEST_F(Store, copies_a_damaged_generation_again) {
    const auto name = build();
    damage(name);
    const auto stored = verify(name);
    EXPECT_EQ(stored.result, "rebuilt");
    EXPECT_THAT(stored.text, HasSubstr("compute/lib/libcuda.so.580.159.04 differs from " + library));
    EXPECT_EQ(verify(name).result, "intact");
}

TEST_F(Store, says_what_it_cannot_mend_or_tell) {
    const auto name = build();
    fs::resize_file(copy(name), 10);
    add(library, testing::make_elf({.soname = "libcuda.so.1", .build_id = "new"}));
    auto stored = verify(name);
    EXPECT_EQ(stored.result, "damaged");
    EXPECT_THAT(stored.text, HasSubstr("the driver's files on the host are others now"));
    EXPECT_TRUE(fs::exists(copy(name))) << "machines have it still";
    const auto second = build();
    fs::remove_all(tree.at("/root/usr/lib64"));
    stored = verify(second);
    EXPECT_EQ(stored.result, "unknown");
    EXPECT_THAT(stored.text, HasSubstr("cannot be compared"));
}

}  // namespace
}  // namespace cuda_nspawn
