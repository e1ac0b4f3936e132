// org.freedesktop.systemd1 as far as the daemon speaks to it (org.freedesktop.systemd1(5)), well-behaved unless told.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "fake_host.hpp"
#include "news.hpp"

namespace cuda_nspawn::bus_tests {

class FakeSystemd {
public:
    FakeSystemd(sdbus::IConnection& connection, FakeHost& host, News& news);

    // How units whose name begins so behave.
    struct Behaviour {
        std::string error{};          // StartUnit itself fails
        std::string result = "done";  // of the job
        bool early = false;           // JobRemoved comes before the answer to StartUnit
        bool held = false;            // the job waits for finish()
        bool without_report = false;  // a worker that writes none
        std::string report{};         // a worker's, instead of the right one
        unsigned times = 0;           // so many jobs, then as ever; 0: all
    };
    void set(const std::string& unit_prefix, Behaviour behaviour);
    void finish(const std::string& unit_prefix);  // all held jobs of those units
    bool holds(const std::string& unit_prefix);
    std::string active_state(const std::string& unit);
    void deactivate(const std::string& unit);  // by itself: "deactivating" until a job of it ends
    // They are no more, and nobody is told; whether their units did what they were to do says the behaviour.
    void lose(const std::string& unit_prefix);
    void restart();  // leaves the bus and comes back
    void tell_reloading(bool begins);

    std::vector<std::string> calls();  // "StartUnit systemd-nspawn@a.service", …
    unsigned count(const std::string& call_prefix);
    std::map<std::string, std::vector<std::string>> rules();          // DeviceAllow by unit, "/dev/char/195:0 rw"
    void add_rule(const std::string& unit, const std::string& path);  // by an admin

    std::function<void(const std::string& machine)> on_machine_start;
    std::function<void(const std::string& unit)> on_machine_stop;
    // Its calls are answered with an error.
    void fail(const std::string& method, const std::string& error = "org.freedesktop.DBus.Error.Failed");
    void set_loaded(const std::vector<std::string>& units);         // what ListUnitsByPatterns tells
    void tell_wrong_device_allow() { wrong_device_allow_ = true; }  // before the daemon asks; and no ExecStart

private:
    using Path = sdbus::ObjectPath;
    struct Job {
        unsigned id = 0;
        Path path;
        std::string unit;
        bool start = true;
        Behaviour behaviour;
    };
    void register_manager();
    void take_job(sdbus::Result<Path>&& result, const std::string& unit, bool start);
    void hold(const Job& job);
    std::vector<Job> take_held(const std::string& unit_prefix);
    void perform(const Job& job);
    void carry_out(const Job& job);
    void tell_removed(const Job& job, const std::string& result);
    void write_report(const Job& job);
    Path unit_object(const std::string& unit);
    void note(const std::string& call);
    void refuse_if_told(const std::string& method);

    sdbus::IConnection& connection_;
    FakeHost& host_;
    News& news_;
    std::unique_ptr<sdbus::IObject> manager_;
    std::recursive_mutex mutex_;
    std::map<std::string, Behaviour> behaviours_;
    std::map<std::string, std::unique_ptr<sdbus::IObject>> units_;
    std::map<std::string, std::vector<sdbus::Struct<std::string, std::string>>> rules_;
    std::set<std::string> active_;
    std::set<std::string> deactivating_;
    std::map<std::string, std::string> failed_;  // the job's result by unit
    std::vector<Job> held_;
    std::map<unsigned, std::unique_ptr<sdbus::IObject>> job_objects_;  // of those that are held
    std::vector<std::string> calls_;
    unsigned next_job_ = 1;
    std::string fail_method_;
    std::string fail_error_;
    std::vector<std::string> loaded_;
    bool wrong_device_allow_ = false;
};

}  // namespace cuda_nspawn::bus_tests
