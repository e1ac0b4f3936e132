#include "ctl/bus.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <optional>

#include "names.hpp"

namespace cuda_nspawn::ctl {

namespace {

bool may_ask = true;

void check(int result, const char* what) {
    if (result < 0)
        throw BusError("org.freedesktop.DBus.Error.Failed",
                       fmt::format("The system bus: {}: {}.", what, std::strerror(-result)));
}

template <class Basic>
Basic read(sd_bus_message* message, char type) {
    Basic value{};
    check(sd_bus_message_read_basic(message, type, static_cast<void*>(&value)), "read");
    return value;
}

Value read_basic(sd_bus_message* message, char type) {
    switch (type) {
        case SD_BUS_TYPE_BOOLEAN:
            return read<int>(message, type) != 0;
        case SD_BUS_TYPE_BYTE:
            return read<std::uint8_t>(message, type);
        case SD_BUS_TYPE_INT32:
            return read<std::int32_t>(message, type);
        case SD_BUS_TYPE_UINT32:
            return read<std::uint32_t>(message, type);
        case SD_BUS_TYPE_INT64:
            return read<std::int64_t>(message, type);
        case SD_BUS_TYPE_UINT64:
            return read<std::uint64_t>(message, type);
        case SD_BUS_TYPE_DOUBLE:
            return read<double>(message, type);
        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
        case SD_BUS_TYPE_SIGNATURE:
            return read<const char*>(message, type);
        default:
            throw BusError("org.freedesktop.DBus.Error.Failed",
                           fmt::format("The system bus: an answer holds the type '{}', which no method has.", type));
    }
}

// The next value; nothing at the end of what it stands in.
std::optional<Value> read_value(sd_bus_message* message) {
    char type = 0;
    const char* contents = nullptr;
    const int more = sd_bus_message_peek_type(message, &type, &contents);
    check(more, "read");
    if (more == 0) return std::nullopt;
    if (contents == nullptr) return read_basic(message, type);
    check(sd_bus_message_enter_container(message, type, contents), "read");
    Value value = Value::array();
    if (type == SD_BUS_TYPE_VARIANT) {
        value = read_value(message).value_or(Value());
    } else if (type == SD_BUS_TYPE_ARRAY && *contents == SD_BUS_TYPE_DICT_ENTRY_BEGIN) {
        value = Value::object();
        while (auto entry = read_value(message)) value[entry->at(0).get_ref<const std::string&>()] = entry->at(1);
    } else {
        while (auto one = read_value(message)) value.push_back(std::move(*one));
    }
    check(sd_bus_message_exit_container(message), "read");
    return value;
}

void append(sd_bus_message* message, const Options& options) {
    check(sd_bus_message_open_container(message, 'a', "{sv}"), "write");
    for (const auto& [name, value] : options)
        if (const auto* text = std::get_if<std::string>(&value))
            check(sd_bus_message_append(message, "{sv}", name.c_str(), "s", text->c_str()), "write");
        else
            check(sd_bus_message_append(message, "{sv}", name.c_str(), "b", int{std::get<bool>(value)}), "write");
    check(sd_bus_message_close_container(message), "write");
}

void append(sd_bus_message* message, const std::string& text) {
    check(sd_bus_message_append_basic(message, 's', text.c_str()), "write");
}

void append(sd_bus_message* message, std::uint32_t number) {
    check(sd_bus_message_append_basic(message, 'u', &number), "write");
}

// The daemon cannot be reached at all, which its own errors never say.
bool is_out_of_reach(std::string_view name) {
    return name == SD_BUS_ERROR_SERVICE_UNKNOWN || name == SD_BUS_ERROR_NAME_HAS_NO_OWNER ||
           name == SD_BUS_ERROR_TIMEOUT || name.starts_with("org.freedesktop.DBus.Error.Spawn.") ||
           name.starts_with("org.freedesktop.systemd1.");
}

}  // namespace

Target manager() {
    return {std::string(names::bus_name), std::string(names::root_object), std::string(names::bus_name) + ".Manager"};
}

Value body_of(sd_bus_message* message) {
    Value values = Value::array();
    while (auto one = read_value(message)) values.push_back(std::move(*one));
    return values;
}

BusError error_of(const sd_bus_error& error) {
    const std::string name = error.name == nullptr ? "org.freedesktop.DBus.Error.Failed" : error.name;
    const std::string text = error.message == nullptr ? name : error.message;
    if (is_out_of_reach(name))
        return {name, fmt::format("cuda-nspawnd does not answer: {}. See systemctl status cuda-nspawnd.", text)};
    if (name == SD_BUS_ERROR_UNKNOWN_METHOD)
        return {name, fmt::format("{}. The daemon that runs is of another version than cuda-nspawnctl: systemctl "
                                  "restart cuda-nspawnd.",
                                  text)};
    return {name, text};
}

Bus::Bus() {
    sd_bus* bus = nullptr;
    const int result = sd_bus_open_system(&bus);
    bus_.reset(bus);
    if (result < 0)
        throw BusError("org.freedesktop.DBus.Error.NoServer",
                       fmt::format("The system bus cannot be reached: {}. cuda-nspawnctl runs on the host, beside "
                                   "cuda-nspawnd.",
                                   std::strerror(-result)));
    check(sd_bus_set_allow_interactive_authorization(bus, may_ask ? 1 : 0), "set up");
}

void Bus::forbid_asking() { may_ask = false; }

Message Bus::message(const Target& target, const std::string& method, const std::vector<Argument>& arguments) {
    sd_bus_message* raw = nullptr;
    check(sd_bus_message_new_method_call(bus_.get(), &raw, target.service.c_str(), target.path.c_str(),
                                         target.interface.c_str(), method.c_str()),
          "write");
    Message call(raw);
    for (const Argument& argument : arguments) std::visit([&](const auto& value) { append(raw, value); }, argument);
    return call;
}

Value Bus::send(sd_bus_message* call, std::chrono::microseconds limit) {
    sd_bus_error error{};
    sd_bus_message* raw = nullptr;
    const int result = sd_bus_call(bus_.get(), call, static_cast<std::uint64_t>(limit.count()), &error, &raw);
    const Message answer(raw);
    if (result < 0) {
        if (sd_bus_error_is_set(&error) == 0) sd_bus_error_set_errno(&error, result);
        const BusError failure = error_of(error);
        sd_bus_error_free(&error);
        throw failure;
    }
    return body_of(answer.get());
}

Value Bus::call(const Target& target, const std::string& method, const std::vector<Argument>& arguments,
                std::chrono::microseconds limit) {
    return send(message(target, method, arguments).get(), limit);
}

Value Bus::call_running(const Target& target, const std::string& method) {
    const Message call = message(target, method, {});
    check(sd_bus_message_set_auto_start(call.get(), 0), "write");
    constexpr auto limit = std::chrono::seconds(5);
    return send(call.get(), limit);
}

}  // namespace cuda_nspawn::ctl
