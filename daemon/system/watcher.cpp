#include "system/watcher.hpp"

#include <fmt/format.h>
#include <sys/inotify.h>

#include <cerrno>
#include <set>
#include <utility>

#include "system/log.hpp"

namespace cuda_nspawn {

namespace {
constexpr std::uint64_t burst_usec = 50'000;
constexpr std::uint32_t content_events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE;
constexpr std::uint32_t self_events = IN_DELETE_SELF | IN_MOVE_SELF;
}  // namespace

struct Watcher::Watch {
    Watcher* owner = nullptr;
    std::filesystem::path directory;
    std::filesystem::path watched;  // the directory, or the nearest parent that exists
    Callback callback;
    std::set<std::string> names;
    sd_event_source* source = nullptr;
    EventLoop::Timer burst;
    bool rearm = false;

    void add_present_names();
};

// All that is in the directory; nothing of one that is not there.
void Watcher::Watch::add_present_names() {
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error))
        names.insert(entry->path().filename());
}

Watcher::~Watcher() {
    for (const auto& watch : watches_) sd_event_source_disable_unref(watch->source);
}

void Watcher::watch(const std::filesystem::path& directory, Callback callback) {
    auto watch = std::make_shared<Watch>();
    watch->owner = this;
    watch->directory = directory;
    watch->callback = std::move(callback);
    arm(*watch);
    watches_.push_back(std::move(watch));
}

void Watcher::arm(Watch& watch) {
    watch.source = sd_event_source_disable_unref(watch.source);
    watch.watched = watch.directory;
    for (;;) {
        const int result = sd_event_add_inotify(loop_.get(), &watch.source, watch.watched.c_str(),
                                                content_events | self_events | IN_ONLYDIR, on_event, &watch);
        if (result >= 0) return;
        if (result == -EMFILE || result == -ENOSPC) return warn(watch.directory, result);
        if (!watch.watched.has_relative_path()) return;
        watch.watched = watch.watched.parent_path();
    }
}

// The kernel's limits hold for all of a user's processes, and the guests of user namespaces count for root, too.
void Watcher::warn(const std::filesystem::path& directory, int error) {
    const char* limit = error == -EMFILE ? "fs.inotify.max_user_instances" : "fs.inotify.max_user_watches";
    log({Event::changes_unnoticed, "",
         fmt::format(
             "changes in {} are not noticed by themselves: {} is used up; raise it (sysctl {}, sysctl.d(5)) and "
             "restart cuda-nspawnd",
             directory.string(), limit, limit)});
}

int Watcher::on_event(sd_event_source*, const inotify_event* event, void* data) {
    Watch& watch = *static_cast<Watch*>(data);
    const bool moved_closer = watch.watched != watch.directory && (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0;
    const bool gone = (event->mask & (self_events | IN_IGNORED | IN_Q_OVERFLOW)) != 0;
    if (event->len > 0 && watch.watched == watch.directory) watch.names.insert(event->name);
    if (watch.watched != watch.directory && !moved_closer && !gone) return 0;
    // The callback replaces event sources, which must not happen under sd-event's feet: after the burst it may.
    watch.rearm = watch.rearm || moved_closer || gone;
    watch.burst = watch.owner->loop_.after(burst_usec, [&watch] {
        const EventLoop::Timer keep = std::exchange(watch.burst, nullptr);
        const bool all = std::exchange(watch.rearm, false);
        if (all) {
            watch.owner->arm(watch);
            watch.add_present_names();
        }
        const auto names = std::exchange(watch.names, {});
        watch.callback({names.begin(), names.end()}, all);
    });
    return 0;
}

}  // namespace cuda_nspawn
