#include "ctl/job_call.hpp"

#include <fmt/format.h>
#include <systemd/sd-event.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "ctl/client.hpp"
#include "ctl/terminal.hpp"
#include "names.hpp"

namespace cuda_nspawn::ctl {

namespace {

void check(int result, const char* what) {
    if (result < 0) throw BusError("org.freedesktop.DBus.Error.Failed", fmt::format("The event loop: {}.", what));
}

struct UnrefEvent {
    void operator()(sd_event* event) const { sd_event_unref(event); }
};
struct UnrefSlot {
    void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
};
using Slot = std::unique_ptr<sd_bus_slot, UnrefSlot>;

// One line that is written anew.
class ProgressLine {
public:
    ~ProgressLine() { clear(); }
    void show(const std::string& text) {
        if (text == shown_) return;
        clear();
        fmt::print(stderr, "{}", cut(text, terminal_width(stderr).value_or(text.size())));
        std::fflush(stderr);
        shown_ = text;
    }
    void clear() {
        if (!shown_.empty()) fmt::print(stderr, "\r\x1b[K");
        shown_.clear();
    }

private:
    std::string shown_;
};

class JobCall {
public:
    JobCall(Bus& bus, std::string machine) : bus_(bus), machine_(std::move(machine)) {
        sd_event* event = nullptr;
        check(sd_event_new(&event), "made");
        event_.reset(event);
        check(sd_bus_attach_event(bus_.get(), event, SD_EVENT_PRIORITY_NORMAL), "attached");
        check(sd_event_add_signal(event, nullptr, SIGINT | SD_EVENT_SIGNAL_PROCMASK, interrupt, this), "signals");
    }
    ~JobCall() { sd_bus_detach_event(bus_.get()); }
    JobCall(const JobCall&) = delete;

    Value send(const std::string& method, const Options& options) {
        const char* terminal = std::getenv("TERM");
        if (is_terminal(stderr) && (terminal == nullptr || std::string_view(terminal) != "dumb")) follow_jobs();
        const Message call = bus_.message(manager(), method, {machine_, options});
        sd_bus_slot* slot = nullptr;
        constexpr std::chrono::microseconds limit = as_long_as_it_takes;
        check(
            sd_bus_call_async(bus_.get(), &slot, call.get(), answered, this, static_cast<std::uint64_t>(limit.count())),
            "called");
        const Slot kept(slot);
        // Not sd_event_loop(): its end would close the bus.
        while (!ended_ && !failure_ && !interrupted_) check(sd_event_run(event_.get(), UINT64_MAX), "run");
        line_.clear();
        if (interrupted_) leave();
        if (failure_) throw *failure_;
        return answer_;
    }

private:
    void follow_jobs() {
        const Target target = manager();
        sd_bus_slot* slot = nullptr;
        check(sd_bus_match_signal(bus_.get(), &slot, target.service.c_str(), target.path.c_str(),
                                  target.interface.c_str(), "JobNew", began, this),
              "matched");
        slots_[0].reset(slot);
        check(sd_bus_match_signal(bus_.get(), &slot, target.service.c_str(), nullptr, "org.freedesktop.DBus.Properties",
                                  "PropertiesChanged", changed, this),
              "matched");
        slots_[1].reset(slot);
    }

    // As systemctl: what was begun goes on. What the daemon has not read yet it forgets with its caller.
    [[noreturn]] void leave() {
        fmt::print(stderr, "A job that has begun goes on. To cancel it: cuda-nspawnctl cancel {}\n", machine_);
        std::fflush(stdout);
        // The shell shall see that it was Ctrl-C.
        std::signal(SIGINT, SIG_DFL);
        sigset_t interrupts;
        sigemptyset(&interrupts);
        sigaddset(&interrupts, SIGINT);
        sigprocmask(SIG_UNBLOCK, &interrupts, nullptr);
        std::raise(SIGINT);
        std::_Exit(EXIT_FAILURE);
    }

    // Nothing is thrown into sd-bus.
    template <class Body>
    void guarded(Body&& body) {
        try {
            body();
        } catch (const BusError& error) {
            failure_ = error;
        } catch (const std::exception& error) {
            failure_ = BusError("org.freedesktop.DBus.Error.Failed", error.what());
        }
    }

    static int interrupt(sd_event_source*, const signalfd_siginfo*, void* data) {
        static_cast<JobCall*>(data)->interrupted_ = true;
        return 0;
    }

    static int answered(sd_bus_message* message, void* data, sd_bus_error*) {
        auto& self = *static_cast<JobCall*>(data);
        self.guarded([&] {
            if (const sd_bus_error* error = sd_bus_message_get_error(message)) throw error_of(*error);
            self.answer_ = body_of(message);
            self.ended_ = true;
        });
        return 0;
    }

    // Of the jobs for the machine, ours is the first that begins behind the call.
    static int began(sd_bus_message* message, void* data, sd_bus_error*) {
        auto& self = *static_cast<JobCall*>(data);
        self.guarded([&] {
            const Value job = body_of(message);
            if (!self.job_path_.empty() || job.at(2) != self.machine_) return;
            self.job_path_ = job.at(1);
            self.line_.show(job.at(3).get<std::string>() + " " + self.machine_);
        });
        return 0;
    }

    static int changed(sd_bus_message* message, void* data, sd_bus_error*) {
        auto& self = *static_cast<JobCall*>(data);
        if (self.job_path_.empty() || sd_bus_message_get_path(message) != self.job_path_) return 0;
        self.guarded([&] {
            self.job_.update(body_of(message).at(1));
            if (text(self.job_, "State") != "ended") self.line_.show(progress_text(self.job_));
        });
        return 0;
    }

    Bus& bus_;
    std::string machine_;
    std::unique_ptr<sd_event, UnrefEvent> event_;
    Slot slots_[2];
    ProgressLine line_;
    std::string job_path_;
    Value job_ = Value::object();
    Value answer_;
    std::optional<BusError> failure_;
    bool ended_ = false;
    bool interrupted_ = false;
};

}  // namespace

std::string progress_text(const Value& job) {
    const auto step = job.value("Step", 0U);
    const auto steps = job.value("Steps", 0U);
    const std::string now = harmless(text(job, "Text"));
    return step == 0 || steps == 0 ? now : fmt::format("[{}/{}] {}", step, steps, now);
}

Value call_job(Bus& bus, const std::string& method, const std::string& machine, const Options& options) {
    return JobCall(bus, machine).send(method, options);
}

}  // namespace cuda_nspawn::ctl
