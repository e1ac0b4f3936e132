#include "ctl/show.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "ctl/output.hpp"
#include "ctl/times.hpp"

namespace cuda_nspawn::ctl {

namespace {

std::string describe_gpu(const Json& gpu, const std::string& machine) {
    if (!gpu.contains("index")) return gpu["uuid"].get<std::string>();
    std::string text = fmt::format("{} {} ({})", gpu["index"].get<unsigned>(), gpu["model"].get<std::string>(),
                                   gpu["uuid"].get<std::string>());
    auto others = Json::array();
    for (const Json& name : gpu["machines"])
        if (name != machine) others.push_back(name);
    return others.empty() ? text : fmt::format("{}, also in {}", text, joined(others));
}

void print_verdict(const Json& machine) {
    const std::string verdict = machine["verdict"];
    const std::string text = machine["verdict_text"];
    std::string shown = coloured(colour_of_verdict(verdict), text.empty() ? verdict : text);
    if (const auto usec = machine["last_self_test"].get<std::uint64_t>(); usec != 0 && verdict != "none")
        shown += fmt::format(" ({}; {})", full_time(usec), relative_time(usec, now_usec()));
    print_field("Verdict", shown);
    Table checks({"", "", "", ""}, {2});
    for (const Json& check : machine["checks"]) {
        const std::string result = check["result"];
        checks.add({{std::string(10, ' ') + "  " + check["name"].get<std::string>()},
                    {result, colour_of_verdict(result)},
                    {fmt::format("{:.1f} ms", check["milliseconds"].get<double>())},
                    {check["detail"].get<std::string>()}});
    }
    fmt::print("{}", checks.text(false));
}

std::string describe_job(const Json& job) {
    const auto step = job["step"].get<unsigned>();
    const std::string place = step == 0 ? "" : fmt::format(" [{}/{}]", step, job["steps"].get<unsigned>());
    return fmt::format("{} {}{} {}", job["job"].get<unsigned>(), job["kind"].get<std::string>(), place,
                       job["text"].get<std::string>());
}

std::vector<unsigned> indices_of(const Value& machine, const std::map<std::string, unsigned>& indices) {
    std::vector<unsigned> found;
    for (const Value& uuid : machine.value("Gpus", Value::array()))
        if (const auto place = indices.find(uuid); place != indices.end()) found.push_back(place->second);
    std::ranges::sort(found);
    return found;
}

// By name, whatever the order of their objects.
std::map<std::string, const Value*> machines_by_name(const Objects& objects) {
    std::map<std::string, const Value*> named;
    for (const auto& [path, machine] : objects.all("Machine")) named.emplace(text(*machine, "Name"), machine);
    return named;
}

}  // namespace

std::string joined(const Json& texts, const char* separator) {
    std::string all;
    for (const Json& text : texts) all += (all.empty() ? "" : separator) + text.get<std::string>();
    return all;
}

void print_machine(const Json& machine, const std::string& kernel_version) {
    const std::string name = machine["machine"];
    const std::string state = machine["state"];
    const Colour colour = colour_of_state(state, machine["verdict"]);
    fmt::print("{} {}: {}\n", coloured(colour, dot_of_state(state)), name, coloured(colour, state));
    print_field("State", machine["text"]);
    print_field("Policy", machine["policy"]);
    for (const Json& error : machine["policy_errors"])
        print_field("Error", coloured(Colour::red, error.get<std::string>()));
    const std::string unit = machine["unit"];
    print_field("Unit", unit.empty() ? "does not run" : unit);
    for (const Json& gpu : machine["gpus"]) print_field("GPU", describe_gpu(gpu, name));
    const std::string generation = machine["generation"];
    const std::string kernel = kernel_version.empty() ? "" : fmt::format("; kernel module {}", kernel_version);
    print_field("Driver", generation.empty() ? "" : generation + kernel);
    print_verdict(machine);
    for (const Json& finding : machine["findings"]) {
        const std::string severity = finding["severity"];
        const std::string sentence = fmt::format("{}: {}", severity, finding["text"].get<std::string>());
        print_field("Finding", fmt::format("{} [{}]", coloured(colour_of_severity(severity), sentence),
                                           finding["code"].get<std::string>()));
    }
    for (const Json& warning : machine["warnings"])
        print_field("Warning", coloured(Colour::yellow, warning.get<std::string>()));
    for (const Json& job : machine["jobs"]) print_field("Job", describe_job(job));
}

void print_journal(const std::vector<JournalLine>& lines) {
    if (lines.empty()) return;
    fmt::print("\n");
    for (const JournalLine& line : lines) {
        const Colour colour = line.priority <= 3   ? Colour::red
                              : line.priority == 4 ? Colour::yellow
                              : line.priority == 5 ? Colour::bold
                                                   : Colour::none;
        fmt::print("{} {}[{}]: {}\n", journal_time(line.usec), line.identifier, line.pid,
                   coloured(colour, line.message));
    }
}

Json journal_json(const std::vector<JournalLine>& lines) {
    auto list = Json::array();
    for (const JournalLine& line : lines)
        list.push_back({{"time", line.usec},
                        {"identifier", line.identifier},
                        {"pid", line.pid},
                        {"priority", line.priority},
                        {"message", line.message}});
    return list;
}

void print_driver(const Json& driver) {
    constexpr int width = 13;
    const std::string kernel = driver["kernel_version"];
    const std::string pending = driver["pending_version"];
    print_field("Kernel module", kernel.empty() ? "not loaded" : kernel, width);
    print_field("Driver files", driver["driver_version"], width);
    if (!pending.empty())
        print_field("Pending", coloured(Colour::yellow, pending + " (waits for the module's reload or a reboot)"),
                    width);
    const std::string cuda = driver["cuda_version"];
    print_field("CUDA", cuda.empty() ? "" : "up to " + cuda, width);
    print_field("Generation", driver["generation"], width);
    auto others = Json::array();
    for (const Json& generation : driver["generations"])
        if (generation != driver["generation"]) others.push_back(generation);
    print_field("Also in use", joined(others), width);
    for (const Json& warning : driver["warnings"])
        print_field("Warning", coloured(Colour::yellow, warning.get<std::string>()), width);
}

void print_machines(const Arguments& arguments, const Objects& objects) {
    std::map<std::string, unsigned> indices;
    for (const auto& [path, gpu] : objects.all("Gpu")) indices.emplace(text(*gpu, "Uuid"), gpu->value("Index", 0U));
    Table table({"MACHINE", "STATE", "VERDICT", "GPUS", "DESCRIPTION"});
    for (const auto& [name, machine] : machines_by_name(objects)) {
        const std::string state = text(*machine, "State");
        const std::string verdict = text(*machine, "Verdict");
        table.add({{name},
                   {state, colour_of_state(state, "none")},
                   {verdict == "none" ? "-" : verdict, colour_of_verdict(verdict)},
                   {index_ranges(indices_of(*machine, indices))},
                   {text(*machine, "StateText")}});
    }
    print_table(arguments, table, table.size() == 1 ? "1 machine." : fmt::format("{} machines.", table.size()));
}

Json machines_json(const Objects& objects) {
    auto list = Json::array();
    for (const auto& [name, machine] : machines_by_name(objects)) list.push_back(machine_json(*machine, objects));
    return list;
}

}  // namespace cuda_nspawn::ctl
