#include "worker/protocol.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "worker/json_types.hpp"

namespace cuda_nspawn {

// nlohmann-json finds these by name, next to the types.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Change, type, path, detail)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Exposed, changes, notes, errors, epoch, units_changed, incomplete, failure)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StoreRequest, build, keep, verify)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StoredGeneration, generation, result, text)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(HoldersRequest, nodes, units, machine)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Holder, machine, pid, pid_in_machine, name, nodes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Holders, holders, notes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Mounted, attended, failure)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Cleaned, changes, failure)

static void to_json(nlohmann::json& json, const Capability& value) { json = std::string(to_string(value)); }
static void from_json(const nlohmann::json& json, Capability& value) {
    const auto parsed = parse_capability(json.get<std::string>());
    if (!parsed) throw std::runtime_error(fmt::format("unknown capability {}", json.dump()));
    value = *parsed;
}
static void to_json(nlohmann::json& json, const HostSocket& value) { json = std::string(to_string(value)); }
static void from_json(const nlohmann::json& json, HostSocket& value) {
    const auto parsed = parse_host_socket(json.get<std::string>());
    if (!parsed) throw std::runtime_error(fmt::format("unknown socket {}", json.dump()));
    value = *parsed;
}
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Plan, machine, policy_path, present, mounts, keep_directory, generation,
                                   capabilities, nodes, sockets, node_mode, node_owner)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ControlFile, existed, own, ours)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ExposeRequest, plans, dry_run, releases, diff)

static void to_json(nlohmann::json& json, const Image& image) {
    json = {{"path", image.path}};
    if (image.guest) json["guest"] = *image.guest;
    if (image.settings_boot) json["settings_boot"] = *image.settings_boot;
}
static void from_json(const nlohmann::json& json, Image& image) {
    json.at("path").get_to(image.path);
    if (json.contains("guest")) image.guest = json.at("guest").get<Guest>();
    if (json.contains("settings_boot")) image.settings_boot = json.at("settings_boot").get<bool>();
}

std::string to_json(const ControlFile& file) { return dump(file); }
ControlFile parse_control_file(std::string_view text) { return parse<ControlFile>(text, "the control file's state"); }
std::string to_json(const ExposeRequest& request) { return dump(request); }
ExposeRequest parse_expose_request(std::string_view text) { return parse<ExposeRequest>(text, "the request"); }
std::string to_json(const ExposeReport& report) { return dump(report); }
ExposeReport parse_expose_report(std::string_view text) { return parse<ExposeReport>(text, "the report"); }
std::string look_request(const std::vector<std::string>& machines) { return dump(machines); }
std::vector<std::string> parse_look_request(std::string_view text) {
    return parse<std::vector<std::string>>(text, "the request");
}
std::string to_json(const LookReport& report) { return dump(report); }
LookReport parse_look_report(std::string_view text) { return parse<LookReport>(text, "the report"); }
std::string to_json(const StoreRequest& request) { return dump(request); }
StoreRequest parse_store_request(std::string_view text) { return parse<StoreRequest>(text, "the request"); }
std::string to_json(const StoreReport& report) { return dump(report); }
StoreReport parse_store_report(std::string_view text) { return parse<StoreReport>(text, "the report"); }
std::string to_json(const HoldersRequest& request) { return dump(request); }
HoldersRequest parse_holders_request(std::string_view text) { return parse<HoldersRequest>(text, "the request"); }
std::string to_json(const Mounted& report) { return dump(report); }
Mounted parse_mounted_report(std::string_view text) { return parse<Mounted>(text, "the report"); }
std::string to_json(const Cleaned& report) { return dump(report); }
Cleaned parse_cleaned_report(std::string_view text) { return parse<Cleaned>(text, "the report"); }
std::string to_json(const Holders& report) { return dump(report); }
Holders parse_holders_report(std::string_view text) { return parse<Holders>(text, "the report"); }

std::string failure_report(const std::string& sentence) { return dump(nlohmann::json{{"failure", sentence}}); }

std::string parse_failure(std::string_view text) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (json.is_discarded()) return "its report is no JSON";
    if (!json.is_object() || json.size() != 1 || !json.contains("failure")) return "";
    const auto& failure = json["failure"];
    return failure.is_string() ? failure.get<std::string>() : "";
}

}  // namespace cuda_nspawn
