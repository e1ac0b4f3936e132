// The privileged work for the daemon, started by PID 1 in a unit that has just the rights its verb needs (units/).
// cuda-nspawn-worker VERB ID: one piece of it. Reads /run/cuda-nspawn/work/ID.request, writes ID.result beside it.
// cuda-nspawn-worker VERB: serves requests over the unit's socket, for what many wait for (worker/serve.hpp).
// cuda-nspawn-worker uninstall: for who removes these programs.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "driver/kernel_side.hpp"
#include "guest/rootfs_reader.hpp"
#include "names.hpp"
#include "policy/machine_name.hpp"
#include "worker/clean.hpp"
#include "worker/complain.hpp"
#include "worker/diagnosis_protocol.hpp"
#include "worker/enter.hpp"
#include "worker/enter_machine.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/examine.hpp"
#include "worker/expose.hpp"
#include "worker/holders.hpp"
#include "worker/images.hpp"
#include "worker/mount.hpp"
#include "worker/protocol.hpp"
#include "worker/serve.hpp"
#include "worker/store.hpp"
#include "worker/survey.hpp"
#include "worker/uninstall.hpp"

namespace cuda_nspawn {
namespace {

constexpr std::string_view work_directory = "/run/cuda-nspawn/work";

std::string served_machine;  // that this one piece of work is for, if it is for one

std::string run_expose(const std::string& request) {
    static ComparedFiles compared;
    ExposeHost host;
    host.compared = &compared;
    host.find_root = [](const std::string& machine) { return find_machine(machine, "/proc").root("/proc"); };
    const KernelSide kernel = read_kernel_side(HostRoots{});
    host.driver.gpus = kernel.gpus;
    host.driver.control = kernel.control;
    host.driver.modeset = kernel.modeset;
    host.driver.node_mode = kernel.node_mode;
    return to_json(expose(parse_expose_request(request), host));
}

Image look(const std::string& machine) {
    Image image;
    image.path = find_image("/", machine);
    if (!image.path.empty() && std::filesystem::is_directory(image.path))
        image.guest = examine_guest(RootfsReader(std::filesystem::path(image.path)));
    const AdminSettings admin = read_admin_settings(Tree("/", ""), machine, image.path);
    image.settings_boot =
        compose_settings(machine, "/", admin, machine_directory(machine), names::store_directory).boots;
    return image;
}

std::string run_look(const std::string& request) {
    LookReport report;
    for (const std::string& machine : parse_look_request(request)) try {
            if (is_machine_name(machine)) report[machine] = look(machine);
        } catch (const std::exception& error) {
            complain({Event::worker_failed, machine, error.what()});  // the others are looked at all the same
        }
    return to_json(report);
}

std::string run_store(const std::string& request) {
    return to_json(work_on_store(parse_store_request(request), {names::store_directory, HostRoots{}}));
}

std::string run_mount(const std::string& request) {
    Mounted mounted;
    for (const std::string& machine : parse_look_request(request)) {
        served_machine = machine;
        mounted.attended = mount_into(machine);
    }
    return to_json(mounted);
}

std::string run_clean(const std::string& request) {
    Cleaned cleaned;
    for (const std::string& machine : parse_look_request(request)) {
        served_machine = machine;
        cleaned = clean(machine);
    }
    return to_json(cleaned);
}

std::string run_test(const std::string& request) {
    const TestRequest wanted = parse_enter_request(request);
    served_machine = wanted.machine;
    return to_json(enter(wanted));
}

std::string run_holders(const std::string& request) { return to_json(find_holders(parse_holders_request(request))); }

std::string run_survey(const std::string& request) {
    const SurveyRequest wanted = parse_survey_request(request);
    SurveyHost host = real_host();
    SurveyReport report;
    report.host = survey_host(host);
    if (!wanted.logs) host.unit_log = nullptr;
    for (const std::string& machine : wanted.machines)
        if (is_machine_name(machine)) report.machines[machine] = survey_machine(host, machine);
    return to_json(report);
}

std::string run_examine(const std::string& request) {
    const char* cache = std::getenv("CACHE_DIRECTORY");  // systemd.exec(5)
    return to_json(examine(parse_examine_request(request), {"/", cache == nullptr ? "" : cache}));
}

std::string read_file(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    std::ostringstream content;
    content << stream.rdbuf();
    if (!stream) throw std::runtime_error(fmt::format("cannot read {}", path));
    return content.str();
}

void write_file(const std::string& path, const std::string& text) {
    const std::string temporary = path + ".new";
    std::ofstream stream(temporary, std::ios::binary);
    stream << text;
    stream.close();
    if (!stream) throw std::runtime_error(fmt::format("cannot write {}", temporary));
    std::filesystem::rename(temporary, path);
}

using Work = std::string (*)(const std::string& request);

int run_once(const std::string& verb, Work work, const std::string& id) {
    const std::string base = fmt::format("{}/{}", work_directory, id);
    try {
        write_file(base + ".result", work(read_file(base + ".request")));
        return 0;
    } catch (const std::exception& error) {
        complain({Event::worker_failed, served_machine, fmt::format("{}: {}", verb, error.what())});
        write_file(base + ".result", failure_report(error.what()));
        return 1;
    }
}

int run_uninstall() {
    const std::vector<std::string> failures = uninstall({});
    for (const std::string& failure : failures) fmt::print(stderr, "{}\n", failure);
    return failures.empty() ? 0 : 1;
}

int usage() {
    fmt::print(stderr,
               "usage: cuda-nspawn-worker audit|audit-images|clean|examine|holders|mount|store|survey|test ID\n       "
               "cuda-nspawn-worker expose|look\n"
               "       cuda-nspawn-worker uninstall\n"
               "Started by systemd for cuda-nspawnd, not by hand; uninstall by the package that is removed.\n");
    return 2;
}

int run(const std::vector<std::string>& arguments) {
    static const std::map<std::string, Work> once{
        {"audit", run_examine},   {"audit-images", run_examine}, {"clean", run_clean},
        {"examine", run_examine}, {"holders", run_holders},      {"mount", run_mount},
        {"store", run_store},     {"survey", run_survey},        {"test", run_test}};
    static const std::map<std::string, Work> resident{{"expose", run_expose}, {"look", run_look}};
    if (arguments == std::vector<std::string>{"uninstall"}) return run_uninstall();
    if (arguments.size() == 1)
        if (const auto verb = resident.find(arguments[0]); verb != resident.end()) {
            serve(inherited_listener(), verb->second);
            return 0;
        }
    if (arguments.size() == 2 && !arguments[1].empty() && arguments[1].find('/') == std::string::npos)
        if (const auto verb = once.find(arguments[0]); verb != once.end())
            return run_once(verb->first, verb->second, arguments[1]);
    return usage();
}

}  // namespace
}  // namespace cuda_nspawn

int main(int argc, char** argv) {
    try {
        return cuda_nspawn::run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        cuda_nspawn::complain({cuda_nspawn::Event::worker_failed, "", error.what()});
        return 1;
    }
}
