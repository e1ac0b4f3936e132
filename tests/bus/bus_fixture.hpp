// Everything for one test: a private bus, the fakes on it, the real daemon, and a client that hears all signals.
#pragma once

#include <gtest/gtest.h>
#include <sdbus-c++/sdbus-c++.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fake_host.hpp"
#include "fake_login1.hpp"
#include "fake_machined.hpp"
#include "fake_polkit.hpp"
#include "fake_resident.hpp"
#include "fake_systemd.hpp"
#include "news.hpp"
#include "process.hpp"

namespace cuda_nspawn::bus_tests {

using Options = std::map<std::string, sdbus::Variant>;
using Changes = std::vector<sdbus::Struct<std::string, std::string, std::string>>;
using Properties = std::map<std::string, sdbus::Variant>;

struct Signal {
    std::string member;
    std::string path;
    std::vector<std::string> words;  // PropertiesChanged: the interface and the changed names; else the strings in it
};

struct Failure {
    std::string name;
    std::string text;
};

class BusFixture : public ::testing::Test {
protected:
    void SetUp() override;
    void TearDown() override;

    // Before start_daemon() a test may change host and fakes.
    void start_daemon(bool wait_for_name = true);
    void start_daemon_with(const std::string& policy_of_a);
    void add_login1() { login1 = std::make_unique<FakeLogin1>(*fakes_); }  // absent otherwise
    void add_polkit(FakePolkit::Rule rule) { polkit = std::make_unique<FakePolkit>(*fakes_, news, std::move(rule)); }
    void kill_bus();
    std::string log() const { return host->tree.read("/daemon.log"); }

    bool wait_until(const std::function<bool()>& condition) { return news.wait_until(condition); }
    bool wait_for_state(const std::string& machine, const std::string& state);
    bool wait_for_log(const std::string& part);
    bool name_is_owned();

    // Calls of Manager, over the client's connection. They throw sdbus::Error.
    template <class... Results, class... Arguments>
    std::tuple<Results...> call(const std::string& method, const Arguments&... arguments) {
        std::tuple<Results...> results;
        const auto proxy = proxy_at("/org/cudanspawn1");
        std::apply(
            [&](auto&... result) {
                proxy->callMethod(method)
                    .onInterface("org.cudanspawn1.Manager")
                    .withTimeout(std::chrono::seconds(20))
                    .withArguments(arguments...)
                    .storeResultsTo(result...);
            },
            results);
        return results;
    }
    // The error of a call; an empty name if it worked.
    template <class Call>
    static Failure failure_of(Call made) {
        try {
            made();
        } catch (const sdbus::Error& error) {
            return {error.getName(), error.getMessage()};
        }
        return {};
    }
    // Attach, Detach and SelfTest without waiting for the answer.
    template <class... Results, class... Arguments>
    auto call_later(const std::string& method, const Arguments&... arguments) {
        later_.push_back(proxy_at("/org/cudanspawn1"));
        return later_.back()
            ->callMethodAsync(method)
            .onInterface("org.cudanspawn1.Manager")
            .withTimeout(std::chrono::seconds(20))
            .withArguments(arguments...)
            .template getResultAsFuture<Results...>();
    }

    Properties properties(const std::string& path, const std::string& interface);
    Properties machine(const std::string& name);
    std::string text(const std::string& machine_name, const std::string& property);
    std::vector<std::string> list(const std::string& machine_name, const std::string& property);
    std::vector<Signal> signals();
    // Returns when what the daemon had to signal until now has been heard.
    void hear_all();
    unsigned count_signals(const std::string& member, const std::string& path, const std::string& word = "");
    std::unique_ptr<sdbus::IProxy> proxy_at(const std::string& path);

    News news;
    std::unique_ptr<FakeHost> host;
    std::unique_ptr<FakeSystemd> systemd;
    std::unique_ptr<FakeResident> expose_worker;
    std::unique_ptr<FakeResident> look_worker;
    std::unique_ptr<FakeMachined> machined;
    std::unique_ptr<FakeLogin1> login1;
    std::unique_ptr<FakePolkit> polkit;
    std::unique_ptr<Process> daemon;
    std::string address;
    int expected_exit = 0;  // at the end of the test, after SIGTERM

private:
    void start_bus();
    void hear(sdbus::Message message);

    std::unique_ptr<Process> bus_;
    std::unique_ptr<sdbus::IConnection> fakes_;
    std::unique_ptr<sdbus::IConnection> client_;
    sdbus::Slot match_;
    sdbus::Slot owners_;
    std::vector<std::unique_ptr<sdbus::IProxy>> later_;
    std::mutex mutex_;
    std::vector<Signal> signals_;
};

}  // namespace cuda_nspawn::bus_tests
