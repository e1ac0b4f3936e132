// Root file systems as distributions lay them out: where the loader and the C library lie, what is a link to what, and
// where os-release, systemd and ldconfig are. Read from disk by the reader that reads real ones.
#include <gmock/gmock.h>

#include "driver_fixture.hpp"
#include "guest/rootfs_reader.hpp"
#include "guest_tree.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TemporaryTree;

struct Layout {
    const char* distribution;
    std::map<std::string, std::string> links;
    std::map<std::string, std::string> files;
    std::string libc_version;
    std::string problem;  // a part of it; empty: none
    // The loader's, and how many of them come before our fragment.
    std::vector<std::string> library_directories = {};
    std::size_t before_fragment = 0;
};

std::string release(const std::string& id, const std::string& name) {
    return "NAME=\"" + name + "\"\nID=" + id + "\nPRETTY_NAME=\"" + name + "\"\n";
}
std::string libc(const std::string& version, unsigned machine = x86_64, int elf_class = 2) {
    return elf(machine, elf_class) + glibc_banner(version);
}

const std::string debian_multiarch =
    "# Multiarch support\n/usr/local/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n";
const std::string suse_loader =
    "/usr/local/lib64\n/usr/local/lib\ninclude /etc/ld.so.conf.d/*.conf\n"
    "# /lib64, /lib, /usr/lib64 and /usr/lib gets added\n# automatically by ldconfig after parsing this file.\n";
const std::map<std::string, std::string> merged_usr{
    {"/bin", "usr/bin"}, {"/lib", "usr/lib"}, {"/lib64", "usr/lib64"}, {"/sbin", "usr/sbin"}};

const std::vector<Layout>& layouts() {
    static const std::vector<Layout> all{
        {"Debian 11, /usr merged",
         {{"/bin", "usr/bin"},
          {"/lib", "usr/lib"},
          {"/lib64", "usr/lib64"},
          {"/sbin", "usr/sbin"},
          {"/etc/os-release", "../usr/lib/os-release"},
          {"/usr/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-2.31.so"},
          {"/usr/lib/x86_64-linux-gnu/libc.so.6", "libc-2.31.so"}},
         {{"/usr/lib/os-release", release("debian", "Debian GNU/Linux 11 (bullseye)")},
          {"/usr/lib/x86_64-linux-gnu/ld-2.31.so", elf(x86_64)},
          {"/usr/lib/x86_64-linux-gnu/libc-2.31.so", libc("2.31")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/sbin/ldconfig", elf(x86_64)},
          {"/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n\n"},
          {"/etc/ld.so.conf.d/libc.conf", "# libc default configuration\n/usr/local/lib\n"},
          {"/etc/ld.so.conf.d/x86_64-linux-gnu.conf", debian_multiarch},
          {"/usr/local/lib/python3.9/dist-packages/.keep", ""}},
         "2.31",
         "",
         {"/usr/local/lib", "/lib/x86_64-linux-gnu", "/lib64", "/lib"}},
        {"Debian 9, /usr not merged",
         {{"/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-2.24.so"}},
         {{"/etc/os-release", release("debian", "Debian GNU/Linux 9 (stretch)")},
          {"/lib/x86_64-linux-gnu/ld-2.24.so", elf(x86_64)},
          {"/lib/x86_64-linux-gnu/libc.so.6", libc("2.24")},
          {"/lib/systemd/systemd", elf(x86_64)},
          {"/usr/lib/x86_64-linux-gnu/libz.so.1", elf(x86_64)},
          {"/sbin/ldconfig", elf(x86_64)},
          {"/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n\n"},
          {"/etc/ld.so.conf.d/x86_64-linux-gnu.conf", debian_multiarch}},
         "2.24",
         "",
         {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/lib", "/usr/lib"}},
        {"Ubuntu 24.04, with 32-bit libraries beside",
         {{"/bin", "usr/bin"},
          {"/lib", "usr/lib"},
          {"/lib64", "usr/lib64"},
          {"/sbin", "usr/sbin"},
          {"/etc/os-release", "../usr/lib/os-release"},
          {"/usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"},
          {"/usr/lib/ld-linux.so.2", "i386-linux-gnu/ld-linux.so.2"}},
         {{"/usr/lib/os-release", release("ubuntu", "Ubuntu 24.04 LTS")},
          {"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", elf(x86_64)},
          {"/usr/lib/x86_64-linux-gnu/libc.so.6", libc("2.39")},
          {"/usr/lib/i386-linux-gnu/ld-linux.so.2", elf(3, 1)},
          {"/usr/lib/i386-linux-gnu/libc.so.6", libc("2.39", 3, 1)},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/sbin/ldconfig", "#!/bin/sh\n"},
          {"/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n\n"},
          {"/etc/ld.so.conf.d/fakeroot-x86_64-linux-gnu.conf", "/usr/lib/x86_64-linux-gnu/libfakeroot\n"},
          {"/etc/ld.so.conf.d/i386-linux-gnu.conf",
           "# Multiarch support\n/usr/local/lib/i386-linux-gnu\n/lib/i386-linux-gnu\n/usr/lib/i386-linux-gnu\n"},
          {"/etc/ld.so.conf.d/libc.conf", "# libc default configuration\n/usr/local/lib\n"},
          {"/etc/ld.so.conf.d/x86_64-linux-gnu.conf", debian_multiarch},
          {"/usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-sysv.so", elf(x86_64)},
          {"/usr/local/lib/.keep", ""}},
         "2.39",
         "",
         {"/usr/lib/x86_64-linux-gnu/libfakeroot", "/lib/i386-linux-gnu", "/usr/local/lib", "/lib/x86_64-linux-gnu",
          "/lib64", "/lib"}},
        {"Fedora 42, whose sbin is bin",
         {{"/bin", "usr/bin"},
          {"/lib", "usr/lib"},
          {"/lib64", "usr/lib64"},
          {"/sbin", "usr/sbin"},
          {"/usr/sbin", "bin"},
          {"/etc/os-release", "../usr/lib/os-release"}},
         {{"/usr/lib/os-release", release("fedora", "Fedora Linux 42 (Container Image)")},
          {"/usr/lib64/ld-linux-x86-64.so.2", elf(x86_64)},
          {"/usr/lib64/libc.so.6", libc("2.41")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/bin/ldconfig", elf(x86_64)},
          {"/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n"},
          {"/etc/ld.so.conf.d/pipewire-jack-x86_64.conf", "/usr/lib64/pipewire-0.3/jack/\n"},
          {"/usr/lib64/pipewire-0.3/jack/libjack.so.0", elf(x86_64)},
          {"/usr/lib/.keep", ""}},
         "2.41",
         "",
         {"/usr/lib64/pipewire-0.3/jack", "/lib64", "/lib"}},
        {"Rocky Linux 8",
         {{"/bin", "usr/bin"},
          {"/lib", "usr/lib"},
          {"/lib64", "usr/lib64"},
          {"/sbin", "usr/sbin"},
          {"/etc/os-release", "../usr/lib/os-release"},
          {"/usr/lib64/ld-linux-x86-64.so.2", "ld-2.28.so"},
          {"/usr/lib64/libc.so.6", "libc-2.28.so"}},
         {{"/usr/lib/os-release", release("rocky", "Rocky Linux 8.10 (Green Obsidian)")},
          {"/usr/lib64/ld-2.28.so", elf(x86_64)},
          {"/usr/lib64/libc-2.28.so", libc("2.28")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/sbin/ldconfig", elf(x86_64)},
          {"/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n"},
          {"/etc/ld.so.conf.d/bind-export-x86_64.conf", "/usr/lib64/bind9-export/\n"},
          {"/etc/ld.so.conf.d/kernel-4.18.0-553.el8.x86_64.conf",
           "# Placeholder file, no vDSO hwcap entries used in this kernel.\n"},
          {"/usr/lib64/bind9-export/libdns-export.so.1", elf(x86_64)}},
         "2.28",
         "",
         {"/usr/lib64/bind9-export", "/lib64", "/lib"}},
        {"CentOS 7, with what its kernel says of processors",
         merged_usr,
         {{"/usr/lib/os-release", release("centos", "CentOS Linux 7 (Core)")},
          {"/usr/lib64/ld-linux-x86-64.so.2", elf(x86_64)},
          {"/usr/lib64/libc.so.6", libc("2.17")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/sbin/ldconfig", elf(x86_64)},
          {"/etc/os-release", release("centos", "CentOS Linux 7 (Core)")},
          {"/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n"},
          {"/etc/ld.so.conf.d/kernel-3.10.0-1160.el7.x86_64.conf",
           "# This directive teaches ldconfig to search in nosegneg subdirectories\nhwcap 1 nosegneg\n"},
          {"/etc/ld.so.conf.d/mariadb-x86_64.conf", "/usr/lib64/mysql\n"},
          {"/usr/lib64/mysql/libmysqlclient.so.18", elf(x86_64)}},
         "2.17",
         "",
         {"/usr/lib64/mysql", "/lib64", "/lib"}},
        {"CentOS 6, older than the driver",
         {{"/lib64/ld-linux-x86-64.so.2", "ld-2.12.so"}, {"/lib64/libc.so.6", "libc-2.12.so"}},
         {{"/etc/os-release", release("centos", "CentOS 6")},
          {"/lib64/ld-2.12.so", elf(x86_64)},
          {"/lib64/libc-2.12.so", libc("2.12")},
          {"/sbin/init", elf(x86_64)},
          {"/sbin/ldconfig", elf(x86_64)}},
         "2.12",
         "The guest (CentOS 6) has glibc 2.12, and 2.17 is the oldest",
         {"/lib64"}},
        {"openSUSE Leap 15, libraries below /lib64",
         {{"/etc/os-release", "../usr/lib/os-release"}},
         {{"/usr/lib/os-release", release("opensuse-leap", "openSUSE Leap 15.6")},
          {"/lib64/ld-linux-x86-64.so.2", elf(x86_64)},
          {"/lib64/libc.so.6", libc("2.38")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/lib64/libz.so.1", elf(x86_64)},
          {"/lib/modules/.keep", ""},
          {"/usr/local/lib64/.keep", ""},
          {"/usr/local/lib/.keep", ""},
          {"/sbin/ldconfig", elf(x86_64)},
          {"/etc/ld.so.conf", suse_loader},
          {"/etc/ld.so.conf.d/graphviz.conf", "/usr/lib64/graphviz\n"}},
         "2.38",
         "",
         {"/usr/local/lib64", "/usr/local/lib", "/lib64", "/usr/lib64", "/lib", "/usr/lib"},
         2},
        {"openSUSE Tumbleweed",
         merged_usr,
         {{"/usr/lib/os-release", release("opensuse-tumbleweed", "openSUSE Tumbleweed")},
          {"/usr/lib64/ld-linux-x86-64.so.2", elf(x86_64)},
          {"/usr/lib64/libc.so.6", libc("2.42")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/sbin/ldconfig", elf(x86_64)},
          {"/usr/local/lib64/.keep", ""},
          {"/etc/ld.so.conf", suse_loader}},
         "2.42",
         "",
         {"/usr/local/lib64", "/lib64", "/lib"},
         1},
        {"Arch, where every directory of libraries is one",
         {{"/bin", "usr/bin"},
          {"/lib", "usr/lib"},
          {"/lib64", "usr/lib"},
          {"/sbin", "usr/bin"},
          {"/usr/lib64", "lib"},
          {"/usr/sbin", "bin"},
          {"/etc/os-release", "../usr/lib/os-release"}},
         {{"/usr/lib/os-release", release("arch", "Arch Linux")},
          {"/usr/lib/ld-linux-x86-64.so.2", elf(x86_64)},
          {"/usr/lib/libc.so.6", libc("2.42")},
          {"/usr/lib/systemd/systemd", elf(x86_64)},
          {"/usr/bin/ldconfig", elf(x86_64)},
          {"/etc/ld.so.conf",
           "# Dynamic linker/loader configuration.\n# See ld.so(8) and ldconfig(8) for details.\n\n"
           "include /etc/ld.so.conf.d/*.conf\n"},
          {"/etc/ld.so.conf.d/fakeroot.conf", "/usr/lib/libfakeroot\n"},
          {"/etc/ld.so.conf.d/lib32-glibc.conf", "/usr/lib32\n"},
          {"/usr/lib/libfakeroot/libfakeroot.so", elf(x86_64)},
          {"/usr/lib32/libc.so.6", libc("2.42", 3, 1)}},
         "2.42",
         "",
         {"/usr/lib/libfakeroot", "/usr/lib32", "/lib64"}},
        {"Alpine",
         {{"/lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1"}},
         {{"/etc/os-release", release("alpine", "Alpine Linux v3.20")},
          {"/lib/ld-musl-x86_64.so.1", elf(x86_64)},
          {"/sbin/ldconfig", "#!/bin/sh\n"}},
         "",
         "The guest (Alpine Linux v3.20) uses musl"},
        {"NixOS, whose loader at the usual place only says that it is none",
         {{"/etc/os-release", "/etc/static/os-release"},
          {"/etc/static", "/nix/store/abc-etc/etc"},
          {"/lib64/ld-linux-x86-64.so.2", "/nix/store/abc-stub-ld/bin/stub-ld"},
          {"/sbin/init", "/nix/store/abc-nixos-system/init"}},
         {{"/nix/store/abc-etc/etc/os-release", release("nixos", "NixOS 24.11 (Vicuna)")},
          {"/nix/store/abc-stub-ld/bin/stub-ld", elf(x86_64)},
          {"/nix/store/abc-nixos-system/init", "#!/bin/sh\n"},
          {"/nix/store/abc-glibc/lib/libc.so.6", libc("2.40")}},
         "",
         "The guest (NixOS 24.11 (Vicuna)) keeps its libraries in /nix/store",
         {"/lib64"}},
        {"Debian 12 for aarch64",
         {{"/bin", "usr/bin"},
          {"/lib", "usr/lib"},
          {"/sbin", "usr/sbin"},
          {"/etc/os-release", "../usr/lib/os-release"}},
         {{"/usr/lib/os-release", release("debian", "Debian GNU/Linux 12 (bookworm)")},
          {"/usr/lib/ld-linux-aarch64.so.1", elf(aarch64)},
          {"/usr/lib/aarch64-linux-gnu/libc.so.6", libc("2.36", aarch64)},
          {"/usr/lib/systemd/systemd", elf(aarch64)},
          {"/usr/sbin/ldconfig", elf(aarch64)}},
         "2.36",
         "is built for another processor (aarch64)",
         {"/lib/aarch64-linux-gnu", "/lib"}},
    };
    return all;
}

TEST(GuestLayouts, each_distribution_is_known_or_refused_with_the_reason) {
    for (const Layout& layout : layouts()) {
        SCOPED_TRACE(layout.distribution);
        const TemporaryTree tree;
        for (const auto& [path, text] : layout.files) tree.write(path, text);
        for (const auto& [path, target] : layout.links) tree.link(path, target);
        const Guest guest = examine_guest(RootfsReader(tree.path()));
        EXPECT_EQ(guest.libc_version, layout.libc_version);
        EXPECT_THAT(guest.library_directories, ElementsAreArray(layout.library_directories));
        EXPECT_EQ(guest.before_fragment, layout.before_fragment);
        EXPECT_THAT(guest.bundled, IsEmpty());
        const std::string problem = guest_problem(guest, "x86-64").value_or("");
        if (layout.problem.empty())
            EXPECT_EQ(problem, "");
        else
            EXPECT_THAT(problem, HasSubstr(layout.problem));
    }
}

}  // namespace
}  // namespace cuda_nspawn
