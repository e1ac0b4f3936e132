// A client of another user than root, by sd-bus itself: sdbus-c++ cannot say whether a call may ask for a password.
#pragma once

#include <systemd/sd-bus.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

namespace cuda_nspawn::bus_tests {

class Stranger {
public:
    // The bus takes the effective user of the moment in which the socket is connected.
    explicit Stranger(const std::string& address, uid_t user = 65534) {
        if (sd_bus_new(&bus_) < 0 || sd_bus_set_address(bus_, address.c_str()) < 0 ||
            sd_bus_set_bus_client(bus_, 1) < 0)
            throw std::runtime_error("sd_bus_new");
        if (::seteuid(user) != 0) throw std::runtime_error("seteuid");
        const int result = sd_bus_start(bus_);
        if (::seteuid(0) != 0 || result < 0) throw std::runtime_error("sd_bus_start");
        const char* name = nullptr;
        if (sd_bus_get_unique_name(bus_, &name) < 0) throw std::runtime_error("no name on the bus");
        name_ = name;
    }
    ~Stranger() { sd_bus_unref(bus_); }
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;

    const std::string& name() const { return name_; }

    struct Answer {
        std::string error;  // its name; empty: it was done
        std::string text;
    };
    // Of Manager. `types` and the arguments as sd_bus_message_append has them.
    template <class... Arguments>
    Answer call(const char* method, const char* types, Arguments... arguments) {
        return call_of("/org/cudanspawn1", "org.cudanspawn1.Manager", method, types, arguments...);
    }
    template <class... Arguments>
    Answer call_of(const char* path, const char* interface, const char* method, const char* types,
                   Arguments... arguments) {
        sd_bus_message* call = make(path, interface, method, types, arguments...);
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_call(bus_, call, 20'000'000, &error, nullptr);
        sd_bus_message_unref(call);
        Answer answer;
        if (error.name != nullptr) answer = {error.name, error.message != nullptr ? error.message : ""};
        sd_bus_error_free(&error);
        return answer;
    }
    // Without waiting for the answer.
    template <class... Arguments>
    void send(const char* method, const char* types, Arguments... arguments) {
        sd_bus_message* call = make("/org/cudanspawn1", "org.cudanspawn1.Manager", method, types, arguments...);
        sd_bus_call_async(bus_, nullptr, call, [](sd_bus_message*, void*, sd_bus_error*) { return 0; }, nullptr, 0);
        sd_bus_message_unref(call);
        sd_bus_flush(bus_);
    }

    bool may_ask = false;  // calls allow to ask for a password

private:
    template <class... Arguments>
    sd_bus_message* make(const char* path, const char* interface, const char* method, const char* types,
                         Arguments... arguments) {
        sd_bus_message* call = nullptr;
        if (sd_bus_message_new_method_call(bus_, &call, "org.cudanspawn1", path, interface, method) < 0 ||
            sd_bus_message_append(call, types, arguments...) < 0 ||
            sd_bus_message_set_allow_interactive_authorization(call, may_ask ? 1 : 0) < 0)
            throw std::runtime_error(method);
        return call;
    }

    sd_bus* bus_ = nullptr;
    std::string name_;
};

}  // namespace cuda_nspawn::bus_tests
