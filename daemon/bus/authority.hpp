// Who may call what changes or examines something: root, and whom polkit authorizes (org.cudanspawn1.policy). Nothing
// blocks, and a caller in a loop gets errors instead of memory.
#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace cuda_nspawn::bus {

// As the actions of org.cudanspawn1.policy.
enum class Action { apply, self_test, refresh, inspect };
std::string_view action_id(Action action);

class Authority {
public:
    // `bus` outlives it.
    explicit Authority(sd_bus* bus) : bus_(bus) {}
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;

    // Of the method call that is being handled on the bus: runs `then` later if its caller may do this to `machine`
    // (empty: to no single one). Else the caller is answered with AccessDenied, InteractiveAuthorizationRequired or
    // LimitsExceeded. If the caller leaves before, nothing is done. What `then` throws is answered as an error.
    void authorize(Action action, const std::string& machine, std::function<void()> then);
    // The same for everybody: tells whether root calls.
    void identify(std::function<void(bool is_root)> then);

private:
    struct Unref {
        void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
        void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
    };
    using Slot = std::unique_ptr<sd_bus_slot, Unref>;
    using Message = std::unique_ptr<sd_bus_message, Unref>;

    // A call whose caller's user id the bus is asked for.
    struct Identification {
        Authority* all = nullptr;
        Message call;
        std::function<void(Message call, uid_t)> then;
        Slot question;
    };
    // A call that polkit is asked about.
    struct Check {
        Authority* all = nullptr;
        Message call;
        uid_t user = 0;
        Action action = Action::apply;
        std::function<void()> then;
        std::string cancellation_id;
        bool may_ask = false;  // the caller's agent may ask for a password
        Slot question;
        Slot caller;  // tells that it left
    };

    void find_user(std::function<void(Message call, uid_t)> then);
    void check(Message call, uid_t user, Action action, const std::string& machine, std::function<void()> then);
    void refuse_too_many(uid_t user) const;
    void ask_polkit(Check& one, const std::string& machine);
    void cancel(const Check& one);
    static int on_user(sd_bus_message* reply, void* data, sd_bus_error*);
    static int on_polkit(sd_bus_message* reply, void* data, sd_bus_error*);
    static int on_caller_left(sd_bus_message*, void* data, sd_bus_error*);

    sd_bus* bus_;
    unsigned long last_check_ = 0;
    // By their addresses, which are what sd-bus hands to the functions.
    std::map<const void*, std::unique_ptr<Identification>> identifications_;
    std::map<const void*, std::unique_ptr<Check>> checks_;
    std::map<std::string, unsigned> asked_;  // identifications by caller
};

}  // namespace cuda_nspawn::bus
