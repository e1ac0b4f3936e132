// What is in a guest that has to do with CUDA: settings, packages, libraries. Friendly ones.
#include <gmock/gmock.h>

#include <fmt/format.h>

#include "driver_fixture.hpp"
#include "guest/rootfs_reader.hpp"
#include "guest/software.hpp"

namespace cuda_nspawn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::make_elf;
using testing::TemporaryTree;

class GuestSoftwareTest : public ::testing::Test {
protected:
    GuestSoftware examine() const {
        Guest known;
        known.libc = Libc::glibc;
        known.architecture = "x86-64";
        known.bundled = bundled;
        return examine_software(RootfsReader(tree.path()), known);
    }
    // "FILE:LINE [UNIT] NAME=VALUE"
    std::vector<std::string> environment() const {
        std::vector<std::string> texts;
        for (const auto& one : examine().environment)
            texts.push_back(fmt::format("{}:{} {}{}={}", one.file, one.line,
                                        one.unit.empty() ? "" : fmt::format("[{}] ", one.unit), one.name, one.value));
        return texts;
    }
    // "NAME VERSION CUDA", conda's with "conda " before it
    std::vector<std::string> packages() const {
        std::vector<std::string> texts;
        for (const auto& one : examine().packages)
            texts.push_back(fmt::format("{}{} {} {}", one.kind == PackageKind::conda ? "conda " : "", one.name,
                                        one.version, one.cuda));
        return texts;
    }
    std::vector<std::string> libraries() const {
        std::vector<std::string> texts;
        for (const auto& one : examine().libraries)
            texts.push_back(fmt::format("{} {} {}", one.path, one.version, static_cast<int>(one.kind)));
        return texts;
    }
    void make(const std::string& directory) const { std::filesystem::create_directories(tree.at(directory)); }
    void add_library(const std::string& directory, const std::string& version) const {
        tree.write(directory + "/libcuda.so." + version, testing::elf("libcuda.so.1"));
        tree.link(directory + "/libcuda.so.1", "libcuda.so." + version);
    }

    TemporaryTree tree;
    std::vector<BundledLibrary> bundled;
};

TEST_F(GuestSoftwareTest, reads_settings_of_logins) {
    tree.write("/etc/environment", "# LD_PRELOAD=/no\nPATH=/bin\nexport LD_LIBRARY_PATH=\"/opt/a b:/opt/c\"\n");
    tree.write("/etc/environment.d/50-cuda.conf", "CUDA_VISIBLE_DEVICES=0,1\n");
    tree.write("/etc/environment.d/readme", "CUDA_VISIBLE_DEVICES=2\n");
    tree.write("/etc/security/pam_env.conf",
               "#LD_PRELOAD DEFAULT=/no\nNVIDIA_VISIBLE_DEVICES\tDEFAULT=void OVERRIDE=all\n");
    EXPECT_THAT(environment(), ElementsAre("/etc/environment:3 LD_LIBRARY_PATH=/opt/a b:/opt/c",
                                           "/etc/environment.d/50-cuda.conf:1 CUDA_VISIBLE_DEVICES=0,1",
                                           "/etc/security/pam_env.conf:2 NVIDIA_VISIBLE_DEVICES=all"));
}

TEST_F(GuestSoftwareTest, reads_settings_of_shells) {
    tree.write("/etc/profile.d/cuda.sh",
               "if true; then export LD_LIBRARY_PATH=/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}; fi\n"
               "MY_LD_PRELOAD=/no\necho \"$LD_PRELOAD\" # LD_PRELOAD=/no\n  LD_PRELOAD='/opt/x y.so' exec foo\n");
    tree.write("/etc/profile", "export CUDA_VISIBLE_DEVICES=\n");
    tree.write("/etc/bash.bashrc", "declare -x CUDA_VISIBLE_DEVICES=\"1\"\n");
    tree.write("/root/.bashrc", "A=1 \\\n  NVIDIA_VISIBLE_DEVICES=none\n");
    tree.write("/root/.profile", "export A=CUDA_VISIBLE_DEVICES=3\n");
    tree.write("/etc/default/worker", "CUDA_VISIBLE_DEVICES=2\n");
    EXPECT_THAT(
        environment(),
        ElementsAre("/etc/default/worker:1 CUDA_VISIBLE_DEVICES=2", "/etc/profile:1 CUDA_VISIBLE_DEVICES=",
                    "/etc/profile.d/cuda.sh:1 "
                    "LD_LIBRARY_PATH=/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:${LD_LIBRARY_PATH}}",
                    "/etc/profile.d/cuda.sh:4 LD_PRELOAD=/opt/x y.so", "/etc/bash.bashrc:1 CUDA_VISIBLE_DEVICES=1",
                    "/root/.bashrc:1 NVIDIA_VISIBLE_DEVICES=none"));
}

TEST_F(GuestSoftwareTest, reads_settings_of_the_loader_and_of_systemd) {
    tree.write("/etc/ld.so.preload", "\n/opt/hook.so /opt/b.so\n");
    tree.write("/etc/systemd/system.conf",
               "[Manager]\n#DefaultEnvironment=LD_PRELOAD=/no\nManagerEnvironment=LD_PRELOAD=/no\n");
    tree.write("/etc/systemd/system.conf.d/a.conf",
               "[Manager]\nDefaultEnvironment=A=1 \"LD_LIBRARY_PATH=/opt/all\" CUDA_VISIBLE_DEVICES=0\n");
    EXPECT_THAT(environment(), ElementsAre("/etc/ld.so.preload:2 LD_PRELOAD=/opt/hook.so /opt/b.so",
                                           "/etc/systemd/system.conf.d/a.conf:2 LD_LIBRARY_PATH=/opt/all",
                                           "/etc/systemd/system.conf.d/a.conf:2 CUDA_VISIBLE_DEVICES=0"));
}

TEST_F(GuestSoftwareTest, reads_settings_of_units_and_drop_ins_as_they_hold) {
    tree.write("/usr/lib/systemd/system/a.service", "[Service]\nEnvironment=LD_PRELOAD=/no\nExecStart=/bin/a\n");
    tree.write("/usr/lib/systemd/system/a.service.d/10.conf", "[Service]\nEnvironment=LD_PRELOAD=/hidden\n");
    tree.write(
        "/etc/systemd/system/a.service.d/10.conf",
        "[Unit]\nEnvironment=LD_PRELOAD=/no\n[Service]\nEnvironment=\nEnvironment=\"LD_LIBRARY_PATH=/opt/100%%\" \\\n"
        "  'CUDA_VISIBLE_DEVICES=0 1'\nEnvironmentFile=-/etc/default/a\n");
    tree.write("/etc/default/a", "LD_LIBRARY_PATH=/opt/file\n");
    tree.write("/usr/lib/systemd/system/masked.service", "[Service]\nEnvironment=LD_PRELOAD=/no\n");
    tree.link("/etc/systemd/system/masked.service", "/dev/null");
    tree.write("/etc/systemd/system/b@.service", "[Service]\nEnvironment=LD_PRELOAD=/b\n");
    tree.write("/usr/local/lib/systemd/system/service.d/all.conf",
               "[Service]\nEnvironment=NVIDIA_VISIBLE_DEVICES=void\n");
    tree.write("/etc/systemd/system/x.timer", "[Service]\nEnvironment=LD_PRELOAD=/no\n");
    EXPECT_THAT(environment(),
                ElementsAre("/usr/local/lib/systemd/system/service.d/all.conf:2 NVIDIA_VISIBLE_DEVICES=void",
                            "/etc/systemd/system/a.service.d/10.conf:5 [a.service] LD_LIBRARY_PATH=/opt/100%",
                            "/etc/systemd/system/a.service.d/10.conf:5 [a.service] CUDA_VISIBLE_DEVICES=0 1",
                            "/etc/default/a:1 [a.service] LD_LIBRARY_PATH=/opt/file",
                            "/etc/systemd/system/b@.service:2 [b@.service] LD_PRELOAD=/b"));
}

TEST_F(GuestSoftwareTest, knows_wheels_by_their_names) {
    const std::string packages_at = "/opt/venv/lib/python3.11/site-packages/";
    for (const char* name :
         {"torch-2.4.0+cu121", "torchvision-0.19.0+cu118", "nvidia_cuda_runtime_cu12-12.4.127",
          "nvidia_cublas_cu12-12.1.3.1", "cupy_cuda12x-13.3.0", "cupy_cuda118-12.0.0", "jax_cuda12_plugin-0.4.35",
          "jaxlib-0.4.25+cuda12.cudnn89", "nvidia_cuda_runtime-13.0.48", "tensorflow-2.17.0", "numba_cuda-0.2.0",
          "numpy-2.1.0", "cu-1", "cuda-99999", "NVIDIA.NCCL_cu11-2.21.5", "jaxlib-0.4.25+cpu", "torch"})
        make(packages_at + name + ".dist-info");
    make(packages_at + "torch-9+cu121.egg-info");
    EXPECT_THAT(packages(), ElementsAre("nvidia-nccl-cu11 2.21.5 11", "cupy-cuda118 12.0.0 11.8",
                                        "cupy-cuda12x 13.3.0 12", "jax-cuda12-plugin 0.4.35 12",
                                        "jaxlib 0.4.25+cuda12.cudnn89 12", "nvidia-cublas-cu12 12.1.3.1 12",
                                        "nvidia-cuda-runtime 13.0.48 13.0", "nvidia-cuda-runtime-cu12 12.4.127 12.4",
                                        "torch 2.4.0+cu121 12.1", "torchvision 0.19.0+cu118 11.8"));
    EXPECT_EQ(examine().packages.front().path, "/opt/venv/lib/python3.11/site-packages");
}

TEST_F(GuestSoftwareTest, knows_conda_packages_by_their_names) {
    for (const char* name : {"cudatoolkit-11.8.0-h4ba93d1_13", "cuda-cudart-12.4.127-0", "cuda-version-12.4-h3060b56_3",
                             "pytorch-2.1.0-py3.11_cuda12.1_cudnn8.9.2_0", "libtorch-2.3.0-cuda120_h2b0da52_301",
                             "pytorch-2.1.0-cpu_py311", "numpy-1.26.4-py311_0", "cuda-cudart-dev-12.4.127-0", "cuda"})
        tree.write(fmt::format("/opt/conda/envs/train/conda-meta/{}.json", name), "{}");
    tree.write("/opt/conda/envs/train/conda-meta/history", "");
    EXPECT_THAT(packages(),
                ElementsAre("conda cuda-cudart 12.4.127 12.4", "conda cuda-version 12.4 12.4",
                            "conda cudatoolkit 11.8.0 11.8", "conda libtorch 2.3.0 12.0", "conda pytorch 2.1.0 12.1"));
    EXPECT_EQ(examine().packages.front().path, "/opt/conda/envs/train");
}

TEST_F(GuestSoftwareTest, looks_for_environments_where_people_have_them) {
    const std::vector<std::string> places = {"/usr/lib/python3/dist-packages",
                                             "/usr/local/lib/python3.12/dist-packages",
                                             "/opt/a/lib/python3.9/site-packages",
                                             "/opt/a/b/lib64/python3.9/site-packages",
                                             "/opt/a/envs/c/lib/python3.9/site-packages",
                                             "/root/.local/lib/python3.9/site-packages",
                                             "/root/x/venv/lib/python3.9/site-packages",
                                             "/root/miniconda3/envs/x/lib/python3.9/site-packages",
                                             "/home/u/.venv/lib/python3.9/site-packages",
                                             "/home/u/mambaforge/lib/python3.9/site-packages",
                                             "/srv/s/.venv/lib/python3.9/site-packages"};
    for (const std::string& place : places) make(place + "/cupy_cuda12x-1.dist-info");
    make("/home/u/deep/er/venv/lib/python3.9/site-packages/cupy_cuda12x-1.dist-info");
    tree.link("/opt/link", "a");
    std::set<std::string> found;
    for (const CudaPackage& package : examine().packages)
        EXPECT_TRUE(found.insert(package.path).second) << package.path;
    EXPECT_EQ(found, std::set<std::string>(places.begin(), places.end()));
}

TEST_F(GuestSoftwareTest, finds_libraries_where_the_loader_does_not_look_by_itself) {
    tree.write("/etc/environment", "LD_LIBRARY_PATH=relative:/data/lib:$HOME/x\n");
    add_library("/data/lib", "470.57.02");
    add_library("/opt/app/1.2/runtime/lib64", "535.104.05");
    add_library("/opt/plain", "1.1");
    add_library("/opt/a/b/c/d/e", "9.9");  // too deep
    tree.write("/opt/conda/conda-meta/x-1-0.json", "");
    add_library("/opt/conda/cuda-compat", "550.54.15");
    tree.write("/opt/conda/lib/stubs/libcuda.so", testing::elf("libcuda.so.1"));
    make("/opt/conda/pkgs/x");
    add_library("/opt/conda/pkgs/x/lib", "550.54.15");
    const std::string packages_at = "/srv/s/venv/lib/python3.11/site-packages";
    tree.write(packages_at + "/tool.libs/libcuda-abcdef12.so.535.54.03", testing::elf());
    tree.write(packages_at + "/tool.libs/libcuda-notahash.so.1", testing::elf());
    tree.write(packages_at + "/tool.libs/libother-abcdef12.so.1", testing::elf());
    tree.write(packages_at + "/nvidia/part/lib/libnvidia-ml.so.1", testing::elf());
    tree.write(packages_at + "/torch/lib/libnvidia-ml.so", testing::elf32());  // not this guest's
    tree.write(packages_at + "/torch/lib/libcuda.so.1", "");
    EXPECT_THAT(libraries(),
                ElementsAre("/data/lib/libcuda.so.1 470.57.02 0", "/opt/conda/lib/stubs/libcuda.so  2",
                            "/opt/conda/cuda-compat/libcuda.so.1 550.54.15 1",
                            packages_at + "/nvidia/part/lib/libnvidia-ml.so.1  0",
                            packages_at + "/tool.libs/libcuda-abcdef12.so.535.54.03 535.54.03 0",
                            packages_at + "/torch/lib/libcuda.so.1  3",
                            "/opt/app/1.2/runtime/lib64/libcuda.so.1 535.104.05 0", "/opt/plain/libcuda.so.1 1.1 0"));
}

TEST_F(GuestSoftwareTest, does_not_tell_again_of_what_is_known_or_was_found_on_another_way) {
    add_library("/usr/lib", "535.1.1");
    add_library("/opt/app/lib", "536.1.1");
    tree.link("/opt/again/libcuda.so.1", "/opt/app/lib/libcuda.so.1");
    tree.link("/opt/known/libcuda.so.1", "/usr/lib/libcuda.so.1");
    bundled = {{"/usr/lib/libcuda.so.1", "535.1.1", BundledKind::copy}};
    EXPECT_THAT(libraries(), ElementsAre("/opt/again/libcuda.so.1 536.1.1 0"));
}

std::string compat_library(const std::string& note) {
    return make_elf(
        {.soname = "libcuda.so.1", .notes = {{".note.cuda.fwd_compatibility", "NVIDIA Corporation", note}}});
}

TEST_F(GuestSoftwareTest, reads_what_compat_libraries_say_of_themselves) {
    tree.write("/usr/local/cuda-13.1/compat/libcuda.so.590.48.01",
               compat_library(R"({"Format":1,"CUDA Version":"13.1","Driver":[535,550,580],"Device":[1,7]})" +
                              std::string(3, '\0')));
    tree.link("/usr/local/cuda-13.1/compat/libcuda.so.1", "libcuda.so.590.48.01");
    tree.link("/usr/local/cuda", "cuda-13.1");
    add_library("/usr/local/cuda-11.4/compat", "470.57.02");
    tree.write("/opt/conda/conda-meta/x-1-0.json", "");
    tree.write("/opt/conda/cuda-compat/libcuda.so.1", compat_library(R"({"Driver":[-1,"5",1e400]})"));
    tree.write(
        "/data/compat/libcuda.so.1",
        compat_library(R"({"CUDA Version":"12.4\u001b","Driver":[18446744073709551616,-3,2.5,"x",[],99999,545]})"));
    bundled = {{"/data/compat/libcuda.so.1", "", BundledKind::compat}};
    EXPECT_THAT(examine().compat,
                ElementsAre(CompatLibrary{"/data/compat/libcuda.so.1", "", CompatNote{"", {545}}},
                            CompatLibrary{"/opt/conda/cuda-compat/libcuda.so.1", "", std::nullopt},
                            CompatLibrary{"/usr/local/cuda/compat/libcuda.so.1", "590.48.01",
                                          CompatNote{"13.1", {535, 550, 580}}},
                            CompatLibrary{"/usr/local/cuda-11.4/compat/libcuda.so.1", "470.57.02", std::nullopt}));
}

TEST_F(GuestSoftwareTest, reads_the_loaders_cache) {
    EXPECT_FALSE(examine().has_cache);
    tree.write("/etc/ld.so.cache",
               testing::make_ld_cache({{"libcuda.so.1", "/run/cuda-nspawn/driver/compute/lib/libcuda.so.1"},
                                       {"libcuda.so.1", "/lib32/libcuda.so.1", 0x0003},
                                       {"libc.so.6", "/lib/libc.so.6"},
                                       {"libcuda.so.1", "/usr/lib/\033libcuda.so.1"}}));
    const GuestSoftware software = examine();
    EXPECT_TRUE(software.has_cache);
    EXPECT_THAT(software.cached_libcuda,
                ElementsAre("/run/cuda-nspawn/driver/compute/lib/libcuda.so.1", "/usr/lib/\xef\xbf\xbdlibcuda.so.1"));
    tree.write("/etc/ld.so.cache", "rubbish");
    EXPECT_FALSE(examine().has_cache);
}

TEST_F(GuestSoftwareTest, knows_whether_the_loader_reads_fragments) {
    tree.write("/etc/ld.so.conf", "/usr/lib\n");
    EXPECT_FALSE(examine().reads_fragments);
    tree.write("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
    EXPECT_TRUE(examine().reads_fragments);
}

TEST_F(GuestSoftwareTest, finds_container_tools_and_cdi_specs) {
    tree.write("/usr/bin/podman", "");
    tree.write("/usr/local/bin/docker", "");
    make("/usr/bin/nerdctl");
    tree.write("/etc/cdi/other.yaml", "kind: vendor.com/device\n");
    tree.write("/run/cdi/nvidia.txt", "kind: nvidia.com/gpu\n");
    EXPECT_THAT(examine().container_tools, ElementsAre("/usr/local/bin/docker", "/usr/bin/podman"));
    EXPECT_FALSE(examine().has_cdi_spec);
    tree.write("/var/run/cdi/nvidia.json", R"({"kind":"nvidia.com/gpu"})");
    EXPECT_TRUE(examine().has_cdi_spec);
}

TEST_F(GuestSoftwareTest, is_silent_on_an_ordinary_root) {
    tree.write("/etc/environment", "");
    tree.write("/etc/profile", "PATH=/usr/bin\nexport PATH\n");
    tree.write("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
    tree.write("/usr/lib/systemd/system/ssh.service",
               "[Service]\nEnvironmentFile=-/etc/default/ssh\nEnvironment=A=1\n");
    make("/usr/lib/python3/dist-packages/requests-2.32.dist-info");
    make("/opt/containerd/bin");
    EXPECT_EQ(examine(), GuestSoftware{});
}

}  // namespace
}  // namespace cuda_nspawn
