#include "fake_systemd.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <utility>

namespace cuda_nspawn::bus_tests {

namespace {

constexpr const char* manager_interface = "org.freedesktop.systemd1.Manager";
using Listed = sdbus::Struct<std::string, std::string, std::string, std::string, std::string, std::string,
                             sdbus::ObjectPath, std::uint32_t, std::string, sdbus::ObjectPath>;
using Property = sdbus::Struct<std::string, sdbus::Variant>;
using Rule = sdbus::Struct<std::string, std::string>;
using Command = sdbus::Struct<std::string, std::vector<std::string>, bool, std::uint64_t, std::uint64_t, std::uint64_t,
                              std::uint64_t, std::uint32_t, std::int32_t, std::int32_t>;

bool is_worker(const std::string& unit) {
    return unit.starts_with("cuda-nspawn-") && unit.find('@') != std::string::npos;
}

std::string between(const std::string& text, const std::string& first, const std::string& last) {
    const auto begin = text.find(first) + first.size();
    return text.substr(begin, text.rfind(last) - begin);
}

}  // namespace

FakeSystemd::FakeSystemd(sdbus::IConnection& connection, FakeHost& host, News& news)
    : connection_(connection),
      host_(host),
      news_(news),
      manager_(sdbus::createObject(connection, Path{"/org/freedesktop/systemd1"})) {
    register_manager();
    connection.requestName(sdbus::ServiceName{"org.freedesktop.systemd1"});
}

void FakeSystemd::register_manager() {
    manager_
        ->addVTable(sdbus::registerMethod("Subscribe").implementedAs([this] { note("Subscribe"); }),
                    sdbus::registerMethod("Reload").implementedAs([this] {
                        note("Reload");
                        refuse_if_told("Reload");
                    }),
                    sdbus::registerMethod("StartUnit")
                        .implementedAs([this](sdbus::Result<Path>&& result, std::string unit, std::string) {
                            take_job(std::move(result), unit, true);
                        }),
                    sdbus::registerMethod("StopUnit")
                        .implementedAs([this](sdbus::Result<Path>&& result, std::string unit, std::string) {
                            take_job(std::move(result), unit, false);
                        }),
                    sdbus::registerMethod("GetUnit").implementedAs([this](const std::string& unit) {
                        note("GetUnit " + unit);
                        refuse_if_told("GetUnit");
                        return unit_object(unit);
                    }),
                    sdbus::registerMethod("LoadUnit").implementedAs([this](const std::string& unit) {
                        note("LoadUnit " + unit);
                        refuse_if_told("LoadUnit");
                        return unit_object(unit);
                    }),
                    sdbus::registerMethod("ListUnitsByPatterns")
                        .implementedAs([this](const std::vector<std::string>&, const std::vector<std::string>&) {
                            refuse_if_told("ListUnitsByPatterns");
                            const std::lock_guard lock(mutex_);
                            std::vector<Listed> list;
                            for (const std::string& unit : loaded_)
                                list.emplace_back(unit, "", "loaded", "active", "running", "", Path{"/"}, 0U, "",
                                                  Path{"/"});
                            return list;
                        }),
                    sdbus::registerMethod("SetUnitProperties")
                        .implementedAs([this](const std::string& unit, bool, const std::vector<Property>& properties) {
                            note("SetUnitProperties " + unit);
                            refuse_if_told("SetUnitProperties");
                            const std::lock_guard lock(mutex_);
                            for (const Property& property : properties) {
                                const auto list = std::get<1>(property).get<std::vector<Rule>>();
                                if (list.empty()) rules_[unit].clear();
                                rules_[unit].insert(rules_[unit].end(), list.begin(), list.end());
                            }
                        }),
                    sdbus::registerSignal("Reloading").withParameters<bool>(),
                    sdbus::registerSignal("JobRemoved").withParameters<std::uint32_t, Path, std::string, std::string>())
        .forInterface(manager_interface);
}

void FakeSystemd::refuse_if_told(const std::string& method) {
    const std::lock_guard lock(mutex_);
    if (fail_method_ == method) throw sdbus::Error(sdbus::Error::Name(fail_error_), method + " does not work today");
}

void FakeSystemd::note(const std::string& call) {
    {
        const std::lock_guard lock(mutex_);
        calls_.push_back(call);
    }
    news_.tell();
}

FakeSystemd::Path FakeSystemd::unit_object(const std::string& unit) {
    const std::lock_guard lock(mutex_);
    std::string label;
    for (const char c : unit) label += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    const Path path{"/org/freedesktop/systemd1/unit/" + label};
    auto& object = units_[unit];
    if (object) return path;
    object = sdbus::createObject(connection_, path);
    object
        ->addVTable(sdbus::registerProperty("ActiveState").withGetter([this, unit] {
            note("ActiveState " + unit);
            return active_state(unit);
        }),
                    sdbus::registerProperty("DropInPaths").withGetter([] { return std::vector<std::string>(); }))
        .forInterface("org.freedesktop.systemd1.Unit");
    const char* interface =
        unit.ends_with(".scope") ? "org.freedesktop.systemd1.Scope" : "org.freedesktop.systemd1.Service";
    if (wrong_device_allow_)
        object->addVTable(sdbus::registerProperty("DeviceAllow").withGetter([] { return std::string("all"); }))
            .forInterface(interface);
    else
        object
            ->addVTable(sdbus::registerProperty("DeviceAllow").withGetter([this, unit] {
                note("DeviceAllow " + unit);
                const std::lock_guard guard(mutex_);
                return rules_[unit];
            }),
                        sdbus::registerProperty("Result").withGetter([this, unit] {
                            const std::lock_guard guard(mutex_);
                            const auto place = failed_.find(unit);
                            return place == failed_.end() ? std::string("success") : place->second;
                        }),
                        sdbus::registerProperty("ExecStart").withGetter([] { return std::vector<Command>(); }))
            .forInterface(interface);
    return path;
}

void FakeSystemd::take_job(sdbus::Result<Path>&& result, const std::string& unit, bool start) {
    Job job;
    {
        const std::lock_guard lock(mutex_);
        job = {next_job_, Path{"/org/freedesktop/systemd1/job/" + std::to_string(next_job_)}, unit, start, {}};
        ++next_job_;
        for (auto& [prefix, behaviour] : behaviours_)
            if (unit.starts_with(prefix)) {
                job.behaviour = behaviour;
                if (behaviour.times > 0 && --behaviour.times == 0) behaviour = {};
            }
    }
    const bool stops_worker = !start && is_worker(unit);
    if (stops_worker) job.behaviour.held = false;  // how it starts is what tests tell
    note((start ? "StartUnit " : "StopUnit ") + unit);
    if (!job.behaviour.error.empty())
        return result.returnError(
            sdbus::Error(sdbus::Error::Name("org.freedesktop.systemd1.NoSuchUnit"), job.behaviour.error));
    if (stops_worker)
        for (const Job& cancelled : take_held(unit)) tell_removed(cancelled, "canceled");
    if (job.behaviour.early) carry_out(job);
    result.returnResults(job.path);
    if (job.behaviour.early) return;
    if (!job.behaviour.held) return carry_out(job);
    hold(job);
}

void FakeSystemd::hold(const Job& job) {
    auto object = sdbus::createObject(connection_, job.path);
    object->addVTable(sdbus::registerProperty("State").withGetter([] { return std::string("running"); }))
        .forInterface("org.freedesktop.systemd1.Job");
    {
        const std::lock_guard lock(mutex_);
        job_objects_[job.id] = std::move(object);
        held_.push_back(job);
    }
    news_.tell();
}

std::string FakeSystemd::active_state(const std::string& unit) {
    const std::lock_guard lock(mutex_);
    if (failed_.contains(unit)) return "failed";
    if (deactivating_.contains(unit)) return "deactivating";
    return active_.contains(unit) ? "active" : "inactive";
}

void FakeSystemd::perform(const Job& job) {
    const bool done = job.behaviour.result == "done";
    {
        const std::lock_guard lock(mutex_);
        deactivating_.erase(job.unit);
        if (done)
            failed_.erase(job.unit);
        else
            failed_[job.unit] = job.behaviour.result;
    }
    if (is_worker(job.unit)) {
        if (job.start) write_report(job);
    } else if (done) {
        const std::lock_guard lock(mutex_);
        if (job.start)
            active_.insert(job.unit);
        else
            active_.erase(job.unit);
    }
    if (job.unit.starts_with("systemd-nspawn@") && done) {
        if (job.start && on_machine_start) on_machine_start(between(job.unit, "@", ".service"));
        if (!job.start && on_machine_stop) on_machine_stop(job.unit);
    }
}

void FakeSystemd::carry_out(const Job& job) {
    perform(job);
    tell_removed(job, job.behaviour.result);
}

void FakeSystemd::tell_removed(const Job& job, const std::string& result) {
    manager_->emitSignal("JobRemoved").onInterface(manager_interface).withArguments(job.id, job.path, job.unit, result);
}

void FakeSystemd::write_report(const Job& job) {
    if (job.behaviour.without_report) return;
    const std::string verb = between(job.unit, "cuda-nspawn-", "@");
    const std::filesystem::path base = host_.work() / between(job.unit, "@", ".service");
    std::ifstream stream(base.string() + ".request");
    const std::string request{std::istreambuf_iterator<char>(stream), {}};
    const std::string report = job.behaviour.report.empty() ? host_.work_on(verb, request) : job.behaviour.report;
    std::ofstream(base.string() + ".new") << report;
    std::filesystem::rename(base.string() + ".new", base.string() + ".result");
}

void FakeSystemd::set(const std::string& unit_prefix, Behaviour behaviour) {
    const std::lock_guard lock(mutex_);
    behaviours_[unit_prefix] = std::move(behaviour);
}

std::vector<FakeSystemd::Job> FakeSystemd::take_held(const std::string& unit_prefix) {
    // To end an object waits for the connection's thread, which may wait for the lock.
    std::vector<std::unique_ptr<sdbus::IObject>> ended;
    const std::lock_guard lock(mutex_);
    const auto others = std::stable_partition(held_.begin(), held_.end(),
                                              [&](const Job& job) { return !job.unit.starts_with(unit_prefix); });
    const std::vector<Job> jobs(others, held_.end());
    held_.erase(others, held_.end());
    for (const Job& job : jobs) ended.push_back(std::move(job_objects_.extract(job.id).mapped()));
    return jobs;
}

void FakeSystemd::deactivate(const std::string& unit) {
    const std::lock_guard lock(mutex_);
    active_.erase(unit);
    deactivating_.insert(unit);
}

void FakeSystemd::finish(const std::string& unit_prefix) {
    for (const Job& job : take_held(unit_prefix)) carry_out(job);
}

void FakeSystemd::lose(const std::string& unit_prefix) {
    for (const Job& job : take_held(unit_prefix)) perform(job);
}

void FakeSystemd::restart() {
    connection_.releaseName(sdbus::ServiceName{"org.freedesktop.systemd1"});
    connection_.requestName(sdbus::ServiceName{"org.freedesktop.systemd1"});
}

void FakeSystemd::tell_reloading(bool begins) {
    manager_->emitSignal("Reloading").onInterface(manager_interface).withArguments(begins);
}

void FakeSystemd::fail(const std::string& method, const std::string& error) {
    const std::lock_guard lock(mutex_);
    fail_method_ = method;
    fail_error_ = error;
}

void FakeSystemd::set_loaded(const std::vector<std::string>& units) {
    const std::lock_guard lock(mutex_);
    loaded_ = units;
}

void FakeSystemd::add_rule(const std::string& unit, const std::string& path) {
    const std::lock_guard lock(mutex_);
    rules_[unit].emplace_back(path, "rw");
}

bool FakeSystemd::holds(const std::string& unit_prefix) {
    const std::lock_guard lock(mutex_);
    return std::any_of(held_.begin(), held_.end(), [&](const Job& job) { return job.unit.starts_with(unit_prefix); });
}

std::vector<std::string> FakeSystemd::calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
}

unsigned FakeSystemd::count(const std::string& call_prefix) {
    const auto made = calls();
    return static_cast<unsigned>(std::count_if(made.begin(), made.end(),
                                               [&](const std::string& call) { return call.starts_with(call_prefix); }));
}

std::map<std::string, std::vector<std::string>> FakeSystemd::rules() {
    const std::lock_guard lock(mutex_);
    std::map<std::string, std::vector<std::string>> texts;
    for (const auto& [unit, list] : rules_)
        for (const Rule& rule : list) texts[unit].push_back(std::get<0>(rule) + " " + std::get<1>(rule));
    return texts;
}

}  // namespace cuda_nspawn::bus_tests
