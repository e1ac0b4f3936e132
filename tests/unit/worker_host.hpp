// A host's root for the expose worker: the inside directory, a store with one complete generation, an image.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "driver/generation.hpp"
#include "driver_fixture.hpp"
#include "engine_fixture.hpp"
#include "worker/expose.hpp"

namespace cuda_nspawn::testing {

class WorkerHost : public ::testing::Test {
protected:
    WorkerHost() {
        tree.write_program("/inside/setup", "set-up");
        tree.write("/inside/units/cuda-nspawn-setup.service", "[Service]\n");
        tree.link("/inside/units/sysinit.target.wants/cuda-nspawn-setup.service", "../cuda-nspawn-setup.service");
        tree.write("/host/var/lib/machines/a/etc/os-release", "ID=debian\n");
        host.root = tree.at("/host");
        host.inside = tree.at("/inside");
        host.driver = make_driver();
        tree.write("/host/lib/libcuda.so.999.42.01", "E");
        const timespec times[2]{{0, UTIME_OMIT}, {0, host.driver.files[0].mtime_ns}};
        ::utimensat(AT_FDCWD, tree.at("/host/lib/libcuda.so.999.42.01").c_str(), times, 0);
        build_generation(host.driver, generation, tree.at("/host/var/lib/cuda-nspawn/driver"), host.root);
    }

    // Device nodes need root; everything else does not.
    static bool is_root() { return ::geteuid() == 0; }

    Plan prepared(const std::string& machine = "a") const {
        Plan plan;
        plan.machine = machine;
        plan.policy_path = "/etc/cuda-nspawn/machines/" + machine + ".yaml";
        plan.present = true;
        plan.mounts = true;
        return plan;
    }
    Plan granted(const std::string& machine = "a") const {
        Plan plan = prepared(machine);
        plan.generation = generation;
        plan.capabilities = {Capability::compute, Capability::utility};
        plan.nodes = {
            {"nvidia-uvm", 510, 0}, {"nvidia-uvm-tools", 510, 1}, {"nvidia0", 195, 0}, {"nvidiactl", 195, 255}};
        return plan;
    }
    Plan nothing(const std::string& machine = "a") const {
        Plan plan;
        plan.machine = machine;
        return plan;
    }

    Exposed run(const Plan& plan, bool dry_run = false) const {
        const ExposeReport report = expose({{plan}, dry_run, {}}, host);
        return report.at(plan.machine);
    }
    // Everything below the host's /run, sorted: path, with " -> TARGET" for links and " c M:N" for nodes.
    std::vector<std::string> below_run() const {
        std::vector<std::string> paths;
        if (!std::filesystem::exists(tree.at("/host/run"))) return paths;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(tree.at("/host/run"))) {
            std::string text = "/" + entry.path().lexically_relative(host.root).string();
            if (text.starts_with("/run/cuda-nspawn/machines/.inside")) continue;
            struct stat status{};
            ::lstat(entry.path().c_str(), &status);
            if (S_ISLNK(status.st_mode)) text += " -> " + std::filesystem::read_symlink(entry.path()).string();
            if (S_ISCHR(status.st_mode))
                text += " c " + std::to_string(major(status.st_rdev)) + ":" + std::to_string(minor(status.st_rdev));
            if (!S_ISDIR(status.st_mode)) paths.push_back(text);
        }
        std::sort(paths.begin(), paths.end());
        return paths;
    }
    static std::vector<std::string> text_of(const std::vector<Change>& changes) {
        std::vector<std::string> texts;
        for (const Change& change : changes) texts.push_back(change.type + " " + change.path + " " + change.detail);
        return texts;
    }
    ino_t inode(const std::string& path) const {
        struct stat status{};
        if (::lstat(tree.at("/host" + path).c_str(), &status) != 0) return 0;
        return status.st_ino;
    }
    std::string read(const std::string& path) const { return tree.read("/host" + path); }
    void write(const std::string& path, const std::string& text) const { tree.write("/host" + path, text); }

    TemporaryTree tree;
    ExposeHost host;
    const std::string generation = generation_name(make_driver());
};

}  // namespace cuda_nspawn::testing
