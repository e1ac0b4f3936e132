#include "bus/machine_objects.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iterator>
#include <string_view>
#include <utility>

#include "bus/org.cudanspawn1-adaptor.hpp"
#include "names.hpp"
#include "policy/machine_name.hpp"

namespace cuda_nspawn::bus {

namespace {

constexpr const char* interface_name = org::cudanspawn1::Machine_adaptor::INTERFACE_NAME;

using Object = MachineObjects::Object;

void check(int result, const char* what) {
    if (result < 0) throw sdbus::createError(-result, what);
}

// Nothing is thrown into sd-bus.
template <class Body>
int guarded(sd_bus_error* error, Body&& body) {
    try {
        body();
        return 1;
    } catch (const sdbus::Error& failure) {
        return sd_bus_error_set(error, failure.getName().c_str(), failure.getMessage().c_str());
    } catch (const std::exception& failure) {
        return sd_bus_error_set(error, SD_BUS_ERROR_FAILED, failure.what());
    }
}

// --- properties ------------------------------------------------------------------------------------------------------

std::string name_of(const Object& object) { return object.name; }
std::string state_of(const Object& object) {
    return std::string(to_string(object.machine().state(object.engine().generation_pending())));
}
std::string state_text_of(const Object& object) {
    return object.machine().state_text(object.engine().generation_pending());
}
std::string policy_of(const Object& object) { return object.machine().policy ? object.machine().policy->path : ""; }

std::vector<std::string> policy_errors_of(const Object& object) {
    std::vector<std::string> errors;
    for (const Diagnostic& diagnostic : object.machine().policy_errors) errors.push_back(to_string(diagnostic));
    return errors;
}

std::vector<std::string> gpus_of(const Object& object) {
    std::vector<std::string> uuids;
    if (object.machine().is_granted())
        for (const Gpu& gpu : object.machine().planned.gpus) uuids.push_back(gpu.uuid);
    return uuids;
}

std::string generation_of(const Object& object) {
    return object.machine().exposed ? object.machine().exposed->generation : "";
}
std::string unit_of(const Object& object) { return object.machine().instance ? object.machine().instance->unit : ""; }
std::vector<std::string> warnings_of(const Object& object) { return object.machine().warnings(); }
std::string verdict_of(const Object& object) { return std::string(to_string(object.machine().verdict.result)); }
std::string verdict_text_of(const Object& object) { return object.machine().verdict.summary; }
std::uint64_t last_self_test_of(const Object& object) { return object.machine().tested_usec; }
const Findings& findings_of(const Object& object) { return object.machine().findings; }
const std::vector<Check>& checks_of(const Object& object) { return object.machine().verdict.checks; }

void append(sd_bus_message* reply, const std::string& text) {
    check(sd_bus_message_append_basic(reply, 's', text.c_str()), "append");
}
void append(sd_bus_message* reply, std::uint64_t value) {
    check(sd_bus_message_append_basic(reply, 't', &value), "append");
}
void append(sd_bus_message* reply, const std::vector<std::string>& texts) {
    check(sd_bus_message_open_container(reply, 'a', "s"), "append");
    for (const std::string& text : texts) append(reply, text);
    check(sd_bus_message_close_container(reply), "append");
}
void append(sd_bus_message* reply, const std::vector<Check>& checks) {
    check(sd_bus_message_open_container(reply, 'a', "(ssds)"), "append");
    for (const Check& one : checks)
        check(sd_bus_message_append(reply, "(ssds)", one.name.c_str(), std::string(to_string(one.result)).c_str(),
                                    one.milliseconds, one.detail.c_str()),
              "append");
    check(sd_bus_message_close_container(reply), "append");
}

void append(sd_bus_message* reply, const Findings& findings) {
    check(sd_bus_message_open_container(reply, 'a', "(sss)"), "append");
    for (const Finding& one : findings)
        check(sd_bus_message_append(reply, "(sss)", one.code.c_str(), std::string(to_string(one.severity)).c_str(),
                                    one.text.c_str()),
              "append");
    check(sd_bus_message_close_container(reply), "append");
}

template <auto value_of>
int get(sd_bus*, const char*, const char*, const char*, sd_bus_message* reply, void* data, sd_bus_error* error) {
    return guarded(error, [&] { append(reply, value_of(*static_cast<const Object*>(data))); });
}

std::string text_of(const std::string& text) { return text; }
std::string text_of(const std::vector<std::string>& texts) { return fmt::format("{}", fmt::join(texts, "\n")); }
std::string text_of(const Findings& findings) {
    std::string all;
    for (const Finding& one : findings) all += fmt::format("{} {} {}\n", one.code, to_string(one.severity), one.text);
    return all;
}
std::string text_of(std::uint64_t value) { return fmt::format("{}", value); }

template <auto value_of>
std::string text(const Object& object) {
    return text_of(value_of(object));
}

// Those that change, with what tells that they did: of the checks it is the time, as each verdict has its own.
struct Shown {
    const char* property;
    std::string (*text)(const Object&);
};
constexpr Shown shown[] = {{"State", text<state_of>},
                           {"StateText", text<state_text_of>},
                           {"Policy", text<policy_of>},
                           {"PolicyErrors", text<policy_errors_of>},
                           {"Gpus", text<gpus_of>},
                           {"Generation", text<generation_of>},
                           {"Unit", text<unit_of>},
                           {"Findings", text<findings_of>},
                           {"Warnings", text<warnings_of>},
                           {"Verdict", text<verdict_of>},
                           {"VerdictText", text<verdict_text_of>},
                           {"Checks", text<last_self_test_of>},
                           {"LastSelfTest", text<last_self_test_of>}};
static_assert(std::size(shown) == std::tuple_size_v<decltype(Object::sent)>);

// --- methods ---------------------------------------------------------------------------------------------------------

template <Action action, class Answer, void (Verbs::*verb)(Answer&&, const std::string&, Options)>
int call(sd_bus_message*, void* data, sd_bus_error* error) {
    return guarded(error, [&] {
        const Object& object = *static_cast<const Object*>(data);
        sdbus::MethodCall message;
        static_cast<sdbus::Message&>(message) = object.connection().getCurrentlyProcessedMessage();
        Options options;
        message >> options;
        const auto answer = std::make_shared<Answer>(std::move(message));
        // A copy of the name: the machine may have ended by then, or by the verb.
        object.authority().authorize(
            action, object.name,
            [&verbs = object.verbs(), answer, name = std::string(object.name), options = std::move(options)] {
                (verbs.*verb)(std::move(*answer), name, options);
            });
    });
}

constexpr std::uint64_t changes = SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE;
constexpr std::uint64_t everybody = SD_BUS_VTABLE_UNPRIVILEGED;  // Authority says who may

const sd_bus_vtable table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Attach", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job, "a(sss)", changes),
                            (call<Action::apply, JobAnswer, &Verbs::attach>), everybody),
    SD_BUS_METHOD_WITH_ARGS("Detach", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job, "a(sss)", changes),
                            (call<Action::apply, JobAnswer, &Verbs::detach>), everybody),
    SD_BUS_METHOD_WITH_ARGS("SelfTest", SD_BUS_ARGS("a{sv}", options),
                            SD_BUS_RESULT("o", job, "s", verdict, "s", summary),
                            (call<Action::self_test, TestAnswer, &Verbs::self_test>), everybody),
    SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a(sss)", changes),
                            (call<Action::inspect, PlanResult, &Verbs::plan>), everybody),
    SD_BUS_METHOD_WITH_ARGS("Diagnose", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a(sssasssass)", findings),
                            (call<Action::inspect, FindingsAnswer, &Verbs::diagnose>), everybody),
    SD_BUS_PROPERTY("Name", "s", get<name_of>, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("State", "s", get<state_of>, 0, changes),
    SD_BUS_PROPERTY("StateText", "s", get<state_text_of>, 0, changes),
    SD_BUS_PROPERTY("Policy", "s", get<policy_of>, 0, changes),
    SD_BUS_PROPERTY("PolicyErrors", "as", get<policy_errors_of>, 0, changes),
    SD_BUS_PROPERTY("Gpus", "as", get<gpus_of>, 0, changes),
    SD_BUS_PROPERTY("Generation", "s", get<generation_of>, 0, changes),
    SD_BUS_PROPERTY("Unit", "s", get<unit_of>, 0, changes),
    SD_BUS_PROPERTY("Findings", "a(sss)", get<findings_of>, 0, changes),
    SD_BUS_PROPERTY("Warnings", "as", get<warnings_of>, 0, changes),
    SD_BUS_PROPERTY("Verdict", "s", get<verdict_of>, 0, changes),
    SD_BUS_PROPERTY("VerdictText", "s", get<verdict_text_of>, 0, changes),
    SD_BUS_PROPERTY("Checks", "a(ssds)", get<checks_of>, 0, changes),
    SD_BUS_PROPERTY("LastSelfTest", "t", get<last_self_test_of>, 0, changes),
    SD_BUS_VTABLE_END,
};

std::vector<unsigned> granted_minors(const Machine& machine) {
    std::vector<unsigned> minors;
    if (machine.is_granted())
        for (const Gpu& gpu : machine.planned.gpus) minors.push_back(gpu.minor);
    std::sort(minors.begin(), minors.end());
    return minors;
}

}  // namespace

// --- the objects -----------------------------------------------------------------------------------------------------

MachineObjects::MachineObjects(sdbus::IConnection& connection, sd_bus* bus, Engine& engine, Verbs& verbs,
                               Authority& authority)
    : connection_(connection), bus_(bus), engine_(engine), verbs_(verbs), authority_(authority) {
    const std::string prefix(names::machine_objects);
    sd_bus_slot* slot = nullptr;
    check(sd_bus_add_fallback_vtable(bus, &slot, prefix.c_str(), interface_name, table, find, this), "add table");
    table_.reset(slot);
    check(sd_bus_add_node_enumerator(bus, &slot, prefix.c_str(), enumerate, this), "add enumerator");
    enumerator_.reset(slot);
}

int MachineObjects::find(sd_bus*, const char* path, const char*, void* data, void** found, sd_bus_error*) {
    auto& objects = static_cast<MachineObjects*>(data)->objects_;
    const std::string_view label = std::string_view(path).substr(names::machine_objects.size());
    if (label.empty()) return 0;  // the place of them all
    const auto name = unescape_bus_label(label.substr(1));
    const auto place = name ? objects.find(*name) : objects.end();
    if (place == objects.end()) return 0;
    *found = &place->second;
    return 1;
}

// sd-bus frees the list and what is in it.
int MachineObjects::enumerate(sd_bus*, const char*, void* data, char*** paths, sd_bus_error*) {
    const auto& objects = static_cast<MachineObjects*>(data)->objects_;
    auto** list = static_cast<char**>(std::calloc(objects.size() + 1, sizeof(char*)));
    if (list == nullptr) return -ENOMEM;
    std::size_t count = 0;
    for (const auto& [name, object] : objects) list[count++] = ::strdup(machine_path(name).c_str());
    *paths = list;
    return 0;
}

void MachineObjects::add(const std::string& name) {
    Object& object = objects_[name];
    object.all = this;
    object.name = name;
    check(sd_bus_emit_object_added(bus_, machine_path(name).c_str()), "emit");
}

MachineObjects::Others MachineObjects::remove(const std::string& name) {
    const auto place = objects_.find(name);
    if (place == objects_.end()) return {};
    // One that goes away because the bus did has nobody to tell.
    sd_bus_emit_object_removed(bus_, machine_path(name).c_str());
    Others others{std::move(place->second.gpus), !place->second.generations.empty()};
    objects_.erase(place);
    return others;
}

MachineObjects::Others MachineObjects::emit_changes(const std::string& name) {
    const auto place = objects_.find(name);
    if (place == objects_.end()) return {};
    Object& object = place->second;
    const bool first = object.sent == decltype(object.sent){};
    std::vector<char*> changed;  // sd-bus changes none of them
    for (std::size_t i = 0; i < std::size(shown); ++i) {
        const std::size_t now = std::hash<std::string>{}(shown[i].text(object));
        if (std::exchange(object.sent[i], now) != now) changed.push_back(const_cast<char*>(shown[i].property));
    }
    changed.push_back(nullptr);
    if (changed.size() > 1 && !first)
        check(sd_bus_emit_properties_changed_strv(bus_, machine_path(name).c_str(), interface_name, changed.data()),
              "emit");
    const std::vector<unsigned> before = std::exchange(object.gpus, granted_minors(object.machine()));
    Others others;
    std::set_symmetric_difference(before.begin(), before.end(), object.gpus.begin(), object.gpus.end(),
                                  std::back_inserter(others.gpus));
    std::set<std::string> generations;
    for (const cuda_nspawn::Plan& plan : object.machine().on_disk) generations.insert(plan.generation);
    others.generations = std::exchange(object.generations, generations) != generations;
    return others;
}

}  // namespace cuda_nspawn::bus
