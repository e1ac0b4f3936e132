#include "bus/option_check.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <set>
#include <string>
#include <string_view>

#include "bus/errors.hpp"
#include "guest/printable.hpp"

namespace cuda_nspawn::bus {

namespace {

constexpr std::size_t most_options = 32;
constexpr std::size_t longest_name = 64;
constexpr std::size_t longest_text = std::size_t{64} * 1024;  // a policy's
constexpr std::string_view basic_types = "bynqiuxtdsog";

// Reads past the value. Whether a text is too long: it would be kept until polkit has answered.
bool skip_value(sd_bus_message* call, const char* type, bool& too_long) {
    if (std::strchr("sog", *type) == nullptr) return sd_bus_message_skip(call, "v") >= 0;
    const std::string kept(type);  // the message's own goes with the next step
    const char* text = nullptr;
    if (sd_bus_message_enter_container(call, 'v', kept.c_str()) <= 0 ||
        sd_bus_message_read(call, kept.c_str(), &text) <= 0)
        return false;
    too_long = std::strlen(text) > longest_text;
    return sd_bus_message_exit_container(call) >= 0;
}

// What is wrong with the options that the message is to be read at; empty: nothing. What cannot be read, or is not read
// to its end, is left to sd-bus.
std::string problem_of(sd_bus_message* call) {
    std::set<std::string, std::less<>> names;
    if (sd_bus_message_enter_container(call, 'a', "{sv}") <= 0) return "";
    while (sd_bus_message_enter_container(call, 'e', "sv") > 0) {
        const char* name = nullptr;
        const char* type = nullptr;
        if (sd_bus_message_read(call, "s", &name) <= 0) return "";
        if (names.size() == most_options)
            return fmt::format("More than {} options: no method has so many.", most_options);
        if (std::strlen(name) > longest_name)
            return fmt::format("Unknown option \"{}…\": no name has more than {} characters.",
                               printable(name, longest_name), longest_name);
        if (!names.emplace(name).second)
            return fmt::format("Option \"{}\" is given twice.", printable(name, longest_name));
        if (sd_bus_message_peek_type(call, nullptr, &type) <= 0) return "";
        if (type == nullptr || std::strlen(type) != 1 || basic_types.find(*type) == basic_types.npos)
            return fmt::format("Option \"{}\" is no boolean, number or text.", printable(name, longest_name));
        bool too_long = false;
        if (!skip_value(call, type, too_long)) return "";
        if (too_long)
            return fmt::format("Option \"{}\" has more than {} bytes.", printable(name, longest_name), longest_text);
        if (sd_bus_message_exit_container(call) < 0) return "";
    }
    return "";
}

// sd-bus begins again at the first argument for whoever comes next.
int look(sd_bus_message* call, void*, sd_bus_error* failure) {
    if (sd_bus_message_is_method_call(call, nullptr, nullptr) <= 0) return 0;
    const std::string_view types = sd_bus_message_get_signature(call, 1);
    if (types != "a{sv}" && types != "sa{sv}") return 0;
    if (types.front() == 's' && sd_bus_message_skip(call, "s") < 0) return 0;
    const std::string problem = problem_of(call);
    if (problem.empty()) return 0;
    const sdbus::Error answer = error("InvalidArgs", problem);
    return sd_bus_error_set(failure, answer.getName().c_str(), answer.getMessage().c_str());
}

}  // namespace

OptionCheck::OptionCheck(sd_bus* bus) {
    sd_bus_slot* slot = nullptr;
    if (const int result = sd_bus_add_filter(bus, &slot, look, nullptr); result < 0)
        throw sdbus::createError(-result, "sd_bus_add_filter");
    filter_.reset(slot);
}

}  // namespace cuda_nspawn::bus
