#include "bus_fixture.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "policy/machine_name.hpp"

namespace cuda_nspawn::bus_tests {

namespace {

// Everybody may do everything but what the shipped policy says of our name.
constexpr const char* bus_config = R"(<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
    <allow send_type="signal"/>
  </policy>
  <include>POLICY</include>
</busconfig>
)";

std::string replaced(std::string text, const std::string& word, const std::string& by) {
    return text.replace(text.find(word), word.size(), by);
}

}  // namespace

void BusFixture::SetUp() {
    if (::geteuid() != 0) GTEST_SKIP() << "device nodes need root";
    // Device events that one test tells must not reach another's daemon.
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    host = std::make_unique<FakeHost>();
    start_bus();
    fakes_ = sdbus::createSessionBusConnectionWithAddress(address);
    systemd = std::make_unique<FakeSystemd>(*fakes_, *host, news);
    expose_worker = std::make_unique<FakeResident>(*host, news, "expose");
    look_worker = std::make_unique<FakeResident>(*host, news, "look");
    machined = std::make_unique<FakeMachined>(*fakes_, news);
    machined->take_name();
    systemd->on_machine_start = [this](const std::string& machine_name) { machined->start(machine_name); };
    systemd->on_machine_stop = [this](const std::string& unit) {
        machined->stop(unit.substr(unit.find('@') + 1, unit.rfind(".service") - unit.find('@') - 1));
    };
    fakes_->enterEventLoopAsync();

    client_ = sdbus::createSessionBusConnectionWithAddress(address);
    match_ = client_->addMatch(
        "type='signal',path_namespace='/org/cudanspawn1'", [this](sdbus::Message message) { hear(std::move(message)); },
        sdbus::return_slot);
    owners_ = client_->addMatch(
        "type='signal',member='NameOwnerChanged'", [this](sdbus::Message) { news.tell(); }, sdbus::return_slot);
    client_->enterEventLoopAsync();
}

void BusFixture::start_bus() {
    const std::filesystem::path socket = host->tree.at("/bus");
    address = "unix:path=" + socket.string();
    host->tree.write("/bus.conf", replaced(replaced(bus_config, "SOCKET", socket), "POLICY", BUS_POLICY));
    bus_ = std::make_unique<Process>(
        std::vector<std::string>{"dbus-daemon", "--nofork", "--nopidfile", "--nosyslog", "--print-address=1",
                                 "--config-file=" + host->tree.at("/bus.conf").string()},
        std::map<std::string, std::string>{}, host->tree.at("/bus.log"));
    // It tells its address when it listens.
    const auto listens = [&] { return host->tree.read("/bus.log").find(socket.string()) != std::string::npos; };
    if (!wait_until([&] { return listens() || bus_->wait(std::chrono::seconds(0)); }) ||
        bus_->wait(std::chrono::seconds(0)))
        throw std::runtime_error("dbus-daemon: " + host->tree.read("/bus.log"));
}

void BusFixture::start_daemon(bool wait_for_name) {
    const auto& tree = host->tree;
    daemon = std::make_unique<Process>(
        std::vector<std::string>{CUDA_NSPAWND, "--debug", "--root=" + tree.at("/root").string(),
                                 "--proc=" + tree.at("/proc").string(), "--sys=" + tree.at("/sys").string(),
                                 "--policies=" + host->policies().string(),
                                 "--runtime=" + tree.at("/root/run/cuda-nspawn").string()},
        std::map<std::string, std::string>{{"DBUS_SYSTEM_BUS_ADDRESS", address}}, tree.at("/daemon.log"));
    if (!wait_for_name) return;
    ASSERT_TRUE(wait_until([this] { return name_is_owned() || daemon->wait(std::chrono::seconds(0)); }));
    ASSERT_FALSE(daemon->wait(std::chrono::seconds(0))) << log();
}

void BusFixture::kill_bus() {
    // sdbus-c++'s own loops do not survive it.
    client_->leaveEventLoop();
    fakes_->leaveEventLoop();
    bus_->signal(SIGKILL);
}

void BusFixture::start_daemon_with(const std::string& policy_of_a) {
    host->add_image("a");
    host->add_policy("a", policy_of_a);
    start_daemon();
    ASSERT_TRUE(wait_for_state("a", "ready")) << text("a", "StateText");
}

void BusFixture::TearDown() {
    if (daemon) {
        daemon->signal(SIGTERM);
        EXPECT_EQ(daemon->wait(), expected_exit);
        if (HasFailure()) std::fputs(("daemon:\n" + log()).c_str(), stderr);
    }
    later_.clear();
    if (client_) client_->leaveEventLoop();
    if (fakes_) fakes_->leaveEventLoop();
    match_.reset();
    owners_.reset();
    login1.reset();
    polkit.reset();
    machined.reset();
    systemd.reset();
}

bool BusFixture::name_is_owned() {
    bool owned = false;
    sdbus::createProxy(*client_, sdbus::ServiceName{"org.freedesktop.DBus"}, sdbus::ObjectPath{"/org/freedesktop/DBus"})
        ->callMethod("NameHasOwner")
        .onInterface("org.freedesktop.DBus")
        .withArguments("org.cudanspawn1")
        .storeResultsTo(owned);
    return owned;
}

bool BusFixture::wait_for_state(const std::string& machine_name, const std::string& state) {
    return wait_until([&] {
        try {
            return text(machine_name, "State") == state;
        } catch (const sdbus::Error&) {
            return false;
        }
    });
}

bool BusFixture::wait_for_log(const std::string& part) {
    return wait_until([&] { return log().find(part) != std::string::npos; });
}

std::unique_ptr<sdbus::IProxy> BusFixture::proxy_at(const std::string& path) {
    return sdbus::createProxy(*client_, sdbus::ServiceName{"org.cudanspawn1"}, sdbus::ObjectPath{path});
}

Properties BusFixture::properties(const std::string& path, const std::string& interface) {
    Properties found;
    proxy_at(path)
        ->callMethod("GetAll")
        .onInterface("org.freedesktop.DBus.Properties")
        .withArguments(interface)
        .storeResultsTo(found);
    return found;
}

Properties BusFixture::machine(const std::string& name) {
    return properties("/org/cudanspawn1/machine/" + escape_bus_label(name), "org.cudanspawn1.Machine");
}

std::string BusFixture::text(const std::string& machine_name, const std::string& property) {
    return machine(machine_name).at(property).get<std::string>();
}

std::vector<std::string> BusFixture::list(const std::string& machine_name, const std::string& property) {
    return machine(machine_name).at(property).get<std::vector<std::string>>();
}

void BusFixture::hear(sdbus::Message message) {
    Signal signal{message.getMemberName(), message.getPath(), {}};
    try {
        if (signal.member == "PropertiesChanged") {
            std::string interface;
            Properties changed;
            std::vector<std::string> invalidated;
            message >> interface >> changed >> invalidated;
            signal.words.push_back(interface);
            for (const auto& [name, value] : changed) signal.words.push_back(name);
        } else if (signal.member == "JobNew" || signal.member == "JobRemoved") {
            std::uint32_t id = 0;
            sdbus::ObjectPath path;
            std::string name, word;
            message >> id >> path >> name >> word;
            signal.words = {path, name, word};
        } else if (signal.member == "InterfacesAdded" || signal.member == "InterfacesRemoved") {
            sdbus::ObjectPath path;
            message >> path;
            signal.words = {path};
        }
    } catch (const sdbus::Error& error) {
        signal.words = {"unreadable: " + error.getMessage()};
    }
    {
        const std::lock_guard lock(mutex_);
        signals_.push_back(std::move(signal));
    }
    news.tell();
}

std::vector<Signal> BusFixture::signals() {
    const std::lock_guard lock(mutex_);
    return signals_;
}

void BusFixture::hear_all() {
    // A future's answer is dispatched behind the signals that came before it. The first may overtake what the daemon's
    // loop sends at the end of its round; the second is read in a later one.
    for (int round = 0; round < 2; ++round)
        proxy_at("/org/cudanspawn1")
            ->callMethodAsync("Ping")
            .onInterface("org.freedesktop.DBus.Peer")
            .getResultAsFuture<>()
            .get();
}

unsigned BusFixture::count_signals(const std::string& member, const std::string& path, const std::string& word) {
    const auto heard = signals();
    return static_cast<unsigned>(std::count_if(heard.begin(), heard.end(), [&](const Signal& signal) {
        const bool has_word =
            word.empty() || std::find(signal.words.begin(), signal.words.end(), word) != signal.words.end();
        return signal.member == member && signal.path == path && has_word;
    }));
}

}  // namespace cuda_nspawn::bus_tests
