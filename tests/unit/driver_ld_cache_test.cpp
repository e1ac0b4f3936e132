#include <gtest/gtest.h>

#include <chrono>

#include "driver_fixture.hpp"
#include "elf/ld_cache.hpp"

namespace cuda_nspawn {
namespace {

using testing::make_ld_cache;

const std::vector<testing::CacheLine> lines{{"libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"},
                                            {"libcuda.so.1", "/usr/lib/i386-linux-gnu/libcuda.so.1", 0x0003},
                                            {"libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", 0x0a03},
                                            {"libx32.so", "/libx32/libx32.so", 0x0803}};

void put_number(std::string& bytes, std::size_t offset, std::uint32_t number) {
    std::memcpy(bytes.data() + offset, &number, sizeof number);
}

TEST(LdCache, reads_names_paths_and_architectures_in_order) {
    const auto bytes = make_ld_cache(lines);
    const auto entries = parse_ld_cache(bytes);
    ASSERT_TRUE(entries);
    ASSERT_EQ(entries->size(), 4U);
    EXPECT_EQ((*entries)[0].name, "libcuda.so.1");
    EXPECT_EQ((*entries)[0].path, "/usr/local/nvidia/lib64/libcuda.so.1");
    EXPECT_EQ((*entries)[0].abi, LibraryAbi::x86_64);
    EXPECT_EQ((*entries)[1].abi, LibraryAbi::elf32);
    EXPECT_EQ((*entries)[2].abi, LibraryAbi::aarch64);
    EXPECT_EQ((*entries)[3].abi, LibraryAbi::other);
    EXPECT_EQ((*entries)[3].path, "/libx32/libx32.so");
}

TEST(LdCache, finds_the_new_format_behind_the_old_one) {
    // An odd number of entries needs the padding, an even one does not.
    for (const std::size_t count : {3U, 4U}) {
        const auto bytes = make_ld_cache({lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(count)}, true);
        const auto entries = parse_ld_cache(bytes);
        ASSERT_TRUE(entries) << count;
        ASSERT_EQ(entries->size(), count);
        EXPECT_EQ(entries->front().path, "/usr/local/nvidia/lib64/libcuda.so.1");
    }
}

TEST(LdCache, reads_the_cache_of_this_system) {
    std::ifstream file("/etc/ld.so.cache", std::ios::binary);
    if (!file) GTEST_SKIP() << "no /etc/ld.so.cache here";
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const auto entries = parse_ld_cache(bytes);
    ASSERT_TRUE(entries);
    ASSERT_FALSE(entries->empty());
    for (const auto& entry : *entries) {
        EXPECT_TRUE(entry.path.starts_with('/')) << entry.path;
        EXPECT_TRUE(entry.path.ends_with(entry.name) || entry.name.find(".so") != std::string_view::npos) << entry.name;
    }
}

TEST(LdCache, refuses_what_is_no_cache) {
    EXPECT_FALSE(parse_ld_cache(""));
    EXPECT_FALSE(parse_ld_cache("ld.so-1.7.0"));
    EXPECT_FALSE(parse_ld_cache("glibc-ld.so.cache1.1"));
    EXPECT_FALSE(parse_ld_cache("glibc-ld.so.cache9.9" + std::string(100, '\0')));
    EXPECT_FALSE(parse_ld_cache(std::string(4096, 'x')));
}

TEST(LdCache, refuses_counts_that_do_not_fit_the_file) {
    auto bytes = make_ld_cache(lines);
    put_number(bytes, 20, 0xffffffff);
    EXPECT_FALSE(parse_ld_cache(bytes));
    auto compatible = make_ld_cache(lines, true);
    put_number(compatible, 12, 0xffffffff);
    EXPECT_FALSE(parse_ld_cache(compatible));
}

TEST(LdCache, leaves_out_entries_that_point_outside_the_file) {
    auto bytes = make_ld_cache(lines);
    put_number(bytes, 48 + 4, 0xfffffff0);
    put_number(bytes, 48 + 24 + 8, static_cast<std::uint32_t>(bytes.size()));
    const auto entries = parse_ld_cache(bytes);
    ASSERT_TRUE(entries);
    ASSERT_EQ(entries->size(), 2U);
    EXPECT_EQ(entries->front().name, "libm.so.6");
}

TEST(LdCache, is_not_kept_busy_by_entries_that_share_a_long_string) {
    std::string bytes = make_ld_cache(std::vector<testing::CacheLine>(40000, {"", ""}));
    const auto strings_at = static_cast<std::uint32_t>(bytes.size());
    bytes += std::string(std::size_t{1} << 20, 'x') + '\0';
    for (std::size_t entry = 0; entry < 40000; ++entry) {
        put_number(bytes, 48 + entry * 24 + 4, strings_at);
        put_number(bytes, 48 + entry * 24 + 8, strings_at);
    }
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(parse_ld_cache(bytes).value().empty());
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(500));
}

TEST(LdCache, survives_every_cut_of_the_file) {
    for (const bool compatible : {false, true}) {
        const auto bytes = make_ld_cache(lines, compatible);
        for (std::size_t length = 0; length < bytes.size(); ++length) {
            const std::string cut = bytes.substr(0, length);  // a copy of its own, so that ASan sees a read behind it
            if (const auto entries = parse_ld_cache(cut)) {
                EXPECT_LT(entries->size(), lines.size());
            }
        }
    }
}

}  // namespace
}  // namespace cuda_nspawn
