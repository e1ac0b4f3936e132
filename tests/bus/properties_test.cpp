// Who hears the signals knows what he would read: a mirror of all properties, kept by signals alone, is what the daemon
// shows; and each property that the interface says is signalled has been.
#include <gmock/gmock.h>

#include <fstream>
#include <mutex>
#include <regex>
#include <set>
#include <sstream>

#include "bus_fixture.hpp"

namespace cuda_nspawn::bus_tests {
namespace {

using sdbus::ObjectPath;
using ::testing::ContainerEq;

const std::string manager_path = "/org/cudanspawn1";
const std::string manager_interface = "org.cudanspawn1.Manager";
using Interfaces = std::map<std::string, Properties>;

std::string text_of(const std::string& value) { return value; }
std::string text_of(std::uint32_t value) { return std::to_string(value); }
std::string text_of(std::uint64_t value) { return std::to_string(value); }
std::string text_of(double value) { return std::to_string(value); }
template <class... Fields>
std::string text_of(const sdbus::Struct<Fields...>& value) {
    std::string text;
    std::apply([&](const auto&... field) { ((text += text_of(field) + "|"), ...); }, value);
    return text;
}
template <class Item>
std::string text_of(const std::vector<Item>& value) {
    std::string text;
    for (const Item& one : value) text += text_of(one) + "\n";
    return text;
}
template <class Value>
bool try_text(const sdbus::Variant& value, std::string& text) {
    if (!value.containsValueOfType<Value>()) return false;
    text = text_of(value.get<Value>());
    return true;
}
std::string text_of(const sdbus::Variant& value) {
    std::string text;
    const bool known = try_text<std::string>(value, text) || try_text<std::uint32_t>(value, text) ||
                       try_text<std::uint64_t>(value, text) || try_text<std::vector<std::string>>(value, text) ||
                       try_text<std::vector<sdbus::Struct<std::string, std::string, std::string>>>(value, text) ||
                       try_text<std::vector<sdbus::Struct<std::string, std::string, double, std::string>>>(value, text);
    return known ? text : "a type that nobody expected";
}

using Shown = std::map<std::string, std::string>;  // "PATH INTERFACE.PROPERTY" → value

void add(Shown& shown, const std::string& path, const std::string& interface, const Properties& properties) {
    if (!interface.starts_with("org.cudanspawn1.")) return;
    for (const auto& [name, value] : properties) shown[path + " " + interface + "." + name] = text_of(value);
}

class BusProperties : public BusFixture {
protected:
    void TearDown() override {
        if (listener_) listener_->leaveEventLoop();
        match_.reset();
        listener_.reset();
        BusFixture::TearDown();
    }
    void listen() {
        listener_ = sdbus::createSessionBusConnectionWithAddress(address);
        match_ = listener_->addMatch(
            "type='signal',path_namespace='/org/cudanspawn1'", [this](sdbus::Message message) { hear(message); },
            sdbus::return_slot);
        listener_->enterEventLoopAsync();
        mirror_ = read();
    }
    Shown read() {
        Shown shown;
        std::map<ObjectPath, Interfaces> objects;
        proxy_at(manager_path)
            ->callMethod("GetManagedObjects")
            .onInterface("org.freedesktop.DBus.ObjectManager")
            .storeResultsTo(objects);
        for (const auto& [path, interfaces] : objects)
            for (const auto& [interface, values] : interfaces) add(shown, path, interface, values);
        add(shown, manager_path, manager_interface, properties(manager_path, manager_interface));
        return shown;
    }
    Shown mirror() {
        const std::lock_guard lock(mutex_);
        return mirror_;
    }
    std::set<std::string> signalled() {
        const std::lock_guard lock(mutex_);
        return signalled_;
    }
    void expect_mirror_is_right(const std::string& when) {
        EXPECT_TRUE(wait_until([&] { return mirror() == read(); })) << when;
        EXPECT_THAT(mirror(), ContainerEq(read())) << when;
    }
    void refresh() { call<>("Refresh", Options{}); }
    void load_module(const std::string& version) {
        host->tree.write("/proc/driver/nvidia/version",
                         "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  " + version + "  Release Build\n");
    }
    void install(const std::string& version) {
        const std::filesystem::path directory = host->tree.at("/root/usr/lib/x86_64-linux-gnu");
        std::filesystem::remove_all(directory);
        for (const std::string library : {"libcuda.so", "libnvidia-ml.so", "libnvidia-ptxjitcompiler.so"}) {
            const std::string path = "/root/usr/lib/x86_64-linux-gnu/" + library;
            host->tree.write(path + "." + version, testing::elf(library + ".1"));
            host->tree.link(path + ".1", library + "." + version);
        }
    }
    void verb(const std::string& name, Options options = {}) {
        options["wait"] = sdbus::Variant(true);
        call<ObjectPath, Changes>(name, "a", options);
    }

private:
    void hear(sdbus::Message& message) {
        const std::string path = message.getPath(), member = message.getMemberName();
        std::string interface;
        Properties changed;
        std::vector<std::string> names;
        const std::lock_guard lock(mutex_);
        if (member == "PropertiesChanged") {
            message >> interface >> changed >> names;
            for (const auto& [name, value] : changed) {
                const std::string key = path + " " + interface + "." + name;
                if (mirror_.contains(key) && mirror_[key] != text_of(value)) signalled_.insert(interface + "." + name);
            }
            add(mirror_, path, interface, changed);
        } else if (member == "InterfacesAdded") {
            ObjectPath object;
            Interfaces interfaces;
            message >> object >> interfaces;
            for (const auto& [one, values] : interfaces) add(mirror_, object, one, values);
        } else if (member == "InterfacesRemoved") {
            ObjectPath object;
            message >> object >> names;
            for (const std::string& one : names)
                std::erase_if(mirror_, [&](const auto& entry) { return entry.first.starts_with(object + " " + one); });
        }
        news.tell();
    }

    std::unique_ptr<sdbus::IConnection> listener_;
    sdbus::Slot match_;
    std::mutex mutex_;
    Shown mirror_;
    std::set<std::string> signalled_;  // with another value than was known
};

// All properties of our interfaces that are not annotated as constant, from the description that is installed, which
// is what introspection shows.
std::set<std::string> changing_properties() {
    std::ifstream file(INTERFACE_XML);
    const std::string xml{std::istreambuf_iterator<char>(file), {}};
    static const std::regex tag(
        "<interface name=\"([^\"]*)\"|<property name=\"([^\"]*)\"[^>]*?(/?)>(\\s*<annotation[^>]*value=\"const\")?");
    std::set<std::string> names;
    std::string interface;
    for (std::sregex_iterator found(xml.begin(), xml.end(), tag), end; found != end; ++found)
        if ((*found)[1].matched)
            interface = (*found)[1];
        else if (!(*found)[4].matched)
            names.insert(interface + "." + std::string((*found)[2]));
    return names;
}

TEST_F(BusProperties, whoever_hears_the_signals_knows_what_he_would_read) {
    host->add_image("a");
    host->tree.write("/root/var/lib/machines/a.nspawn", "[Exec]\nCapability=all\n");  // has no effect there
    host->add_policy("a", "gpu: 0\n");
    start_daemon();
    ASSERT_TRUE(wait_for_state("a", "invalid"));
    listen();
    host->add_policy("a", "gpus: [0]\n");
    ASSERT_TRUE(wait_for_state("a", "ready"));
    expect_mirror_is_right("a policy that is mended, and the first copy of the driver");
    // Somebody takes a drop-in away: one step more than could be known.
    std::filesystem::remove_all(host->tree.at("/root/run/systemd/system/systemd-nspawn@a.service.d"));
    verb("Attach", {{"start", sdbus::Variant(true)}, {"test", sdbus::Variant(true)}});
    expect_mirror_is_right("a start with a test");
    verb("Detach");
    systemd->set_loaded({"systemd-nspawn@a.service"});
    verb("Attach");
    ASSERT_TRUE(wait_until([&] { return text("a", "Verdict") == "passed"; }));
    expect_mirror_is_right("a detach and an attach");
    const auto tested = [&] { return machine("a").at("LastSelfTest").get<std::uint64_t>(); };
    const std::uint64_t before = tested();
    host->add_policy("a", "gpus: [1]\n");
    ASSERT_TRUE(wait_until([&] { return tested() > before; }));  // 0 in between: what is tested then is the other one
    expect_mirror_is_right("another GPU");
    std::filesystem::remove(host->tree.at("/root/var/lib/machines/a.nspawn"));
    install("580.65.06");
    refresh();
    call<std::vector<sdbus::Struct<std::string, std::string, std::string, std::vector<std::string>, std::string,
                                   std::string, std::vector<std::string>, std::string>>>("Diagnose", "a", Options{});
    expect_mirror_is_right("another driver that waits for its module, and a diagnosis that says so");
    load_module("580.65.06");
    refresh();
    ASSERT_TRUE(wait_until([&] { return text("a", "Generation").starts_with("580.65.06-"); }));
    ASSERT_TRUE(wait_until([&] { return text("a", "Verdict") == "passed"; }));
    expect_mirror_is_right("another driver");
    systemd->set("cuda-nspawn-store@", {.report = "{\"failure\":\"No space left on device\"}"});
    install("580.82.07");
    load_module("580.82.07");
    refresh();
    expect_mirror_is_right("a copy that fails");
    machined->stop("a");
    std::filesystem::remove(host->policies() / "a.yaml");
    ASSERT_TRUE(wait_until([&] { return read() == mirror(); }));
    expect_mirror_is_right("the end");
    EXPECT_THAT(signalled(), ContainerEq(changing_properties()));
}

}  // namespace
}  // namespace cuda_nspawn::bus_tests
