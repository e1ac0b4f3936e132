#include "bus/authority.hpp"

#include <fmt/format.h>
#include <sdbus-c++/sdbus-c++.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

namespace cuda_nspawn::bus {

namespace {

// dbus-daemon lets a connection wait for 128 replies by default, ours among them; the engine needs some, too.
constexpr std::size_t checks_limit = 64;
constexpr std::ptrdiff_t checks_limit_per_user = 8;
// The bus's own limit on calls that a caller has under way; one that wants no answers could send more.
constexpr unsigned questions_limit_per_caller = 128;
constexpr std::uint64_t ask_usec = 300'000'000;  // somebody types a password
constexpr std::uint64_t answer_usec = 25'000'000;

constexpr const char* polkit_name = "org.freedesktop.PolicyKit1";
constexpr const char* polkit_object = "/org/freedesktop/PolicyKit1/Authority";
constexpr const char* polkit_interface = "org.freedesktop.PolicyKit1.Authority";
constexpr std::uint32_t allow_user_interaction = 1;  // CheckAuthorizationFlags

void check_result(int result, const char* what) {
    if (result < 0) throw sdbus::createError(-result, what);
}

void refuse(sd_bus_message* call, const char* name, const std::string& text) {
    sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(name, text.c_str());
    sd_bus_reply_method_error(call, &error);  // where that fails, there is nobody to tell
}

// Nothing is thrown into sd-bus; whatever goes wrong is the caller's answer.
template <class Body>
void guarded(sd_bus_message* call, Body&& body) {
    try {
        body();
    } catch (const sdbus::Error& error) {
        refuse(call, error.getName().c_str(), error.getMessage());
    } catch (const std::exception& error) {
        refuse(call, SD_BUS_ERROR_FAILED, error.what());
    }
}

std::string no_answer(Action action, const sd_bus_error& error) {
    const std::string_view name = error.name;
    if (name == SD_BUS_ERROR_SERVICE_UNKNOWN || name == SD_BUS_ERROR_NAME_HAS_NO_OWNER ||
        name.find(".Spawn.") != name.npos)
        return "Only root may do this here: polkit, which could allow it to others, is not there. Install polkitd, or "
               "call as root.";
    return fmt::format("Only root may do this now: polkit was asked for {} and failed ({}).", action_id(action),
                       error.message);
}

// A connection's own name changes its owner once.
std::string left_by(const char* sender) {
    return fmt::format(
        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='{}'",
        sender);
}

}  // namespace

std::string_view action_id(Action action) {
    switch (action) {
        case Action::apply:
            return "org.cudanspawn1.apply";
        case Action::self_test:
            return "org.cudanspawn1.self-test";
        case Action::refresh:
            return "org.cudanspawn1.refresh";
        case Action::inspect:
            return "org.cudanspawn1.inspect";
    }
    return "";
}

void Authority::authorize(Action action, const std::string& machine, std::function<void()> then) {
    find_user([this, action, machine, then = std::move(then)](Message call, uid_t user) {
        if (user == 0) return guarded(call.get(), then);
        check(std::move(call), user, action, machine, then);
    });
}

void Authority::identify(std::function<void(bool)> then) {
    find_user([then = std::move(then)](Message call, uid_t user) { guarded(call.get(), [&] { then(user == 0); }); });
}

// --- the caller's user -----------------------------------------------------------------------------------------------

// The bus knows it from the socket, and never gives a name like ":1.42" to a second connection.
void Authority::find_user(std::function<void(Message, uid_t)> then) {
    sd_bus_message* call = sd_bus_get_current_message(bus_);
    const std::string caller = sd_bus_message_get_sender(call);
    if (const auto place = asked_.find(caller); place != asked_.end() && place->second >= questions_limit_per_caller)
        throw sdbus::Error(sdbus::Error::Name(SD_BUS_ERROR_LIMITS_EXCEEDED),
                           "Too many calls at once: wait for the answers to some.");
    auto one = std::make_unique<Identification>();
    one->all = this;
    one->call.reset(sd_bus_message_ref(call));
    one->then = std::move(then);
    sd_bus_slot* question = nullptr;
    check_result(sd_bus_call_method_async(bus_, &question, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                          "org.freedesktop.DBus", "GetConnectionUnixUser", on_user, one.get(), "s",
                                          caller.c_str()),
                 "GetConnectionUnixUser");
    one->question.reset(question);
    ++asked_[caller];
    identifications_.emplace(one.get(), std::move(one));
}

int Authority::on_user(sd_bus_message* reply, void* data, sd_bus_error*) {
    Authority& all = *static_cast<Identification*>(data)->all;
    const auto one = std::move(all.identifications_.extract(data).mapped());
    const auto asked = all.asked_.find(sd_bus_message_get_sender(one->call.get()));
    if (--asked->second == 0) all.asked_.erase(asked);
    std::uint32_t user = 0;
    if (sd_bus_message_is_method_error(reply, nullptr) != 0 || sd_bus_message_read(reply, "u", &user) < 0)
        refuse(one->call.get(), SD_BUS_ERROR_ACCESS_DENIED, "The bus does not tell who calls, so it is not done.");
    else
        one->then(std::move(one->call), user);
    return 1;
}

// --- polkit ----------------------------------------------------------------------------------------------------------

void Authority::refuse_too_many(uid_t user) const {
    const auto of_user =
        std::count_if(checks_.begin(), checks_.end(), [&](const auto& entry) { return entry.second->user == user; });
    if (checks_.size() < checks_limit && of_user < checks_limit_per_user) return;
    throw sdbus::Error(
        sdbus::Error::Name(SD_BUS_ERROR_LIMITS_EXCEEDED),
        fmt::format("{} calls of user {} and {} in all wait for polkit already: try again when these are answered.",
                    of_user, user, checks_.size()));
}

void Authority::check(Message call, uid_t user, Action action, const std::string& machine, std::function<void()> then) {
    guarded(call.get(), [&] {
        refuse_too_many(user);
        auto one = std::make_unique<Check>();
        one->all = this;
        one->user = user;
        one->action = action;
        one->then = std::move(then);
        one->cancellation_id = fmt::format("cuda-nspawn-{}", ++last_check_);
        one->may_ask = sd_bus_message_get_allow_interactive_authorization(call.get()) > 0;
        // Not sd_bus_track: that waits for the bus's answer, and with it everybody else.
        sd_bus_slot* caller = nullptr;
        check_result(sd_bus_add_match_async(bus_, &caller, left_by(sd_bus_message_get_sender(call.get())).c_str(),
                                            on_caller_left, nullptr, one.get()),
                     "sd_bus_add_match_async");
        one->caller.reset(caller);
        one->call = Message(sd_bus_message_ref(call.get()));
        ask_polkit(*one, machine);
        checks_.emplace(one.get(), std::move(one));
    });
}

// polkit(8), CheckAuthorization.
void Authority::ask_polkit(Check& one, const std::string& machine) {
    sd_bus_message* made = nullptr;
    check_result(
        sd_bus_message_new_method_call(bus_, &made, polkit_name, polkit_object, polkit_interface, "CheckAuthorization"),
        "CheckAuthorization");
    const Message question(made);
    check_result(
        sd_bus_message_append(made, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                              sd_bus_message_get_sender(one.call.get()), std::string(action_id(one.action)).c_str()),
        "append");
    check_result(machine.empty() ? sd_bus_message_append(made, "a{ss}", 0)
                                 : sd_bus_message_append(made, "a{ss}", 1, "machine", machine.c_str()),
                 "append");
    check_result(
        sd_bus_message_append(made, "us", one.may_ask ? allow_user_interaction : 0, one.cancellation_id.c_str()),
        "append");
    sd_bus_slot* slot = nullptr;
    check_result(sd_bus_call_async(bus_, &slot, made, on_polkit, &one, one.may_ask ? ask_usec : answer_usec),
                 "CheckAuthorization");
    one.question.reset(slot);
}

// So that no dialog stays whose answer nobody wants.
void Authority::cancel(const Check& one) {
    sd_bus_call_method_async(bus_, nullptr, polkit_name, polkit_object, polkit_interface, "CancelCheckAuthorization",
                             nullptr, nullptr, "s", one.cancellation_id.c_str());
}

int Authority::on_polkit(sd_bus_message* reply, void* data, sd_bus_error*) {
    Authority& all = *static_cast<Check*>(data)->all;
    const auto one = std::move(all.checks_.extract(data).mapped());
    sd_bus_message* const call = one->call.get();
    if (const sd_bus_error* error = sd_bus_message_get_error(reply)) {
        if (sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY) != 0) all.cancel(*one);
        refuse(call, SD_BUS_ERROR_ACCESS_DENIED, no_answer(one->action, *error));
        return 1;
    }
    int authorized = 0, challenge = 0;
    if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
        sd_bus_message_read(reply, "bb", &authorized, &challenge) < 0)
        authorized = challenge = 0;
    if (authorized != 0)
        guarded(call, one->then);
    else if (challenge != 0 && !one->may_ask)
        refuse(call, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
               fmt::format("polkit wants somebody to authenticate for {}, and the call does not allow to ask.",
                           action_id(one->action)));
    else
        refuse(call, SD_BUS_ERROR_ACCESS_DENIED,
               fmt::format("polkit does not authorize user {} for {}{}.", one->user, action_id(one->action),
                           challenge != 0 ? ": somebody would have to authenticate, and nobody did" : ""));
    return 1;
}

int Authority::on_caller_left(sd_bus_message*, void* data, sd_bus_error*) {
    Authority& all = *static_cast<Check*>(data)->all;
    const auto one = std::move(all.checks_.extract(data).mapped());
    all.cancel(*one);
    return 0;  // to the others of its calls
}

}  // namespace cuda_nspawn::bus
