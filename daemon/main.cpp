// cuda-nspawnd: gives systemd-nspawn machines the host's NVIDIA GPUs. docs/design.md tells how it is built.
#include <fmt/format.h>
#include <getopt.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "daemon.hpp"
#include "system/log.hpp"

namespace {

constexpr const char* usage = R"(Usage: cuda-nspawnd [OPTIONS]

Gives systemd-nspawn machines the host's NVIDIA GPUs. Started by cuda-nspawnd.service; see cuda-nspawnd(8).

  --root=DIR       look for libraries, unit files and images below DIR  (/)
  --proc=DIR       the kernel module's side of the driver               (/proc)
  --sys=DIR                                                             (/sys)
  --policies=DIR   machine policies, NAME.yaml    (/etc/cuda-nspawn/machines and systemd's other places)
  --runtime=DIR    requests and states            (/run/cuda-nspawn)
  --debug          log more
  --help, --version
)";

enum Option { root = 256, proc, sys, policies, runtime, debug, help, version };

constexpr option options[] = {{"root", required_argument, nullptr, root},
                              {"proc", required_argument, nullptr, proc},
                              {"sys", required_argument, nullptr, sys},
                              {"policies", required_argument, nullptr, policies},
                              {"runtime", required_argument, nullptr, runtime},
                              {"debug", no_argument, nullptr, debug},
                              {"help", no_argument, nullptr, help},
                              {"version", no_argument, nullptr, version},
                              {nullptr, 0, nullptr, 0}};

void block_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
}

// Returns an exit status, or -1 to go on.
int parse(int argc, char** argv, cuda_nspawn::DaemonPlaces& places) {
    for (int choice; (choice = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
        switch (choice) {
            case root:
                places.root = optarg;
                places.host.root = optarg;
                break;
            case proc:
                places.host.proc = optarg;
                break;
            case sys:
                places.host.sys = optarg;
                break;
            case policies:
                places.policies = {optarg};
                places.defaults = std::filesystem::path(optarg).parent_path() / "defaults.yaml";
                break;
            case runtime:
                places.runtime = optarg;
                break;
            case debug:
                cuda_nspawn::set_log_level(cuda_nspawn::Severity::debug);
                break;
            case help:
                std::fputs(usage, stdout);
                return 0;
            case version:
                fmt::print("cuda-nspawnd {}\n", CUDA_NSPAWN_VERSION);
                return 0;
            default:
                std::fputs("Try cuda-nspawnd --help.\n", stderr);
                return 2;
        }
    }
    if (optind == argc) return -1;
    fmt::print(stderr, "cuda-nspawnd takes no argument, but got \"{}\". Try cuda-nspawnd --help.\n", argv[optind]);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    cuda_nspawn::DaemonPlaces places;
    if (const int status = parse(argc, argv, places); status >= 0) return status;
    block_signals();
    try {
        cuda_nspawn::EventLoop loop;
        return cuda_nspawn::Daemon(loop, std::move(places)).run();
    } catch (const std::exception& error) {
        cuda_nspawn::log(cuda_nspawn::Severity::error, "", error.what());
        return 1;
    }
}
