// latency MACHINE PLAIN-MACHINE ROUNDS: how long it takes from a call until a device opens in a machine, and until it
// does not; beside it the floor, one SetUnitProperties and one mknod (or unlink) for a machine that nobody else cares
// for. Both run, the first with a policy. Prints "ATTACH FLOOR DETACH FLOOR", medians in microseconds.
//
// What opens is asked by a process in the machine's cgroup, so that its device rules hold; it tries every 100 µs.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Rules = std::vector<std::pair<std::string, std::string>>;

constexpr const char* manager_path = "/org/freedesktop/systemd1";
constexpr const char* manager = "org.freedesktop.systemd1.Manager";
constexpr const char* systemd = "org.freedesktop.systemd1";

void check(int result, const char* what) {
    if (result < 0) throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(-result)));
}

std::string unit_of(const std::string& machine) { return fmt::format("systemd-nspawn@{}.service", machine); }

class Bus {
public:
    Bus() { check(sd_bus_open_system(&bus_), "the system bus"); }
    ~Bus() { sd_bus_flush_close_unref(bus_); }
    Bus(const Bus&) = delete;
    Bus& operator=(const Bus&) = delete;

    // Attach or Detach of ours, sent and not waited for.
    void send(const char* verb, const std::string& machine) {
        sd_bus_message* message = nullptr;
        check(sd_bus_message_new_method_call(bus_, &message, "org.cudanspawn1", "/org/cudanspawn1",
                                             "org.cudanspawn1.Manager", verb),
              verb);
        check(sd_bus_message_append(message, "sa{sv}", machine.c_str(), 1, "wait", "b", 1), verb);
        check(sd_bus_call_async(bus_, nullptr, message, answered, this, 0), verb);
        sd_bus_message_unref(message);
        check(sd_bus_flush(bus_), verb);
        waiting_ = true;
    }
    void wait() {
        while (waiting_) {
            check(sd_bus_process(bus_, nullptr), "the bus");
            if (waiting_) check(sd_bus_wait(bus_, 100'000), "the bus");
        }
    }

    std::string control_group(const std::string& unit) { return text(unit, "ControlGroup"); }

    Rules rules(const std::string& unit) {
        sd_bus_message* reply = nullptr;
        check(sd_bus_get_property(bus_, systemd, object(unit).c_str(), "org.freedesktop.systemd1.Service",
                                  "DeviceAllow", nullptr, &reply, "a(ss)"),
              "DeviceAllow");
        Rules rules;
        const char* path = nullptr;
        const char* access = nullptr;
        check(sd_bus_message_enter_container(reply, 'a', "(ss)"), "DeviceAllow");
        while (sd_bus_message_read(reply, "(ss)", &path, &access) > 0) rules.emplace_back(path, access);
        sd_bus_message_unref(reply);
        return rules;
    }

    void set_rules(const std::string& unit, const Rules& rules) {
        sd_bus_message* message = nullptr;
        check(sd_bus_message_new_method_call(bus_, &message, systemd, manager_path, manager, "SetUnitProperties"),
              "set");
        check(sd_bus_message_append(message, "sb", unit.c_str(), 1), "set");
        check(sd_bus_message_open_container(message, 'a', "(sv)"), "set");
        check(sd_bus_message_append(message, "(sv)", "DeviceAllow", "a(ss)", 0), "set");
        check(sd_bus_message_open_container(message, 'r', "sv"), "set");
        check(sd_bus_message_append(message, "s", "DeviceAllow"), "set");
        check(sd_bus_message_open_container(message, 'v', "a(ss)"), "set");
        check(sd_bus_message_open_container(message, 'a', "(ss)"), "set");
        for (const auto& [path, access] : rules)
            check(sd_bus_message_append(message, "(ss)", path.c_str(), access.c_str()), "set");
        for (int level = 0; level < 4; ++level) check(sd_bus_message_close_container(message), "set");
        check(sd_bus_call(bus_, message, 0, nullptr, nullptr), "SetUnitProperties");
        sd_bus_message_unref(message);
    }

private:
    static int answered(sd_bus_message*, void* self, sd_bus_error*) {
        static_cast<Bus*>(self)->waiting_ = false;
        return 0;
    }
    std::string object(const std::string& unit) {
        sd_bus_message* reply = nullptr;
        check(sd_bus_call_method(bus_, systemd, manager_path, manager, "GetUnit", nullptr, &reply, "s", unit.c_str()),
              unit.c_str());
        const char* path = nullptr;
        check(sd_bus_message_read(reply, "o", &path), "GetUnit");
        std::string result = path;
        sd_bus_message_unref(reply);
        return result;
    }
    std::string text(const std::string& unit, const char* property) {
        char* value = nullptr;
        check(sd_bus_get_property_string(bus_, systemd, object(unit).c_str(), "org.freedesktop.systemd1.Service",
                                         property, nullptr, &value),
              property);
        std::string result = value;
        std::free(value);
        return result;
    }
    sd_bus* bus_ = nullptr;
    bool waiting_ = false;
};

// A process in the machine's cgroup that says when a path opens there, or when it does not any more.
class Prober {
public:
    Prober(const std::string& cgroup, const std::string& path) : leaf_("/sys/fs/cgroup" + cgroup + "/payload/bench") {
        fs::create_directory(leaf_);
        check(::pipe(ask_.data()) < 0 ? -errno : 0, "a pipe");
        check(::pipe(answer_.data()) < 0 ? -errno : 0, "a pipe");
        child_ = ::fork();
        if (child_ == 0) probe(path);
        ::close(ask_[0]);
        ::close(answer_[1]);
    }
    ~Prober() {
        ::close(ask_[1]);
        ::waitpid(child_, nullptr, 0);
        std::error_code ignored;
        fs::remove(leaf_, ignored);
    }
    Prober(const Prober&) = delete;
    Prober& operator=(const Prober&) = delete;

    void begin(bool until_open) {
        const char word = until_open ? 'o' : 'c';
        check(::write(ask_[1], &word, 1) == 1 ? 0 : -EPIPE, "the prober");
    }
    Clock::time_point end() {
        Clock::time_point when;
        check(::read(answer_[0], &when, sizeof when) == sizeof when ? 0 : -EPIPE, "the prober");
        return when;
    }

private:
    // Through the door is also who finds no driver behind it.
    static bool opens(const std::string& path) {
        const int file = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (file >= 0) ::close(file);
        return file >= 0 || errno == ENXIO;
    }
    [[noreturn]] void probe(const std::string& path) {
        ::close(ask_[1]);
        const int procs = ::open((leaf_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC);
        if (::write(procs, "0", 1) != 1) ::_exit(1);
        for (char word = 0; ::read(ask_[0], &word, 1) == 1;) {
            while (opens(path) != (word == 'o')) ::usleep(100);
            const Clock::time_point now = Clock::now();
            if (::write(answer_[1], &now, sizeof now) != sizeof now) ::_exit(1);
        }
        ::_exit(0);
    }

    std::string leaf_;
    std::array<int, 2> ask_{};
    std::array<int, 2> answer_{};
    pid_t child_ = -1;
};

class Samples {
public:
    void add(Clock::time_point begin, Clock::time_point end) {
        values_.push_back(std::chrono::duration_cast<std::chrono::microseconds>(end - begin).count());
    }
    long median() {
        std::sort(values_.begin(), values_.end());
        return values_.empty() ? 0 : values_[values_.size() / 2];
    }

private:
    std::vector<long> values_;
};

// What the one before leaves to be done (PID 1 starts or stops a unit, a self-test runs) is not this one's time.
void rest() { ::usleep(500'000); }

int run(const std::string& machine, const std::string& plain, int rounds) {
    Bus bus;
    const std::string node = fmt::format("/run/cuda-nspawn/machines/{}/dev/nvidia0", machine);
    const std::string plain_node = "/run/cuda-nspawn/machines/.bench-node";
    struct stat status{};
    check(::stat(node.c_str(), &status) < 0 ? -errno : 0, node.c_str());
    const std::string rule = fmt::format("/dev/char/{}:{}", major(status.st_rdev), minor(status.st_rdev));
    const Rules closed = bus.rules(unit_of(plain));
    Rules open = closed;
    open.emplace_back(rule, "rw");
    Prober prober(bus.control_group(unit_of(machine)), node);
    Prober plain_prober(bus.control_group(unit_of(plain)), plain_node);
    Samples attach, detach, allow, deny;
    for (int round = 0; round < rounds; ++round) {
        rest();
        prober.begin(false);
        auto begin = Clock::now();
        bus.send("Detach", machine);
        detach.add(begin, prober.end());
        bus.wait();
        rest();
        prober.begin(true);
        begin = Clock::now();
        bus.send("Attach", machine);
        attach.add(begin, prober.end());
        bus.wait();

        rest();
        plain_prober.begin(true);
        begin = Clock::now();
        bus.set_rules(unit_of(plain), open);
        check(::mknod(plain_node.c_str(), S_IFCHR | 0666, status.st_rdev) < 0 ? -errno : 0, "mknod");
        allow.add(begin, plain_prober.end());
        rest();
        plain_prober.begin(false);
        begin = Clock::now();
        bus.set_rules(unit_of(plain), closed);
        ::unlink(plain_node.c_str());
        deny.add(begin, plain_prober.end());
    }
    fmt::print("{} {} {} {}\n", attach.median(), allow.median(), detach.median(), deny.median());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fputs("usage: latency MACHINE PLAIN-MACHINE ROUNDS\n", stderr);
        return 2;
    }
    try {
        ::umask(0);
        return run(argv[1], argv[2], std::atoi(argv[3]));
    } catch (const std::exception& error) {
        fmt::print(stderr, "latency: {}\n", error.what());
        return 1;
    }
}
