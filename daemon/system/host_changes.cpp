#include "system/host_changes.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "elf/file_descriptor.hpp"
#include "names.hpp"
#include "system/log.hpp"

namespace cuda_nspawn {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t settle_interval_usec = 100'000;
constexpr int settle_waits = 600;                    // 60 s
constexpr std::uint64_t late_look_usec = 1'000'000;  // for what the module does after its init
// A package manager runs ldconfig many times, with half of the files in place.
constexpr std::uint64_t cache_quiet_usec = 500'000;

// "NAME.nspawn", "NAME.raw", "NAME"
std::string machine_of(std::string name) {
    for (const std::string_view suffix : {".nspawn", ".raw"})
        if (name.ends_with(suffix)) name.resize(name.size() - suffix.size());
    return name;
}

}  // namespace

bool nvidia_modules_are_settled(const fs::path& sys) {
    std::error_code error;
    for (fs::directory_iterator entry(sys / "module", error), end; !error && entry != end; entry.increment(error)) {
        if (!entry->path().filename().string().starts_with("nvidia")) continue;
        std::string state;
        std::ifstream(entry->path() / "initstate") >> state;
        if (state == "coming" || state == "going") return false;
    }
    return true;
}

bool is_generated_file(const fs::path& path) {
    const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd) return false;
    std::string begin(names::generated_mark.size(), '\0');
    const ssize_t size = ::read(fd.get(), begin.data(), begin.size());
    return size == static_cast<ssize_t>(begin.size()) && begin == names::generated_mark;
}

HostChanges::HostChanges(EventLoop& loop, sdbus::IConnection& connection, Places places, Handlers handlers)
    : loop_(loop),
      connection_(connection),
      places_(std::move(places)),
      handlers_(std::move(handlers)),
      watcher_(loop) {}

void HostChanges::watch() {
    uevents_.emplace(loop_, [this](const std::optional<Uevent>& event) { on_uevent(event); });
    if (!uevents_->failure().empty())
        log({Event::changes_unnoticed, "",
             fmt::format("the kernel's device events cannot be heard ({}): after loading or unloading an NVIDIA kernel "
                         "module call cuda-nspawnctl refresh",
                         uevents_->failure())});
    watch_files();
    watch_login1();
}

// --- kernel ----------------------------------------------------------------------------------------------------------

void HostChanges::on_uevent(const std::optional<Uevent>& event) {
    if (event && !concerns_driver(*event, handlers_.is_gpu)) return;
    waits_left_ = settle_waits;
    looks_left_ = 2;
    look_when_settled(settle_interval_usec);
}

void HostChanges::look_when_settled(std::uint64_t delay_usec) {
    settling_ = loop_.after(delay_usec, [this] {
        const EventLoop::Timer keep = std::exchange(settling_, nullptr);
        if (!nvidia_modules_are_settled(places_.sys) && waits_left_ > 0) {
            if (waits_left_-- == settle_waits)
                log(Severity::debug, "", "an NVIDIA kernel module is on its way in or out");
            return look_when_settled(settle_interval_usec);
        }
        if (--looks_left_ > 0) look_when_settled(late_look_usec);
        handlers_.driver("kernel event");
    });
}

// --- files -----------------------------------------------------------------------------------------------------------

void HostChanges::watch_files() {
    for (const char* directory : {"etc/systemd/nspawn", "var/lib/machines"})
        watcher_.watch(places_.root / directory, [this](const std::vector<std::string>& names, bool) {
            for (const std::string& name : names) handlers_.images(machine_of(name));
        });
    watcher_.watch(places_.root / "run/systemd/nspawn", [this](const std::vector<std::string>& names, bool) {
        for (const std::string& name : names)
            if (name.ends_with(".nspawn")) on_runtime_settings(machine_of(name));
    });
    watcher_.watch(places_.root / "etc", [this](const std::vector<std::string>& names, bool) {
        if (std::find(names.begin(), names.end(), "ld.so.cache") != names.end()) on_cache_change();
    });
}

void HostChanges::on_cache_change() {
    cache_quiet_ = loop_.after(cache_quiet_usec, [this] {
        const EventLoop::Timer keep = std::exchange(cache_quiet_, nullptr);
        handlers_.driver("ld.so.cache changed");
    });
}

// In this directory lie the admin's files and ours. What we write must cause nothing, or there would be no end.
void HostChanges::on_runtime_settings(const std::string& machine) {
    const fs::path path = places_.root / "run/systemd/nspawn" / (machine + ".nspawn");
    std::error_code ignored;
    const bool is_there = fs::exists(fs::symlink_status(path, ignored));
    if (is_there && is_generated_file(path)) {
        // machinectl clone and rename take settings files along, ours too.
        if (!handlers_.has_settings(machine)) handlers_.copied(machine);
        return;
    }
    // Ours go when the admin has one in /etc, and when the machine shall have none.
    const bool admin_has_one = fs::exists(places_.root / "etc/systemd/nspawn" / (machine + ".nspawn"), ignored);
    if (!is_there && (admin_has_one || !handlers_.has_settings(machine))) return;
    log(Severity::debug, machine,
        fmt::format("{} was {} by somebody else", path.string(), is_there ? "changed" : "removed"));
    handlers_.images(machine);
}

// --- sleep -----------------------------------------------------------------------------------------------------------

// Not there at all on many hosts: then nothing is ever heard of it.
void HostChanges::watch_login1() {
    login1_ = sdbus::createProxy(connection_, sdbus::ServiceName{"org.freedesktop.login1"},
                                 sdbus::ObjectPath{"/org/freedesktop/login1"});
    login1_->uponSignal("PrepareForSleep").onInterface("org.freedesktop.login1.Manager").call([this](bool begins) {
        // Not within the signal's handler, which would swallow what goes wrong.
        if (!begins) loop_.defer([this] { handlers_.resumed(); });
    });
}

}  // namespace cuda_nspawn
