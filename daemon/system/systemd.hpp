// PID 1 on the bus: org.freedesktop.systemd1(5). Every call is asynchronous; nothing here waits.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/ports.hpp"
#include "system/object_proxies.hpp"

namespace cuda_nspawn {

using DeviceRules = std::vector<std::pair<std::string, std::string>>;  // path or "/dev/char/M:N", and "rwm"

// How a job ended: systemd's word for it ("done", "failed", "timeout", …), or empty if there was no job at all.
struct JobEnd {
    std::string result;
    std::string failure;  // a sentence; empty if it is done
};

// What became of a job whose end was not heard, by its unit's ActiveState and Result: empty, or a sentence.
std::string outcome_of_lost_job(const std::string& verb, const std::string& unit, const std::string& active_state,
                                const std::string& result);

class Systemd {
public:
    explicit Systemd(sdbus::IConnection& connection);

    // The job's end: empty, or a sentence. `verb` is StartUnit or StopUnit. Comes also when systemd begins anew
    // meanwhile.
    void run_job(const std::string& verb, const std::string& unit, Reply<std::string> reply);
    void start_unit(const std::string& unit, Reply<JobEnd> reply) { enqueue("StartUnit", unit, std::move(reply)); }
    // "inactive" too if it is not loaded; empty if systemd does not tell.
    void get_active_state(const std::string& unit, Reply<std::string> reply);
    // Only a unit that is active by now; one that is starting is left alone.
    void stop_if_active(const std::string& unit, Reply<std::string> reply);
    // Of a unit that is on its way down: comes when it rests, or with a sentence if it is to start again.
    void wait_for_rest(const std::string& unit, Reply<std::string> reply);
    void reload(Reply<std::string> reply);
    // Those of the units that systemd has loaded.
    void loaded_units(const std::vector<std::string>& names, std::function<void(std::vector<std::string>)> reply);
    // Sets the runtime DeviceAllow list of a unit in one call, whatever it was; or adds to it.
    void set_device_rules(const std::string& unit, const DeviceRules& rules, Reply<std::string> reply);
    void add_device_rules(const std::string& unit, const DeviceRules& rules, Reply<std::string> reply);
    using RulesReply = std::function<void(DeviceRules, std::string failure)>;
    void get_device_rules(const std::string& unit, RulesReply reply);
    // argv of the service's ExecStart and its drop-ins, of a unit that is loaded for this if need be.
    struct ExecStart {
        std::vector<std::string> argv;
        std::vector<std::string> drop_ins;
        std::string failure;
    };
    void get_exec_start(const std::string& unit, std::function<void(ExecStart)> reply);

private:
    struct Job {
        std::string verb;
        std::string unit;
        Reply<JobEnd> reply;
    };
    void send_device_rules(const std::string& unit, const DeviceRules& rules, bool replaces, Reply<std::string> reply);
    void read_device_rules(const std::string& unit, const sdbus::ObjectPath& path, RulesReply reply);
    void subscribe();
    void owner_changed(sdbus::Message message);
    void enqueue(const std::string& verb, const std::string& unit, Reply<JobEnd> reply,
                 const std::string& mode = "replace");
    void job_removed(const sdbus::ObjectPath& job, const std::string& unit, const std::string& result);
    void end_job(const std::string& path, const JobEnd& end);
    void settle_lost_jobs();
    void settle_if_lost(const std::string& path);
    void settle_by_unit(const std::string& path);
    void settle_by_properties(const std::string& path, const sdbus::ObjectPath& unit_object);
    void settle_untold(const std::string& path, const sdbus::Error& error);

    std::unique_ptr<sdbus::IProxy> manager_;
    ObjectProxies units_;
    std::map<std::string, sdbus::ObjectPath> paths_;  // of units whose rules were asked for
    sdbus::Slot owners_;
    bool present_ = true;                          // on the bus
    std::map<std::string, Job> jobs_;              // by job path
    std::map<std::string, JobEnd> early_results_;  // of jobs that ended before their path was known
    unsigned starting_ = 0;                        // StartUnit calls without an answer yet
};

}  // namespace cuda_nspawn
