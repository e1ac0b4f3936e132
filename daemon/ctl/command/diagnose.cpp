// cuda-nspawnctl diagnose
#include <fmt/format.h>

#include <string_view>

#include "ctl/command/commands.hpp"
#include "ctl/command/findings.hpp"
#include "ctl/output.hpp"
#include "doctor/cuda_table.hpp"

namespace cuda_nspawn::ctl {

namespace {

// How the fix is introduced.
std::string_view place_of(std::string_view where) {
    if (where == "host") return "Mend it, on the host:";
    if (where == "machine") return "Mend it, in the machine:";
    if (where == "policy") return "Mend it, in the policy:";
    return "Mend it:";
}

void print_finding(const Json& finding) {
    const std::string severity = finding["severity"];
    const std::string sentence = fmt::format("{}: {}", severity, finding["text"].get<std::string>());
    fmt::print("{} [{}]\n", coloured(colour_of_severity(severity), sentence), finding["code"].get<std::string>());
    for (const Json& line : finding["evidence"]) fmt::print("    seen: {}\n", line.get<std::string>());
    fmt::print("    {} {}\n", place_of(finding["where"].get<std::string>()), finding["fix"].get<std::string>());
    for (const Json& line : finding["explains"]) fmt::print("    explains {}\n", line.get<std::string>());
    fmt::print("\n");
}

void print_what_fits(Bus& bus) {
    if (const std::string driver = text(driver_properties(bus), "DriverVersion"); !driver.empty())
        fmt::print("\n{}\n", what_fits(driver));
}

}  // namespace

int diagnose(const Arguments& arguments) {
    if (arguments.has("library-path") && !arguments.has("program"))
        throw WrongUsage{"--library-path is what --program is run with; name the program."};
    Options options;
    if (arguments.has("program")) options["program"] = arguments.value("program");
    if (arguments.has("library-path")) options["library_path"] = arguments.value("library-path");
    Bus bus;
    const Value answer = bus.call(manager(), "Diagnose", {arguments.machine(), options}, as_long_as_it_takes);
    const Json findings = findings_json(answer.at(0));
    const int status = has_error(findings) ? 1 : 0;
    if (print_json(arguments, findings)) return status;
    for (const Json& finding : findings) print_finding(finding);
    if (findings.empty())
        fmt::print("{}: nothing found that keeps CUDA from working.\n", arguments.machine());
    else
        fmt::print("More on each: man cuda-nspawn-findings\n");
    print_what_fits(bus);
    return status;
}

}  // namespace cuda_nspawn::ctl
