#include "worker/enter_machine.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "policy/machine_name.hpp"
#include "worker/enter_protocol.hpp"
#include "worker/proc_text.hpp"

namespace cuda_nspawn {
namespace {

struct BusError {
    sd_bus_error value = SD_BUS_ERROR_NULL;
    BusError() = default;
    BusError(const BusError&) = delete;
    BusError& operator=(const BusError&) = delete;
    ~BusError() { sd_bus_error_free(&value); }
};

// As much of a bus as is needed here: ask for an object by name, read its properties.
class Bus {
public:
    Bus() {
        if (const int result = sd_bus_open_system(&bus_); result < 0)
            throw std::runtime_error(fmt::format("cannot reach the system bus: {}", std::strerror(-result)));
    }
    ~Bus() { sd_bus_flush_close_unref(bus_); }
    Bus(const Bus&) = delete;
    Bus& operator=(const Bus&) = delete;

    std::string object(const char* service, const char* path, const char* interface, const char* method,
                       const std::string& name) {
        BusError error;
        sd_bus_message* reply = nullptr;
        int result =
            sd_bus_call_method(bus_, service, path, interface, method, &error.value, &reply, "s", name.c_str());
        const std::unique_ptr<sd_bus_message, decltype(&sd_bus_message_unref)> owner(reply, sd_bus_message_unref);
        const char* found = nullptr;
        if (result >= 0) result = sd_bus_message_read(reply, "o", &found);
        if (result < 0) throw failure(error, result);
        return found;
    }

    std::string text(const char* service, const std::string& path, const char* interface, const char* property) {
        BusError error;
        char* value = nullptr;
        const int result =
            sd_bus_get_property_string(bus_, service, path.c_str(), interface, property, &error.value, &value);
        const std::unique_ptr<char, decltype(&std::free)> owner(value, std::free);
        if (result < 0) throw failure(error, result);
        return value;
    }

    std::uint32_t number(const char* service, const std::string& path, const char* interface, const char* property) {
        BusError error;
        std::uint32_t value = 0;
        const int result =
            sd_bus_get_property_trivial(bus_, service, path.c_str(), interface, property, &error.value, 'u', &value);
        if (result < 0) throw failure(error, result);
        return value;
    }

private:
    static std::runtime_error failure(const BusError& error, int result) {
        return std::runtime_error(error.value.message ? error.value.message : std::strerror(-result));
    }
    sd_bus* bus_ = nullptr;
};

std::string read_proc(const std::filesystem::path& path) {
    std::ifstream stream(path);
    std::ostringstream content;
    content << stream.rdbuf();
    return content.str();
}

// machined knows a machine before it runs: until then its leader is systemd-nspawn, which has not given up yet what the
// guest shall not have. The guest may take that name later, so it is not waited for long.
void wait_until_it_runs(const RunningMachine& machine, const std::filesystem::path& comm) {
    constexpr auto pause = std::chrono::milliseconds{5};
    constexpr int most_pauses = 1000;
    for (int pauses = 0; pauses < most_pauses && machine.is_alive() && read_proc(comm) == "systemd-nspawn\n"; ++pauses)
        std::this_thread::sleep_for(pause);
}

// The number that machined gave could have been used again since, so what it stands for is read back: a process of
// this unit that is PID 1 of its namespace. The pidfd is alive afterwards, so what was read is of this very process.
void check_leader(const RunningMachine& machine, const std::filesystem::path& proc) {
    const std::filesystem::path directory = proc / std::to_string(machine.leader);
    const std::string status = read_proc(directory / "status");
    const std::string cgroup = unified_cgroup(read_proc(directory / "cgroup"));
    if (!machine.is_alive()) throw std::runtime_error(fmt::format("{} is just ending", machine.name));
    if (cgroup != machine.cgroup && !cgroup.starts_with(machine.cgroup + "/"))
        throw std::runtime_error(fmt::format("process {}, which should lead {}, is in {} and not in {}", machine.leader,
                                             machine.name, cgroup, machine.cgroup));
    const std::string ids = status_field(status, "NSpid");
    if (!ids.ends_with("\t1"))
        throw std::runtime_error(
            fmt::format("{} has no process namespace of its own, so it cannot be entered safely", machine.name));
}

}  // namespace

bool RunningMachine::is_alive() const {
    pollfd ended{pidfd.get(), POLLIN, 0};
    return ::poll(&ended, 1, 0) == 0;
}

unsigned RunningMachine::root(const std::filesystem::path& proc) const {
    const unsigned user = root_in_map(read_proc(proc / std::to_string(leader) / "uid_map"));
    if (!is_alive()) throw std::runtime_error(fmt::format("{} is just ending", name));
    return user;
}

RunningMachine find_machine(const std::string& name, const std::filesystem::path& proc) {
    if (const auto error = machine_name_error(name)) throw std::runtime_error(*error);
    RunningMachine machine;
    machine.name = name;
    try {
        Bus bus;
        const char* machined = "org.freedesktop.machine1";
        const char* systemd = "org.freedesktop.systemd1";
        const std::string object =
            bus.object(machined, "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", "GetMachine", name);
        machine.leader = static_cast<pid_t>(bus.number(machined, object, "org.freedesktop.machine1.Machine", "Leader"));
        machine.unit = bus.text(machined, object, "org.freedesktop.machine1.Machine", "Unit");
        const std::string unit = bus.object(systemd, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                                            "GetUnit", machine.unit);
        machine.cgroup = bus.text(
            systemd, unit,
            machine.unit.ends_with(".scope") ? "org.freedesktop.systemd1.Scope" : "org.freedesktop.systemd1.Service",
            "ControlGroup");
    } catch (const std::runtime_error& error) {
        throw std::runtime_error(fmt::format("{} cannot be entered: {}", name, error.what()));
    }
    machine.pidfd = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, machine.leader, 0)));
    if (!machine.pidfd || machine.cgroup.size() < 2) throw std::runtime_error(fmt::format("{} is not running", name));
    check_leader(machine, proc);
    return machine;
}

RunningMachine find_machine_to_enter(const std::string& name, const std::filesystem::path& proc) {
    RunningMachine machine = find_machine(name, proc);
    const std::filesystem::path directory = proc / std::to_string(machine.leader);
    wait_until_it_runs(machine, directory / "comm");
    const std::string bounding = status_field(read_proc(directory / "status"), "CapBnd");
    std::from_chars(bounding.data(), bounding.data() + bounding.size(), machine.capabilities, 16);
    if (!machine.is_alive()) throw std::runtime_error(fmt::format("{} is just ending", name));
    return machine;
}

}  // namespace cuda_nspawn
