// The system bus: calls whose answers come as JSON. sd-bus itself, since its messages carry the flags that a command
// for people and scripts needs (polkit may ask; nothing is started by looking), and since the answer of a thousand
// machines is read in one pass.
#pragma once

#include <systemd/sd-bus.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cuda_nspawn::ctl {

// What came from the bus: a{sv} and a{s…} are objects, structs and arrays are arrays. Variants are what is in them.
using Value = nlohmann::json;
// a{sv}
using Options = std::map<std::string, std::variant<bool, std::string>>;
using Argument = std::variant<std::string, std::uint32_t, Options>;

// An error that a call was answered with, or that the bus itself has; what() is the sentence.
class BusError : public std::runtime_error {
public:
    BusError(std::string name, const std::string& text) : std::runtime_error(text), name_(std::move(name)) {}
    const std::string& name() const { return name_; }

private:
    std::string name_;
};

struct Target {
    std::string service, path, interface;
};
Target manager();

// A job ends by its own time limits; the call waits as long as it takes.
inline constexpr auto as_long_as_it_takes = std::chrono::hours(24);
// The daemon answers at once, but polkit may have to ask somebody.
inline constexpr auto time_to_ask = std::chrono::minutes(3);

struct UnrefMessage {
    void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using Message = std::unique_ptr<sd_bus_message, UnrefMessage>;

// The values of a message's body.
Value body_of(sd_bus_message* message);
BusError error_of(const sd_bus_error& error);

class Bus {
public:
    // Opens a connection of its own. Throws BusError.
    Bus();

    // Whether polkit may ask whoever sits at the terminal; it may unless this was called. For all connections.
    static void forbid_asking();

    // The values of the answer. Throws BusError.
    Value call(const Target& target, const std::string& method, const std::vector<Argument>& arguments = {},
               std::chrono::microseconds limit = time_to_ask);
    // The same, for what must not start the daemon: throws BusError if it does not run.
    Value call_running(const Target& target, const std::string& method);

    Message message(const Target& target, const std::string& method, const std::vector<Argument>& arguments);
    sd_bus* get() { return bus_.get(); }

private:
    Value send(sd_bus_message* call, std::chrono::microseconds limit);

    struct Close {
        void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
    };
    std::unique_ptr<sd_bus, Close> bus_;
};

}  // namespace cuda_nspawn::ctl
