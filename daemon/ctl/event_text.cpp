#include "ctl/event_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "ctl/job_call.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"
#include "names.hpp"

namespace cuda_nspawn::ctl {

namespace {

bool is_below(const std::string& path, std::string_view place) {
    return path.starts_with(fmt::format("{}/{}/", names::root_object, place));
}

// What there may be nothing to say about.
std::string with_text(const std::string& what, const std::string& text) {
    return text.empty() ? what : fmt::format("{}: {}", what, text);
}

// Of the JSON of an object only the keys that changed.
Json only(const Json& all, const Json& complete_before) {
    Json changed = Json::object();
    for (const auto& [key, value] : all.items())
        if (complete_before.value(key, Json()) != value) changed[key] = value;
    return changed;
}

Json machine_alone(const Value& properties) {
    static const Objects none(Value::object());
    return machine_json(properties, none);
}

Event event(const std::string& kind, const Json& about, const Json& changed, std::vector<std::string> lines) {
    Json json{{"event", kind}};
    json.update(about);
    json.update(changed);
    return {json, std::move(lines)};
}

std::vector<std::string> driver_lines(const Json& changed) {
    std::vector<std::string> lines;
    const auto say = [&](const char* key, const char* what, const char* otherwise) {
        if (!changed.contains(key)) return;
        const std::string value = changed[key];
        lines.push_back(value.empty() ? fmt::format("driver: {}", otherwise)
                                      : fmt::format("driver: {} {}", what, value));
    };
    say("kernel_version", "kernel module", "kernel module not loaded");
    say("driver_version", "files", "no files");
    say("pending_version", "pending", "nothing pending");
    say("generation", "generation", "no generation");
    for (const Json& warning : changed.value("warnings", Json::array()))
        lines.push_back("driver: warning: " + warning.get<std::string>());
    return lines;
}

std::string job_line(const Json& job) {
    std::string text = fmt::format("{}: job {} {}", job["machine"].get<std::string>(), job["job"].get<unsigned>(),
                                   job["kind"].get<std::string>());
    if (job["state"] == "ended")
        return with_text(fmt::format("{} {}", text, job["result"].get<std::string>()), job["text"].get<std::string>());
    const Value place{{"Step", job["step"]}, {"Steps", job["steps"]}, {"Text", job["text"]}};
    return fmt::format("{} {}", text, progress_text(place));
}

std::string gpu_name(const Value& gpu) {
    return fmt::format("GPU {} {} ({})", gpu.value("Index", 0U), text(gpu, "Model"), text(gpu, "Uuid"));
}

Event daemon_event(const Signal& signal) {
    const bool runs = !signal.body.at(2).get_ref<const std::string&>().empty();
    return event("daemon", {{"running", runs}}, Json::object(), {runs ? "daemon: started" : "daemon: ended"});
}

Event job_began(const Signal& signal) {
    const Json job{
        {"job", signal.body.at(0)}, {"machine", signal.body.at(2)}, {"kind", signal.body.at(3)}, {"state", "running"}};
    return event("job", job, Json::object(),
                 {fmt::format("{}: job {} {} began", job["machine"].get<std::string>(), job["job"].get<unsigned>(),
                              job["kind"].get<std::string>())});
}

}  // namespace

void History::begin(const Objects& objects, Value driver) {
    known_.clear();
    for (const char* kind : {"Machine", "Gpu", "Job"})
        for (const auto& [path, properties] : objects.all(kind)) known_.emplace(path, *properties);
    known_[std::string(names::root_object)] = std::move(driver);
}

std::vector<Event> History::take(const Signal& signal) {
    if (signal.member == "NameOwnerChanged") return {daemon_event(signal)};
    if (signal.member == "PropertiesChanged") return properties_changed(signal);
    if (signal.member == "InterfacesAdded") return object_came(signal);
    if (signal.member == "InterfacesRemoved") return object_went(signal);
    if (signal.member != "JobNew") return {};
    Value& job = known_[signal.body.at(1)];
    job["Id"] = signal.body.at(0);
    job["Machine"] = signal.body.at(2);
    job["Kind"] = signal.body.at(3);
    return {job_began(signal)};
}

std::vector<Event> History::properties_changed(const Signal& signal) {
    Value& known = known_.try_emplace(signal.path, Value::object()).first->second;
    const Value before = known;
    known.update(signal.body.at(1));
    if (signal.path == names::root_object) {
        const Json changed = only(driver_json(known), driver_json(before));
        if (changed.empty()) return {};
        return {event("driver", Json::object(), changed, driver_lines(changed))};
    }
    if (is_below(signal.path, "machine")) {
        known["Name"] = name_of_path(signal.path);
        return machine_changed(signal.path, only(machine_alone(known), machine_alone(before)));
    }
    if (is_below(signal.path, "gpu") && known != before) {
        const Json gpu = gpu_json(known);
        const std::string machines = joined(gpu["machines"]);
        return {event("gpu", gpu, Json::object(),
                      {fmt::format("{}: in {}", gpu_name(known), machines.empty() ? "no machine" : machines)})};
    }
    if (is_below(signal.path, "job") && known != before) {
        const Json job = job_json(known);
        return {event("job", job, Json::object(), {job_line(job)})};
    }
    return {};
}

std::string History::gpus_text(const Value& uuids) const {
    std::vector<unsigned> indices;
    for (const auto& [path, properties] : known_)
        if (is_below(path, "gpu") && std::ranges::find(uuids, properties.value("Uuid", Value())) != uuids.end())
            indices.push_back(properties.value("Index", 0U));
    std::ranges::sort(indices);
    return uuids.empty() ? "no GPU" : fmt::format("GPU {}", index_ranges(indices));
}

std::vector<Event> History::machine_changed(const std::string& path, const Json& changed) {
    if (changed.empty()) return {};
    const Value& known = known_.at(path);
    const std::string name = text(known, "Name");
    std::vector<std::string> lines;
    if (changed.contains("state") || changed.contains("text"))
        lines.push_back(with_text(text(known, "State"), text(known, "StateText")));
    if (changed.contains("unit"))
        lines.push_back(text(known, "Unit").empty() ? "does not run" : "runs in " + text(known, "Unit"));
    if (changed.contains("gpus")) lines.push_back(gpus_text(known.value("Gpus", Value::array())));
    if (changed.contains("generation") && !text(known, "Generation").empty())
        lines.push_back("driver " + text(known, "Generation"));
    if (changed.contains("verdict") || changed.contains("last_self_test"))
        lines.push_back(with_text("verdict " + text(known, "Verdict"), text(known, "VerdictText")));
    for (const Json& error : changed.value("policy_errors", Json::array()))
        lines.push_back("policy: " + error.get<std::string>());
    for (const Json& finding : changed.value("findings", Json::array()))
        lines.push_back(fmt::format("{}: {} [{}]", finding["severity"].get<std::string>(),
                                    finding["text"].get<std::string>(), finding["code"].get<std::string>()));
    for (const Json& warning : changed.value("warnings", Json::array()))
        lines.push_back("warning: " + warning.get<std::string>());
    for (std::string& line : lines) line = name + ": " + line;
    return {event("machine", {{"machine", name}}, changed, std::move(lines))};
}

std::vector<Event> History::object_came(const Signal& signal) {
    const std::string path = signal.body.at(0);
    for (const auto& [interface, properties] : signal.body.at(1).items()) {
        if (interface.ends_with(".Machine") || interface.ends_with(".Gpu")) known_[path] = properties;
        if (interface.ends_with(".Machine"))
            return {event("machine-added", {{"machine", text(properties, "Name")}}, machine_alone(properties),
                          {text(properties, "Name") + ": has a policy"})};
        if (interface.ends_with(".Gpu"))
            return {event("gpu-added", gpu_json(properties), Json::object(), {gpu_name(properties) + ": is there"})};
    }
    return {};  // a job is told by JobNew
}

std::vector<Event> History::object_went(const Signal& signal) {
    const std::string path = signal.body.at(0);
    const auto place = known_.find(path);
    const Value before = place == known_.end() ? Value::object() : place->second;
    if (place != known_.end()) known_.erase(place);
    for (const Value& interface : signal.body.at(1)) {
        const auto& name = interface.get_ref<const std::string&>();
        if (name.ends_with(".Machine")) {
            const std::string machine = name_of_path(path);
            return {event("machine-removed", {{"machine", machine}}, Json::object(),
                          {machine + ": has no policy any more"})};
        }
        if (name.ends_with(".Gpu"))
            return {event("gpu-removed", gpu_json(before), Json::object(), {gpu_name(before) + ": is gone"})};
    }
    return {};
}

}  // namespace cuda_nspawn::ctl
