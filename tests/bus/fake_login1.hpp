// org.freedesktop.login1 as far as the daemon hears it (org.freedesktop.login1(5)).
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <memory>

namespace cuda_nspawn::bus_tests {

class FakeLogin1 {
public:
    explicit FakeLogin1(sdbus::IConnection& connection)
        : manager_(sdbus::createObject(connection, sdbus::ObjectPath{"/org/freedesktop/login1"})) {
        manager_->addVTable(sdbus::registerSignal("PrepareForSleep").withParameters<bool>()).forInterface(interface);
        connection.requestName(sdbus::ServiceName{"org.freedesktop.login1"});
    }
    void tell_sleep(bool begins) {
        manager_->emitSignal("PrepareForSleep").onInterface(interface).withArguments(begins);
    }

private:
    static constexpr const char* interface = "org.freedesktop.login1.Manager";
    std::unique_ptr<sdbus::IObject> manager_;
};

}  // namespace cuda_nspawn::bus_tests
