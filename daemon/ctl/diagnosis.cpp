// cuda-nspawnctl diagnose and audit.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "ctl/client.hpp"
#include "doctor/cuda_table.hpp"

namespace cuda_nspawn::ctl {

namespace {

// Code, severity, text, evidence, where to mend it, how, what it explains, documentation.
using BusFinding = sdbus::Struct<std::string, std::string, std::string, std::vector<std::string>, std::string,
                                 std::string, std::vector<std::string>, std::string>;
// Machine, image, guest, whether it has a policy, findings.
using BusAudited = sdbus::Struct<std::string, std::string, std::string, bool, std::vector<BusFinding>>;

struct Finding {
    explicit Finding(const BusFinding& from) {
        std::tie(code, severity, text, evidence, where, fix, consequences, documentation) = from;
    }
    std::string code, severity, text;
    std::vector<std::string> evidence;
    std::string where, fix;
    std::vector<std::string> consequences;
    std::string documentation;
};

nlohmann::ordered_json to_json(const std::vector<BusFinding>& findings) {
    auto list = nlohmann::ordered_json::array();
    for (const BusFinding& one : findings) {
        const Finding finding(one);
        list.push_back({{"code", finding.code},
                        {"severity", finding.severity},
                        {"text", finding.text},
                        {"evidence", finding.evidence},
                        {"where", finding.where},
                        {"fix", finding.fix},
                        {"explains", finding.consequences},
                        {"documentation", finding.documentation}});
    }
    return list;
}

// On a terminal only, and not where it cannot or shall not (no-color.org).
bool has_colours() {
    const char* no_color = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0') &&
           (terminal == nullptr || std::string_view(terminal) != "dumb");
}

std::string coloured(std::string_view severity, const std::string& text) {
    if (!has_colours()) return text;
    const int colour = severity == "error" ? 31 : severity == "warning" ? 33 : 36;
    return fmt::format("\x1b[{}m{}\x1b[0m", colour, text);
}

// How the fix is introduced.
std::string_view place_of(std::string_view where) {
    if (where == "host") return "Mend it, on the host:";
    if (where == "machine") return "Mend it, in the machine:";
    if (where == "policy") return "Mend it, in the policy:";
    return "Mend it:";
}

void print_finding(const BusFinding& from) {
    const Finding finding(from);
    fmt::print("{} [{}]\n", coloured(finding.severity, fmt::format("{}: {}", finding.severity, finding.text)),
               finding.code);
    for (const std::string& line : finding.evidence) fmt::print("    seen: {}\n", line);
    fmt::print("    {} {}\n", place_of(finding.where), finding.fix);
    for (const std::string& line : finding.consequences) fmt::print("    explains {}\n", line);
}

bool has_error(const std::vector<BusFinding>& findings) {
    return std::ranges::any_of(findings, [](const BusFinding& one) { return std::get<1>(one) == "error"; });
}

std::string driver_version() {
    return manager()->getProperty("DriverVersion").onInterface(manager_interface).get<std::string>();
}

void print_what_fits() {
    if (const std::string driver = driver_version(); !driver.empty()) fmt::print("\n{}\n", what_fits(driver));
}

}  // namespace

int diagnose(const Arguments& arguments) {
    Options options;
    if (const auto program = arguments.values.find("program"); program != arguments.values.end())
        options["program"] = sdbus::Variant(program->second);
    if (const auto path = arguments.values.find("library-path"); path != arguments.values.end())
        options["library_path"] = sdbus::Variant(path->second);
    std::vector<BusFinding> findings;
    manager()
        ->callMethod("Diagnose")
        .onInterface(manager_interface)
        .withTimeout(as_long_as_it_takes)
        .withArguments(arguments.machine, options)
        .storeResultsTo(findings);
    if (arguments.flags.contains("json")) {
        fmt::print("{}\n", to_json(findings).dump(2));
        return has_error(findings) ? 1 : 0;
    }
    for (const BusFinding& finding : findings) {
        print_finding(finding);
        fmt::print("\n");
    }
    if (findings.empty())
        fmt::print("{}: nothing found that keeps CUDA from working.\n", arguments.machine);
    else
        fmt::print("More on each: man cuda-nspawn-findings\n");
    print_what_fits();
    return has_error(findings) ? 1 : 0;
}

int audit(const Arguments& arguments) {
    std::vector<BusAudited> machines;
    manager()
        ->callMethod("Audit")
        .onInterface(manager_interface)
        .withTimeout(as_long_as_it_takes)
        .withArguments(Options{{"images", sdbus::Variant(arguments.flags.contains("images"))}})
        .storeResultsTo(machines);
    const bool failed =
        std::ranges::any_of(machines, [](const BusAudited& one) { return has_error(std::get<4>(one)); });
    if (arguments.flags.contains("json")) {
        auto list = nlohmann::ordered_json::array();
        for (const auto& [machine, image, guest, has_policy, findings] : machines)
            list.push_back({{"machine", machine},
                            {"image", image},
                            {"guest", guest},
                            {"policy", has_policy},
                            {"findings", to_json(findings)}});
        fmt::print("{}\n", list.dump(2));
        return failed ? 1 : 0;
    }
    constexpr const char* row = "{:<24} {:<6} {:<34} {}\n";
    fmt::print(row, "MACHINE", "POLICY", "GUEST", "FINDINGS");
    for (const auto& [machine, image, guest, has_policy, findings] : machines) {
        std::vector<std::string> codes;
        for (const BusFinding& finding : findings)
            codes.push_back(coloured(std::get<1>(finding), std::get<0>(finding)));
        fmt::print(row, machine, has_policy ? "yes" : "no", guest,
                   codes.empty() ? "-" : fmt::format("{}", fmt::join(codes, " ")));
    }
    fmt::print("\n{} images. Of one machine: cuda-nspawnctl diagnose MACHINE\n", machines.size());
    return failed ? 1 : 0;
}

}  // namespace cuda_nspawn::ctl
