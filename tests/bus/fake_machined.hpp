// org.freedesktop.machine1 as far as the daemon speaks to it (org.freedesktop.machine1(5)), well-behaved unless told.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "news.hpp"

namespace cuda_nspawn::bus_tests {

class FakeMachined {
public:
    FakeMachined(sdbus::IConnection& connection, News& news);
    void take_name();
    void drop_name();

    enum class Oddity { none, without_unit, leader_is_text, without_object };
    // Registers and tells. `unit` empty: systemd-nspawn@NAME.service.
    void start(const std::string& machine, const std::string& unit = "", Oddity oddity = Oddity::none, bool tell = true,
               const std::string& machine_class = "container");
    void stop(const std::string& machine, bool tell = true);

    void fail(const std::string& method);  // its calls are answered with an error

private:
    struct Running {
        std::string machine_class;
        sdbus::ObjectPath path;
        std::unique_ptr<sdbus::IObject> object;
    };
    void refuse_if_told(const std::string& method);

    sdbus::IConnection& connection_;
    News& news_;
    std::unique_ptr<sdbus::IObject> manager_;
    std::recursive_mutex mutex_;
    std::map<std::string, Running> machines_;
    unsigned next_leader_ = 1000;
    std::string fail_method_;
};

}  // namespace cuda_nspawn::bus_tests
