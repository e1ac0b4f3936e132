#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest/libc_evidence.hpp"
#include "guest/os_release.hpp"
#include "guest_tree.hpp"

namespace cuda_nspawn {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(ExamineGuest, knows_a_debian_guest) {
    Guest guest = examine_guest(debian());
    EXPECT_EQ(guest.os_id, "debian");
    EXPECT_EQ(guest.os_name, "Debian GNU/Linux 12 (bookworm)");
    EXPECT_EQ(guest.libc, Libc::glibc);
    EXPECT_EQ(guest.libc_version, "2.36");
    EXPECT_EQ(guest.architecture, "x86-64");
    EXPECT_TRUE(guest.has_systemd);
    EXPECT_TRUE(guest.has_ldconfig);
    EXPECT_EQ(guest_problem(guest, "x86-64"), std::nullopt);
}

TEST(ExamineGuest, knows_a_fedora_guest) {
    FakeTree tree;
    tree.files["/usr/lib/os-release"] = "ID=fedora\nNAME='Fedora Linux'\n";
    tree.files["/usr/lib64/ld-linux-x86-64.so.2"] = elf(x86_64);
    tree.files["/usr/lib64/libc.so.6"] = elf(x86_64) + "GNU C Library (GNU libc) stable release version 2.40.\n";
    tree.files["/usr/lib/systemd/systemd"] = "";
    tree.files["/usr/bin/ldconfig"] = "";
    Guest guest = examine_guest(tree);
    EXPECT_EQ(guest.os_name, "Fedora Linux");
    EXPECT_EQ(guest.libc_version, "2.40");
    EXPECT_EQ(guest_problem(guest, "x86-64"), std::nullopt);
}

TEST(ExamineGuest, prefers_the_os_release_of_the_guests_admin) {
    FakeTree tree = debian();
    tree.files["/usr/lib/os-release"] = "ID=other\n";
    EXPECT_EQ(examine_guest(tree).os_id, "debian");
}

TEST(ExamineGuest, cleans_what_a_hostile_os_release_says) {
    FakeTree tree = debian();
    tree.files["/etc/os-release"] = "ID=\"a b;rm\"\nPRETTY_NAME=\"\033[31mred\xff" + std::string(500, 'x') + "\"\n";
    Guest guest = examine_guest(tree);
    EXPECT_EQ(guest.os_id, "");
    EXPECT_THAT(guest.os_name, testing::StartsWith("\xef\xbf\xbd[31mred\xef\xbf\xbdxxx"));
    EXPECT_EQ(guest.os_name.size(), 128u);
}

TEST(ExamineGuest, prefers_the_native_loader_of_a_multiarch_guest) {
    FakeTree tree = debian();
    tree.files["/lib/ld-linux.so.2"] = elf(3, 1);
    tree.files["/lib/i386-linux-gnu/libc.so.6"] = elf(3, 1) + glibc_banner("2.99");
    Guest guest = examine_guest(tree);
    EXPECT_EQ(guest.architecture, "x86-64");
    EXPECT_EQ(guest.libc_version, "2.36");
}

TEST(ExamineGuest, takes_no_shim_of_alpine_for_glibc) {
    FakeTree tree;
    tree.files["/etc/os-release"] = "ID=alpine\nPRETTY_NAME=\"Alpine Linux v3.20\"\n";
    tree.files["/lib/ld-musl-x86_64.so.1"] = elf(x86_64);
    EXPECT_EQ(examine_guest(tree).libc, Libc::musl);
    tree.files["/lib64/ld-linux-x86-64.so.2"] = elf(x86_64);  // gcompat
    EXPECT_EQ(examine_guest(tree).libc, Libc::musl);
    EXPECT_THAT(guest_problem(examine_guest(tree), "x86-64").value_or(""),
                AllOf(HasSubstr("Alpine Linux v3.20"), HasSubstr("musl"), HasSubstr("Debian")));
}

TEST(ExamineGuest, finds_glibc_beside_an_installed_musl) {
    FakeTree tree = debian();
    tree.files["/lib/ld-musl-x86_64.so.1"] = elf(x86_64);
    EXPECT_EQ(examine_guest(tree).libc, Libc::glibc);
}

TEST(ExamineGuest, believes_no_loader_that_is_no_elf_file) {
    FakeTree tree = debian();
    tree.files["/lib64/ld-linux-x86-64.so.2"] = "#!/bin/sh\n";
    EXPECT_EQ(examine_guest(tree).libc, Libc::none);
}

TEST(GuestProblem, names_each_reason_with_a_way_out) {
    Guest fine = examine_guest(debian());
    auto problem = [&](auto change) {
        Guest guest = fine;
        change(guest);
        return guest_problem(guest, "x86-64").value_or("");
    };
    EXPECT_THAT(guest_problem(Guest{}, "x86-64").value_or(""), HasSubstr("No operating system was found"));
    EXPECT_THAT(problem([](Guest& g) { g.libc = Libc::none; }), HasSubstr("has no glibc"));
    EXPECT_THAT(problem([](Guest& g) { g.libc_version = "2.16"; }),
                HasSubstr("has glibc 2.16, and 2.17 is the oldest"));
    EXPECT_THAT(problem([](Guest& g) { g.libc_version = "2.9"; }), HasSubstr("has glibc 2.9"));
    EXPECT_THAT(problem([](Guest& g) { g.architecture = "aarch64"; }), HasSubstr("another processor (aarch64)"));
    EXPECT_EQ(problem([](Guest& g) { g.has_systemd = false; }), "") << "then the host does the set-up";
    EXPECT_THAT(problem([](Guest& g) { g.has_ldconfig = false; }), HasSubstr("has no ldconfig"));
    EXPECT_EQ(problem([](Guest& g) { g.libc_version = "2.17"; }), "");
    EXPECT_EQ(problem([](Guest& g) { g.libc_version = "3.0"; }), "");
    EXPECT_EQ(problem([](Guest& g) { g.libc_version = ""; }), "");  // an unknown version may well do
}

TEST(OsRelease, follows_the_quoting_rules) {
    auto parsed = parse_os_release(
        "# ID=comment\n\nA=plain\r\nB=\"double \\\"quoted\\\" \\$x \\n\"\nC='single \\x'\n  D=indented  \nE=\"open\n"
        "F G=x\n=x\nNOEQUALS\nA=again\nH=a'b c'd\nI=");
    EXPECT_EQ(parsed["A"], "again");
    EXPECT_EQ(parsed["B"], "double \"quoted\" $x \\n");
    EXPECT_EQ(parsed["C"], "single \\x");
    EXPECT_EQ(parsed["D"], "indented");
    EXPECT_EQ(parsed["H"], "ab cd");
    EXPECT_FALSE(parsed.contains("E"));
    EXPECT_FALSE(parsed.contains("ID"));
    EXPECT_TRUE(parsed.contains("I"));
    EXPECT_EQ(parsed.size(), 6u);
}

TEST(Elf, names_the_architecture_of_a_header) {
    EXPECT_EQ(elf_architecture(elf(x86_64)), "x86-64");
    EXPECT_EQ(elf_architecture(elf(aarch64)), "aarch64");
    EXPECT_EQ(elf_architecture(elf(3, 1)), "x86");
    EXPECT_EQ(elf_architecture(elf(x86_64, 1)), "other");  // x32
    EXPECT_EQ(elf_architecture(elf(243)), "other");        // RISC-V
    EXPECT_EQ(elf_architecture(elf(x86_64, 2, 2)), "other");
    EXPECT_EQ(elf_architecture(elf(0x3e3e)), "other");
    EXPECT_EQ(elf_architecture(""), "");
    EXPECT_EQ(elf_architecture(elf(x86_64).substr(0, 19)), "");
    EXPECT_EQ(elf_architecture("#!/bin/sh and some more text"), "");
}

TEST(GlibcVersion, comes_from_the_banner) {
    EXPECT_EQ(glibc_version(glibc_banner("2.31")), "2.31");
    EXPECT_EQ(glibc_version("GNU C Library (GNU libc) stable release version 2.17, by Roland McGrath et al.\n"),
              "2.17");
    EXPECT_EQ(glibc_version("xGNU C Library and nothing\nGNU C Library development release version 2.41.9000.\n"),
              "2.41.9000");
    EXPECT_EQ(glibc_version("GNU C Library"), "");
    EXPECT_EQ(glibc_version("GNU C Library\nstable release version 2.17"), "");
    EXPECT_EQ(glibc_version("GNU C Library stable release version "), "");
    EXPECT_EQ(glibc_version("GNU C Library stable release version " + std::string(100, '1')), "");
    EXPECT_EQ(glibc_version("stable release version 2.17"), "");
}

}  // namespace
}  // namespace cuda_nspawn
