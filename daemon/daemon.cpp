#include "daemon.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <utility>

#include "driver/change.hpp"
#include "policy/machine_name.hpp"
#include "system/files.hpp"
#include "system/log.hpp"

namespace cuda_nspawn {

namespace {

// Guests wait for READY; a slow driver copy must not keep them waiting (units/cuda-nspawnd.service, TimeoutStartSec=).
constexpr std::uint64_t ready_deadline_usec = 8'000'000;
constexpr std::uint64_t forget_interval_usec = 61'000'000;
constexpr std::uint64_t retry_interval_usec = 5'000'000;
constexpr std::uint64_t rest_usec = 500'000;  // the bus has taken its signals by then

sd_bus* open_bus() {
    sd_bus* bus = nullptr;
    if (const int result = sd_bus_open_system(&bus); result < 0) throw sdbus::createError(-result, "system bus");
    return bus;
}

std::unique_ptr<sdbus::IConnection> connect(sd_bus* bus, EventLoop& loop) {
    auto connection = sdbus::createBusConnection(bus);
    connection->attachSdEventLoop(loop.get());
    return connection;
}

}  // namespace

Daemon::Daemon(EventLoop& loop, DaemonPlaces places)
    : loop_(loop),
      places_(std::move(places)),
      policies_(places_.policies, places_.defaults),
      bus_(open_bus()),
      connection_(connect(bus_, loop)),
      service_(
          {[](const Message& message) { log(message); },
           [this](std::function<void()> work) { loop_.defer(std::move(work)); },
           [this] { on_change(); },
           {log_level, [](const std::string& level) { return set_log_level(level); }, log_target, set_log_target}}),
      systemd_(*connection_),
      machined_(*connection_,
                {[this](const std::string& name, const Instance& instance) { engine_.machine_started(name, instance); },
                 [this](const std::string& name) { engine_.machine_ended(name); }, [this] { enumerate_machines(); }}),
      workers_(loop, systemd_, places_.runtime / "work"),
      ports_(loop, systemd_, machined_, workers_, {places_.root, places_.runtime, places_.host.proc}),
      engine_(ports_, service_),
      watcher_(loop),
      changes_(loop, *connection_, {places_.root, places_.host.sys}, change_handlers()) {
    ports_.on_instance = [this](const std::string& name, const Instance& instance) {
        engine_.machine_started(name, instance);
    };
    ports_.on_rules_sent = [this] { look_if_due(); };
    ports_.generations_in_use = [this] { return engine_.generations_in_use(); };
    // A lost bus would end in an exception inside a C frame; leaving the loop lets systemd start us again.
    disconnected_ = connection_->addMatch(
        "type='signal',path='/org/freedesktop/DBus/Local',interface='org.freedesktop.DBus.Local',member='Disconnected'",
        [this](sdbus::Message) {
            log(Severity::error, "", "the connection to the system bus was lost");
            loop_.exit(1);
        },
        sdbus::return_slot);
}

int Daemon::run() {
    // glibc's default, but fixed: else one large message that anybody may send raises it, and the next ones stay in the
    // heap.
    ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    enumerate_machines();
    ready_deadline_ = loop_.after(ready_deadline_usec, [this] {
        begin();
        become_ready();
    });
    loop_.on_termination([this] {
        sd_notify(0, "STOPPING=1");
        loop_.exit(0);
    });
    loop_.on_reload([this] {
        read_policies();
        refresh_driver("reload");
    });
    return loop_.run();
}

HostChanges::Handlers Daemon::change_handlers() {
    return {.driver = [this](const std::string& cause) { refresh_driver(cause); },
            .images = [this](const std::string& machine) { engine_.image_changed(machine); },
            .copied =
                [this](const std::string& machine) {
                    if (is_machine_name(machine)) engine_.adopt_leftover(machine);
                    engine_.image_changed(machine);
                },
            .resumed = [this] { verify_after_sleep(); },
            .is_gpu =
                [this](const std::string& address) {
                    return std::ranges::any_of(seen_.gpus, [&](const Gpu& gpu) { return gpu.pci_address == address; });
                },
            .has_settings =
                [this](const std::string& machine) {
                    const auto place = engine_.machines().find(machine);
                    return place != engine_.machines().end() && place->second.planned.plan.mounts;
                }};
}

// Driver, then what runs, then what is wished: in any other order a daemon that starts again would take from running
// machines what they have, and give it back a moment later.
void Daemon::begin() {
    if (std::exchange(begun_, true)) return;
    clear_work();
    // Before the files are read, so that no change falls between.
    watch_files();
    changes_.watch();
    for (const auto& [name, state] : read_states(places_.runtime / "state")) engine_.restore(name, state);
    refresh_driver("start");
    read_policies();
    adopt_leftovers();
    service_.open(*connection_, bus_, engine_,
                  {.look_at_driver = [this] { refresh_driver("attach"); },
                   .look_at_driver_soon = [this] { look_due_ = true; },
                   .refresh = [this](const std::string& cause) { refresh(cause); },
                   .verify_store = [this](auto reply) { ports_.verify_store(std::move(reply)); },
                   .reload = [this] { read_policies(); },
                   .rest =
                       [this] {
                           trim_due_ = true;
                           trim_later();
                       },
                   .parse_policy = [this](const std::string& name,
                                          const std::string& text) { return policies_.parse_as_if(name, text); },
                   .reread =
                       [this](const std::string& name) {
                           if (!policies_.is_as_read(name)) engine_.set_policy(name, policies_.read(name));
                       }});
    on_change();
}

void Daemon::read_policies() {
    PolicyFiles::All policies = policies_.read_all();
    if (policies.warnings != policy_warnings_)
        for (const std::string& warning : policies.warnings) log({Event::policy_ignored, "", warning});
    policy_warnings_ = std::move(policies.warnings);
    trim_due_ = true;
    engine_.set_policies(policies.files);
}

// An edit costs what the one file costs, however many there are.
void Daemon::read_written_policies(const std::vector<std::string>& names) {
    std::vector<std::string> machines;
    for (const std::filesystem::path file : names) {
        if (file.extension() != ".yaml") continue;
        if (!is_machine_name(file.stem().native())) return read_policies();  // which says what is wrong with it
        machines.push_back(file.stem());
    }
    for (const std::string& machine : machines) engine_.set_policy(machine, policies_.read(machine), true);
}

void Daemon::refresh_driver(const std::string& cause) {
    log(Severity::debug, "", fmt::format("the driver is looked at ({})", cause));
    Driver driver = discover_driver(places_.host);
    const bool is_first = cause == "start";
    const std::string news = is_first ? describe_driver(driver) : describe_change(seen_, driver);
    if (!news.empty())
        log({is_first ? Event::driver_found : Event::driver_changed,
             "",
             fmt::format("{} ({})", news, cause),
             {.driver = driver.kernel_version}});
    const bool is_another = driver != seen_;
    seen_ = driver;
    trim_due_ = trim_due_ || is_another;
    engine_.set_driver(std::move(driver));
    if (!is_another) return;
    if (const auto problem = driver_problem(engine_.driver())) log({Event::driver_problem, "", *problem});
    for (const std::string& note : engine_.driver().notes) log({Event::driver_note, "", note});
}

void Daemon::look_if_due() {
    if (std::exchange(look_due_, false)) loop_.defer([this] { refresh_driver("attach"); });
}

void Daemon::refresh(const std::string& cause) {
    refresh_driver(cause);
    if (!seen_.has_uvm()) load_modules();
    verify_all(cause);
}

// As PID 1 did it before the daemon's start. Only when somebody asks: an admin may have unloaded them.
void Daemon::load_modules() {
    systemd_.run_job("StartUnit", "cuda-nspawn-modules.service", [this](const std::string& failure) {
        if (!failure.empty()) return log({Event::modules_failed, "", failure});
        refresh_driver("modules");
    });
}

void Daemon::verify_all(const std::string& cause) {
    log({Event::verification_begun, "", fmt::format("what the machines have is verified ({})", cause)});
    trim_due_ = true;
    engine_.verify_all();
}

// Machines may have ended, GPUs may have gone, and nobody tells what happened meanwhile.
void Daemon::verify_after_sleep() {
    enumerate_machines([this] {
        refresh_driver("resume");
        verify_all("resume");
    });
}

void Daemon::enumerate_machines(std::function<void()> then) {
    machined_.enumerate(
        [this, then = std::move(then)](const std::map<std::string, Instance>& instances, const std::string& failure) {
            if (failure.empty())
                engine_.set_instances(instances);
            else
                log(Severity::error, "", failure);
            // Not from within the reply's handler, which would swallow that the name is taken.
            loop_.defer([this, then] {
                begin();
                if (then) then();
            });
        });
}

// Requests and reports of a predecessor that was killed. The sockets there are PID 1's.
void Daemon::clear_work() {
    std::error_code ignored;
    for (std::filesystem::directory_iterator entry(places_.runtime / "work", ignored), end; entry != end;
         entry.increment(ignored))
        if (!entry->is_socket(ignored)) std::filesystem::remove(entry->path(), ignored);
}

// What a machine has whose policy went away, or that was copied from another, while no daemon ran.
void Daemon::adopt_leftovers() {
    std::error_code ignored;
    for (std::filesystem::directory_iterator entry(places_.runtime / "machines", ignored), end; entry != end;
         entry.increment(ignored))
        if (const std::string name = entry->path().filename(); is_machine_name(name) && !name.starts_with('.'))
            engine_.adopt_leftover(name);
    for (std::filesystem::directory_iterator entry(places_.root / "run/systemd/nspawn", ignored), end; entry != end;
         entry.increment(ignored))
        if (const std::string name = entry->path().stem(); is_machine_name(name) && is_generated_file(entry->path()))
            engine_.adopt_leftover(name);
}

void Daemon::watch_files() {
    for (const auto& directory : places_.policies)
        watcher_.watch(directory, [this](const std::vector<std::string>& names, bool all) {
            if (all)
                read_policies();
            else
                read_written_policies(names);
        });
    watcher_.watch(places_.defaults.parent_path(), [this](const std::vector<std::string>& names, bool) {
        if (std::find(names.begin(), names.end(), places_.defaults.filename()) != names.end()) read_policies();
    });
}

void Daemon::on_change() {
    if (!ready_ && begun_ && engine_.settled()) become_ready();
    if (engine_.settled()) look_if_due();  // where no rules had to be sent
    engine_.collect_if_due();
    forget_jobs_later();
    retry_build_later();
    trim_later();
    if (ready_) tell_status();
}

void Daemon::tell_status() {
    std::string status = fmt::format("STATUS={} machines, driver {}", engine_.machines().size(),
                                     engine_.generation().empty() ? "none" : engine_.generation());
    if (status == status_) return;
    status_ = std::move(status);
    sd_notify(0, status_.c_str());
}

// What concerned all machines at once took several times the memory that is needed afterwards, and the heap keeps it.
void Daemon::trim_later() {
    if (!trim_due_ || !engine_.settled()) return;
    trim_due_ = false;
    trim_timer_ = loop_.after(rest_usec, [this] {
        const EventLoop::Timer keep = std::exchange(trim_timer_, nullptr);
        ::malloc_trim(0);
    });
}

void Daemon::become_ready() {
    ready_deadline_.reset();
    if (std::exchange(ready_, true)) return;
    sd_notify(0, "READY=1");
}

// Files that change while they are copied are looked at again, once; what fails twice alike waits for a refresh.
void Daemon::retry_build_later() {
    if (engine_.build_failure().empty() || engine_.build_failure() == retried_failure_ || retry_timer_) return;
    retried_failure_ = engine_.build_failure();
    retry_timer_ = loop_.after(retry_interval_usec, [this] {
        const EventLoop::Timer keep = std::exchange(retry_timer_, nullptr);
        refresh_driver("copying failed");
    });
}

void Daemon::forget_jobs_later() {
    const bool ended = std::any_of(engine_.jobs().begin(), engine_.jobs().end(),
                                   [](const auto& entry) { return entry.second.state == JobState::ended; });
    if (!ended || forget_timer_) return;
    forget_timer_ = loop_.after(forget_interval_usec, [this] {
        const EventLoop::Timer keep = std::exchange(forget_timer_, nullptr);
        engine_.forget_old_jobs();
        forget_jobs_later();
    });
}

}  // namespace cuda_nspawn
