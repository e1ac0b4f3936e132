// What changes on the host by other hands, noticed without asking: docs/design.md, "What is noticed, and how".
// Says that something may have changed; whoever is told looks for himself.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "system/event_loop.hpp"
#include "system/uevents.hpp"
#include "system/watcher.hpp"

namespace cuda_nspawn {

// No module of NVIDIA's is on its way in or out: its "add" event comes before its init has ended.
bool nvidia_modules_are_settled(const std::filesystem::path& sys);

// A file that begins with our mark. Follows no link: where one is, an admin made it.
bool is_generated_file(const std::filesystem::path& path);

class HostChanges {
public:
    struct Places {
        std::filesystem::path root = "/";
        std::filesystem::path sys = "/sys";
    };
    struct Handlers {
        std::function<void(const std::string& cause)> driver;    // may be another one
        std::function<void(const std::string& machine)> images;  // image, or the admin's settings
        std::function<void(const std::string& machine)> copied;  // it has a settings file of ours that is another's
        std::function<void()> resumed;                           // the host slept
        std::function<bool(const std::string& pci_address)> is_gpu;
        // Whether a settings file of ours belongs to that machine.
        std::function<bool(const std::string& machine)> has_settings;
    };
    HostChanges(EventLoop& loop, sdbus::IConnection& connection, Places places, Handlers handlers);

    // Begins to notice. To be called before the host is looked at, so that no change falls between.
    void watch();

private:
    void watch_login1();
    void watch_files();
    void on_uevent(const std::optional<Uevent>& event);
    void look_when_settled(std::uint64_t delay_usec);
    void on_cache_change();
    void on_runtime_settings(const std::string& machine);

    EventLoop& loop_;
    sdbus::IConnection& connection_;
    Places places_;
    Handlers handlers_;
    Watcher watcher_;
    std::optional<Uevents> uevents_;
    std::unique_ptr<sdbus::IProxy> login1_;
    EventLoop::Timer settling_;
    int waits_left_ = 0;
    int looks_left_ = 0;
    EventLoop::Timer cache_quiet_;
};

}  // namespace cuda_nspawn
