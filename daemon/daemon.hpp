// The daemon, put together: adapters, engine and bus on one loop. All decisions are the engine's.
#pragma once

#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bus/service.hpp"
#include "driver/driver.hpp"
#include "engine/engine.hpp"
#include "system/event_loop.hpp"
#include "system/host_changes.hpp"
#include "system/live_ports.hpp"
#include "system/machined.hpp"
#include "system/policy_files.hpp"
#include "system/systemd.hpp"
#include "system/watcher.hpp"
#include "system/workers.hpp"

namespace cuda_nspawn {

// Where everything lies; the defaults are a real host's.
struct DaemonPlaces {
    std::filesystem::path root = "/";
    HostRoots host;
    std::vector<std::filesystem::path> policies{"/etc/cuda-nspawn/machines", "/run/cuda-nspawn/policies",
                                                "/usr/lib/cuda-nspawn/machines"};
    std::filesystem::path defaults = "/etc/cuda-nspawn/defaults.yaml";
    std::filesystem::path runtime = "/run/cuda-nspawn";
};

class Daemon {
public:
    Daemon(EventLoop& loop, DaemonPlaces places);
    // Until the loop ends. Returns the exit status.
    int run();

private:
    void begin();
    void read_policies();
    void read_written_policies(const std::vector<std::string>& names);
    void refresh_driver(const std::string& cause);
    void look_if_due();
    void refresh(const std::string& cause);
    void load_modules();
    void verify_all(const std::string& cause);
    void verify_after_sleep();
    HostChanges::Handlers change_handlers();
    void enumerate_machines(std::function<void()> then = {});
    void clear_work();
    void adopt_leftovers();
    void watch_files();
    void on_change();
    void become_ready();
    void tell_status();
    void trim_later();
    void forget_jobs_later();
    void retry_build_later();

    EventLoop& loop_;
    DaemonPlaces places_;
    PolicyFiles policies_;
    sd_bus* bus_;  // the connection's, which ends it
    std::unique_ptr<sdbus::IConnection> connection_;
    bus::Service service_;
    Systemd systemd_;
    Machined machined_;
    Workers workers_;
    LivePorts ports_;
    Engine engine_;
    Watcher watcher_;
    HostChanges changes_;
    Driver seen_;  // as it was looked at last, before the engine judged it
    sdbus::Slot disconnected_;
    EventLoop::Timer ready_deadline_;
    EventLoop::Timer forget_timer_;
    EventLoop::Timer retry_timer_;
    EventLoop::Timer trim_timer_;
    std::string retried_failure_;
    std::vector<std::string> policy_warnings_;
    std::string status_;  // as systemd was told
    bool trim_due_ = false;
    bool begun_ = false;
    bool look_due_ = false;  // an attach wants the driver looked at, which nobody should wait for
    bool ready_ = false;
};

}  // namespace cuda_nspawn
