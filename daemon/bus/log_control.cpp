#include "bus/log_control.hpp"

#include <fmt/format.h>
#include <sdbus-c++/sdbus-c++.h>

#include <utility>

namespace cuda_nspawn::bus {

namespace {

using Get = std::function<std::string()> LogSettings::*;
using Set = std::function<bool(const std::string&)> LogSettings::*;

template <Get get>
int read(sd_bus*, const char*, const char*, const char*, sd_bus_message* reply, void* data, sd_bus_error*) {
    return sd_bus_message_append(reply, "s", (static_cast<LogSettings*>(data)->*get)().c_str());
}

template <Set set>
int write(sd_bus*, const char*, const char*, const char* property, sd_bus_message* value, void* data,
          sd_bus_error* error) {
    const char* word = nullptr;
    if (const int result = sd_bus_message_read(value, "s", &word); result < 0) return result;
    if ((static_cast<LogSettings*>(data)->*set)(word)) return 0;
    return sd_bus_error_set(
        error, SD_BUS_ERROR_INVALID_ARGS,
        fmt::format("{} cannot be \"{:.40}\": org.freedesktop.LogControl1(5) has the words.", property, word).c_str());
}

int read_identifier(sd_bus*, const char*, const char*, const char*, sd_bus_message* reply, void*, sd_bus_error*) {
    return sd_bus_message_append(reply, "s", "cuda-nspawnd");
}

// Without SD_BUS_VTABLE_UNPRIVILEGED sd-bus lets nobody but root set them, whatever the bus's policy says.
const sd_bus_vtable table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", read<&LogSettings::level>, write<&LogSettings::set_level>, 0, 0),
    SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", read<&LogSettings::target>, write<&LogSettings::set_target>, 0, 0),
    SD_BUS_PROPERTY("SyslogIdentifier", "s", read_identifier, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};

}  // namespace

LogControl::LogControl(sd_bus* bus, LogSettings settings) : settings_(std::move(settings)) {
    sd_bus_slot* slot = nullptr;
    if (const int result = sd_bus_add_object_vtable(bus, &slot, "/org/freedesktop/LogControl1",
                                                    "org.freedesktop.LogControl1", table, &settings_);
        result < 0)
        throw sdbus::createError(-result, "LogControl1");
    table_.reset(slot);
}

}  // namespace cuda_nspawn::bus
