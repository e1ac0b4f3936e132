// cuda-nspawnctl monitor
#include <fmt/format.h>
#include <systemd/sd-event.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "ctl/command/commands.hpp"
#include "ctl/event_text.hpp"
#include "ctl/output.hpp"
#include "ctl/times.hpp"
#include "names.hpp"

namespace cuda_nspawn::ctl {

namespace {

void require(int result) {
    if (result < 0) throw BusError("org.freedesktop.DBus.Error.Failed", "The event loop cannot be set up.");
}

class Monitor {
public:
    explicit Monitor(const Arguments& arguments) : arguments_(arguments) {
        require(sd_event_new(&event_));
        require(sd_bus_attach_event(bus_.get(), event_, SD_EVENT_PRIORITY_NORMAL));
        // Ctrl-C and a stop are its usual end.
        for (const int signal : {SIGINT, SIGTERM})
            require(sd_event_add_signal(event_, nullptr, signal | SD_EVENT_SIGNAL_PROCMASK, nullptr, nullptr));
        require(sd_bus_set_exit_on_disconnect(bus_.get(), 1));
        const std::string of_daemon =
            fmt::format("type='signal',sender='{}',path_namespace='{}'", names::bus_name, names::root_object);
        const std::string of_its_name = fmt::format(
            "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{}'", names::bus_name);
        require(sd_bus_add_match(bus_.get(), nullptr, of_daemon.c_str(), heard, this));
        require(sd_bus_add_match(bus_.get(), nullptr, of_its_name.c_str(), heard, this));
        // What comes meanwhile waits.
        history_.begin(get_objects(bus_), driver_properties(bus_));
    }
    ~Monitor() {
        sd_bus_detach_event(bus_.get());
        sd_event_unref(event_);
    }
    Monitor(const Monitor&) = delete;

    int run() {
        if (is_terminal(stderr)) fmt::print(stderr, "Ctrl-C ends it.\n");
        std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
        const int status = sd_event_loop(event_);
        if (status != 0) fmt::print(stderr, "The system bus went away.\n");
        return status == 0 ? 0 : 1;
    }

private:
    // Nothing is thrown into sd-bus; a signal that is not as expected tells nothing.
    static int heard(sd_bus_message* message, void* data, sd_bus_error*) {
        auto& self = *static_cast<Monitor*>(data);
        try {
            const Signal signal{sd_bus_message_get_path(message), sd_bus_message_get_member(message), body_of(message)};
            for (const Event& event : self.history_.take(signal)) self.print(event);
        } catch (const std::exception&) {
            return 0;
        }
        return 0;
    }

    void print(const Event& event) const {
        const auto& machines = arguments_.words;
        const std::string machine = event.json.value("machine", "");
        if (!machines.empty() && std::ranges::find(machines, machine) == machines.end()) return;
        const std::uint64_t now = now_usec();
        if (wants_json(arguments_)) {
            Json line{{"time", now}};
            line.update(event.json);
            fmt::print("{}\n", one_line(line));
            return;
        }
        for (const std::string& line : event.lines)
            fmt::print("{} {}\n", coloured(Colour::grey, clock_time(now)), harmless(line));
    }

    const Arguments& arguments_;
    Bus bus_;
    sd_event* event_ = nullptr;
    History history_;
};

}  // namespace

int monitor(const Arguments& arguments) { return Monitor(arguments).run(); }

}  // namespace cuda_nspawn::ctl
