// inotify on directories: editors that write, rename or link a file into place are all noticed. inotify(7)
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "system/event_loop.hpp"

namespace cuda_nspawn {

class Watcher {
public:
    explicit Watcher(EventLoop& loop) : loop_(loop) {}
    ~Watcher();
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

    // Calls back with the names that changed in the directory, once per burst (no event for 50 ms). A directory that
    // does not exist yet is waited for through its parent; when it appears or goes, or when the kernel dropped events,
    // `all` may have changed: the names are those that are there then, and others may be there no more.
    // Where the kernel refuses to watch, a warning in the journal says what to raise.
    using Callback = std::function<void(const std::vector<std::string>& names, bool all)>;
    void watch(const std::filesystem::path& directory, Callback callback);

private:
    struct Watch;
    void arm(Watch& watch);
    static void warn(const std::filesystem::path& directory, int error);
    static int on_event(sd_event_source* source, const struct inotify_event* event, void* data);

    EventLoop& loop_;
    std::vector<std::shared_ptr<Watch>> watches_;
};

}  // namespace cuda_nspawn
