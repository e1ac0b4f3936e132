#include "system/systemd.hpp"

#include <fmt/format.h>

#include <tuple>

namespace cuda_nspawn {

namespace {

const sdbus::ServiceName service{"org.freedesktop.systemd1"};
const sdbus::ObjectPath root{"/org/freedesktop/systemd1"};
constexpr const char* manager_interface = "org.freedesktop.systemd1.Manager";
constexpr std::size_t kept_paths = 4096;

const char* interface_of(const std::string& unit) {
    return unit.ends_with(".scope") ? "org.freedesktop.systemd1.Scope" : "org.freedesktop.systemd1.Service";
}

JobEnd job_end(const std::string& unit, const std::string& result) {
    if (result == "done") return {result, ""};
    return {result,
            fmt::format("{} could not be started or stopped ({}): see systemctl status {}", unit, result, unit)};
}

using BusRule = sdbus::Struct<std::string, std::string>;

// Nothing if the value is of another type: an exception in a reply's handler would lose the reply.
template <class T>
std::optional<T> value_as(const sdbus::Variant& value) {
    return value.containsValueOfType<T>() ? std::optional<T>(value.get<T>()) : std::nullopt;
}

template <class T>
std::optional<T> property(const std::map<std::string, sdbus::Variant>& properties, const std::string& name) {
    const auto place = properties.find(name);
    return place == properties.end() ? std::nullopt : value_as<T>(place->second);
}

}  // namespace

std::string outcome_of_lost_job(const std::string& verb, const std::string& unit, const std::string& active_state,
                                const std::string& result) {
    const bool rests = active_state == "inactive" || active_state == "failed";
    if (verb == "StopUnit") return job_end(unit, rests ? "done" : "canceled").failure;
    if (active_state == "failed")
        return job_end(unit, result.empty() || result == "success" ? "failed" : result).failure;
    // Most of our units do their work and are inactive again.
    const bool has_run = active_state == "active" || active_state == "reloading" || active_state == "inactive";
    return job_end(unit, has_run ? "done" : "canceled").failure;
}

Systemd::Systemd(sdbus::IConnection& connection)
    : manager_(sdbus::createProxy(connection, service, root)), units_(connection, service) {
    manager_->uponSignal("JobRemoved")
        .onInterface(manager_interface)
        .call([this](std::uint32_t, const sdbus::ObjectPath& job, const std::string& unit, const std::string& result) {
            job_removed(job, unit, result);
        });
    manager_->uponSignal("Reloading").onInterface(manager_interface).call([this](bool begins) {
        if (!begins) settle_lost_jobs();
    });
    owners_ = connection.addMatch(
        "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',"
        "arg0='org.freedesktop.systemd1'",
        [this](sdbus::Message message) { owner_changed(std::move(message)); }, sdbus::return_slot);
    subscribe();
}

// Without a subscriber systemd sends no signals.
void Systemd::subscribe() {
    manager_->callMethodAsync("Subscribe")
        .onInterface(manager_interface)
        .uponReplyInvoke([](std::optional<sdbus::Error>) {});
}

void Systemd::job_removed(const sdbus::ObjectPath& job, const std::string& unit, const std::string& result) {
    const auto place = jobs_.find(job);
    if (place == jobs_.end()) {
        if (starting_ > 0) early_results_[job] = job_end(unit, result);
        return;
    }
    end_job(job, job_end(unit, result));
}

void Systemd::end_job(const std::string& path, const JobEnd& end) {
    const auto ended = jobs_.extract(path);
    if (ended) ended.mapped().reply(end);
}

// --- jobs whose end may have been missed -----------------------------------------------------------------------------

// systemd leaves the bus when it executes itself anew, and may have ended jobs before it is told that we listen.
void Systemd::owner_changed(sdbus::Message message) {
    std::string name;
    std::string before;
    std::string owner;
    message >> name >> before >> owner;
    present_ = !owner.empty();
    if (!present_) return;
    subscribe();
    settle_lost_jobs();
}

void Systemd::settle_lost_jobs() {
    std::vector<std::string> paths;
    for (const auto& [path, job] : jobs_) paths.push_back(path);
    for (const std::string& path : paths) settle_if_lost(path);
}

// A job that is there will say its end; of one that is not, the unit tells what became of it.
void Systemd::settle_if_lost(const std::string& path) {
    const auto proxy = units_.at(sdbus::ObjectPath{path});
    proxy->getPropertyAsync("State")
        .onInterface("org.freedesktop.systemd1.Job")
        .uponReplyInvoke([this, proxy, path](std::optional<sdbus::Error> error, const sdbus::Variant&) {
            if (!error) return;
            if (error->getName() == "org.freedesktop.DBus.Error.UnknownObject") return settle_by_unit(path);
            settle_untold(path, *error);
        });
}

void Systemd::settle_by_unit(const std::string& path) {
    const auto place = jobs_.find(path);
    if (place == jobs_.end()) return;  // its end was heard meanwhile
    manager_->callMethodAsync("GetUnit")
        .onInterface(manager_interface)
        .withArguments(place->second.unit)
        .uponReplyInvoke([this, path](std::optional<sdbus::Error> error, const sdbus::ObjectPath& object) {
            if (!error) return settle_by_properties(path, object);
            // Only what rests and has not failed is unloaded.
            if (error->getName() == "org.freedesktop.systemd1.NoSuchUnit") return end_job(path, {"done", ""});
            settle_untold(path, *error);
        });
}

void Systemd::settle_by_properties(const std::string& path, const sdbus::ObjectPath& unit_object) {
    const auto proxy = units_.at(unit_object);
    proxy->callMethodAsync("GetAll")
        .onInterface("org.freedesktop.DBus.Properties")
        .withArguments(std::string())
        .uponReplyInvoke([this, proxy, path](std::optional<sdbus::Error> error,
                                             const std::map<std::string, sdbus::Variant>& properties) {
            const auto place = jobs_.find(path);
            if (place == jobs_.end()) return;
            if (error) return settle_untold(path, *error);
            const Job& job = place->second;
            const std::string failure =
                outcome_of_lost_job(job.verb, job.unit, property<std::string>(properties, "ActiveState").value_or(""),
                                    property<std::string>(properties, "Result").value_or(""));
            end_job(path, {failure.empty() ? "done" : "failed", failure});
        });
}

// When systemd has gone from the bus once more, its next owner is asked.
void Systemd::settle_untold(const std::string& path, const sdbus::Error& error) {
    const auto place = jobs_.find(path);
    if (place == jobs_.end() || !present_) return;
    end_job(path, {"failed",
                   fmt::format("systemd does not tell what became of the job of {0} ({1}): see systemctl status {0}",
                               place->second.unit, error.getMessage())});
}

// --- requests --------------------------------------------------------------------------------------------------------

void Systemd::run_job(const std::string& verb, const std::string& unit, Reply<std::string> reply) {
    enqueue(verb, unit, [reply = std::move(reply)](const JobEnd& end) { reply(end.failure); });
}

void Systemd::enqueue(const std::string& verb, const std::string& unit, Reply<JobEnd> reply, const std::string& mode) {
    ++starting_;
    manager_->callMethodAsync(verb)
        .onInterface(manager_interface)
        .withArguments(unit, mode)
        .uponReplyInvoke([this, verb, unit, reply](std::optional<sdbus::Error> error, const sdbus::ObjectPath& job) {
            const auto early = error ? decltype(early_results_)::node_type() : early_results_.extract(job);
            // What is left then are jobs of others.
            if (--starting_ == 0) early_results_.clear();
            if (error) return reply({"", fmt::format("{}: {}", unit, error->getMessage())});
            if (early) return reply(early.mapped());
            jobs_[job] = {verb, unit, reply};
        });
}

void Systemd::get_active_state(const std::string& unit, Reply<std::string> reply) {
    manager_->callMethodAsync("GetUnit")
        .onInterface(manager_interface)
        .withArguments(unit)
        .uponReplyInvoke([this, reply](std::optional<sdbus::Error> error, const sdbus::ObjectPath& path) {
            if (error) return reply(error->getName() == "org.freedesktop.systemd1.NoSuchUnit" ? "inactive" : "");
            const auto proxy = units_.at(path);
            proxy->getPropertyAsync("ActiveState")
                .onInterface("org.freedesktop.systemd1.Unit")
                .uponReplyInvoke([proxy, reply](std::optional<sdbus::Error> failed, const sdbus::Variant& state) {
                    reply(failed ? "" : value_as<std::string>(state).value_or(""));
                });
        });
}

void Systemd::stop_if_active(const std::string& unit, Reply<std::string> reply) {
    get_active_state(unit, [this, unit, reply](const std::string& state) {
        if (state != "active") return reply("");
        run_job("StopUnit", unit, reply);
    });
}

// A job of mode "fail" takes no other's place.
void Systemd::wait_for_rest(const std::string& unit, Reply<std::string> reply) {
    enqueue("StopUnit", unit, [reply = std::move(reply)](const JobEnd& end) { reply(end.failure); }, "fail");
}

void Systemd::reload(Reply<std::string> reply) {
    manager_->callMethodAsync("Reload")
        .onInterface(manager_interface)
        .withTimeout(std::chrono::seconds(90))
        .uponReplyInvoke([reply](std::optional<sdbus::Error> error) {
            reply(error ? fmt::format("systemd did not reload its units: {}", error->getMessage()) : "");
        });
}

void Systemd::loaded_units(const std::vector<std::string>& names, std::function<void(std::vector<std::string>)> reply) {
    using Unit = sdbus::Struct<std::string, std::string, std::string, std::string, std::string, std::string,
                               sdbus::ObjectPath, std::uint32_t, std::string, sdbus::ObjectPath>;
    manager_->callMethodAsync("ListUnitsByPatterns")
        .onInterface(manager_interface)
        .withArguments(std::vector<std::string>{},
                       std::vector<std::string>{"systemd-nspawn@*.service", "machine-*.scope"})
        .uponReplyInvoke([names, reply](std::optional<sdbus::Error> error, const std::vector<Unit>& units) {
            // Not knowing is answered with a reload that may be needless.
            if (error) return reply(names);
            std::vector<std::string> loaded;
            for (const Unit& unit : units)
                for (const std::string& name : names)
                    if (std::get<0>(unit) == name) loaded.push_back(name);
            reply(loaded);
        });
}

void Systemd::set_device_rules(const std::string& unit, const DeviceRules& rules, Reply<std::string> reply) {
    send_device_rules(unit, rules, true, std::move(reply));
}

void Systemd::add_device_rules(const std::string& unit, const DeviceRules& rules, Reply<std::string> reply) {
    send_device_rules(unit, rules, false, std::move(reply));
}

void Systemd::send_device_rules(const std::string& unit, const DeviceRules& rules, bool replaces,
                                Reply<std::string> reply) {
    std::vector<BusRule> list;
    for (const auto& [path, access] : rules) list.emplace_back(path, access);
    using Property = sdbus::Struct<std::string, sdbus::Variant>;
    // An empty assignment resets the list (systemd.resource-control(5)); both take effect together.
    std::vector<Property> properties;
    if (replaces) properties.emplace_back("DeviceAllow", sdbus::Variant(std::vector<BusRule>{}));
    if (!list.empty()) properties.emplace_back("DeviceAllow", sdbus::Variant(list));
    manager_->callMethodAsync("SetUnitProperties")
        .onInterface(manager_interface)
        .withArguments(unit, true, properties)
        .uponReplyInvoke([unit, reply](std::optional<sdbus::Error> error) {
            reply(error ? fmt::format("the device rules of {} could not be set: {}", unit, error->getMessage()) : "");
        });
}

// A unit's object path never changes, so it is asked for once: a guest waits for its GPU meanwhile.
void Systemd::get_device_rules(const std::string& unit, RulesReply reply) {
    if (const auto known = paths_.find(unit); known != paths_.end())
        return read_device_rules(unit, known->second, std::move(reply));
    manager_->callMethodAsync("GetUnit")
        .onInterface(manager_interface)
        .withArguments(unit)
        .uponReplyInvoke([this, unit, reply](std::optional<sdbus::Error> error, const sdbus::ObjectPath& path) {
            if (error) return reply({}, fmt::format("{}: {}", unit, error->getMessage()));
            if (paths_.size() >= kept_paths) paths_.clear();
            paths_[unit] = path;
            read_device_rules(unit, path, reply);
        });
}

void Systemd::read_device_rules(const std::string& unit, const sdbus::ObjectPath& path, RulesReply reply) {
    const auto proxy = units_.at(path);
    proxy->getPropertyAsync("DeviceAllow")
        .onInterface(interface_of(unit))
        .uponReplyInvoke([this, proxy, unit, reply = std::move(reply)](std::optional<sdbus::Error> failed,
                                                                       const sdbus::Variant& value) {
            if (failed) paths_.erase(unit);
            if (failed) return reply({}, fmt::format("{}: {}", unit, failed->getMessage()));
            const auto list = value_as<std::vector<BusRule>>(value);
            if (!list) return reply({}, fmt::format("{}: systemd tells no DeviceAllow of it", unit));
            DeviceRules rules;
            for (const BusRule& rule : *list) rules.emplace_back(std::get<0>(rule), std::get<1>(rule));
            reply(rules, "");
        });
}

void Systemd::get_exec_start(const std::string& unit, std::function<void(ExecStart)> reply) {
    using Command = sdbus::Struct<std::string, std::vector<std::string>, bool, std::uint64_t, std::uint64_t,
                                  std::uint64_t, std::uint64_t, std::uint32_t, std::int32_t, std::int32_t>;
    manager_->callMethodAsync("LoadUnit")
        .onInterface(manager_interface)
        .withArguments(unit)
        .uponReplyInvoke([this, unit, reply](std::optional<sdbus::Error> error, const sdbus::ObjectPath& path) {
            if (error) return reply({{}, {}, fmt::format("{}: {}", unit, error->getMessage())});
            const auto proxy = units_.at(path);
            proxy->callMethodAsync("GetAll")
                .onInterface("org.freedesktop.DBus.Properties")
                .withArguments(std::string())
                .uponReplyInvoke([proxy, unit, reply](std::optional<sdbus::Error> failed,
                                                      const std::map<std::string, sdbus::Variant>& properties) {
                    if (failed) return reply({{}, {}, fmt::format("{}: {}", unit, failed->getMessage())});
                    ExecStart result;
                    result.drop_ins =
                        property<std::vector<std::string>>(properties, "DropInPaths").value_or(result.drop_ins);
                    const auto commands = property<std::vector<Command>>(properties, "ExecStart");
                    if (!commands) result.failure = fmt::format("{}: systemd tells no ExecStart of it", unit);
                    if (commands && !commands->empty()) result.argv = std::get<1>(commands->front());
                    reply(std::move(result));
                });
        });
}

}  // namespace cuda_nspawn
