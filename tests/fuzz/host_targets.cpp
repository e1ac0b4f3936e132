// What the host has: the driver's files and the kernel's; and what daemon and workers write to each other.
#include <stdexcept>
#include <string>
#include <vector>

#include "doctor/kernel_log.hpp"
#include "driver/catalogue.hpp"
#include "driver/generation.hpp"
#include "driver/icd.hpp"
#include "driver/kernel_side.hpp"
#include "system/uevents.hpp"
#include "targets.hpp"
#include "worker/diagnosis_protocol.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/protocol.hpp"
#include "worker/survey.hpp"

namespace cuda_nspawn::fuzz {

void fuzz_kernel_side(std::string_view text) {
    if (const auto version = parse_module_version(text)) require(is_driver_version(*version), "a version is one");
    for (const auto& [name, major] : parse_character_majors(text)) require(!name.empty(), "a driver has a name");
    require(parse_device_file_mode(text) <= 07777, "a mode is one");
    parse_gpu_information(text);
    if (const auto address = normal_pci_address(text)) {
        require(normal_pci_address(*address) == address, "a normal address is normal");
        require(address->find('/') == std::string::npos, "an address is no path");
    }
    if (const auto name = parse_library_name(text)) require(name->entry != nullptr, "a library is of the catalogue");
    if (is_generation_name(text))
        require(text.find('/') == std::string_view::npos && !text.starts_with('.'), "a generation's name is no path");
}

void fuzz_kernel_log(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty() && lines.size() < 4096) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        lines.emplace_back(text.substr(0, end));
        is_of_interest(lines.back());
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    require(find_xids(lines).size() <= lines.size(), "no more Xids than lines");
    find_refused_module(lines);
}

void fuzz_uevent(std::string_view text) {
    if (const auto event = parse_uevent(text)) concerns_driver(*event, [](const std::string&) { return false; });
}

// A manifest lies in the store, which guests see; it is the worker's word on which files there are.
void fuzz_manifest(std::string_view text) {
    std::vector<DriverFile> files;
    try {
        files = parse_manifest(text);
    } catch (const std::runtime_error&) {
        return;
    }
    try {
        check_layout(files);
    } catch (const std::runtime_error&) {
        return;
    }
    for (const DriverFile& file : files) {
        const std::string path = generation_path(file);
        require(!path.starts_with('/') && ("/" + path + "/").find("/../") == std::string::npos,
                "a file stays in its generation");
    }
}

void fuzz_icd(std::string_view text) {
    for (const auto& icd : {parse_icd_json(text), parse_opencl_icd(text)})
        if (icd)
            for (const std::string& library : icd->libraries)
                require(library.find('/') == std::string::npos, "a library is a file's name");
}

namespace {

// What was read is written and read again: the same; or it is refused with a sentence.
template <class Parse>
void read_twice(std::string_view text, Parse parse) {
    std::string written;
    try {
        written = to_json(parse(text));
    } catch (const std::runtime_error& refused) {
        return require(*refused.what() != '\0', "a refusal is a sentence");
    }
    require(to_json(parse(written)) == written, "what was read is written the same");
}

}  // namespace

void fuzz_requests(std::string_view text) {
    read_twice(text, parse_expose_request);
    read_twice(text, parse_store_request);
    read_twice(text, parse_holders_request);
    read_twice(text, parse_enter_request);
    read_twice(text, parse_survey_request);
    read_twice(text, parse_examine_request);
    read_twice(text, parse_control_file);
    parse_unit_file("/etc/systemd/system/x.service", text);
}

void fuzz_reports(std::string_view text) {
    read_twice(text, parse_expose_report);
    read_twice(text, parse_look_report);
    read_twice(text, parse_store_report);
    read_twice(text, parse_mounted_report);
    read_twice(text, parse_cleaned_report);
    read_twice(text, parse_holders_report);
    read_twice(text, parse_enter_report);
    read_twice(text, parse_survey_report);
    read_twice(text, parse_examine_report);
    try {
        parse_failure(text);
    } catch (const std::runtime_error&) {
        return;
    }
}

}  // namespace cuda_nspawn::fuzz
