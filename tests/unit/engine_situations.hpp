// One machine, brought from nothing into each of its situations, and everything that can then happen to it. What the
// tables of the engine's tests are made of.
#pragma once

#include <algorithm>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "engine_fixture.hpp"

namespace cuda_nspawn::testing {

inline const std::string sentence = "it is broken";

// A host with the machine "a", whose ports answer when they are told to.
struct Host {
    FakePorts ports;
    FakeObserver observer;
    Engine engine{ports, observer};
    Policy policy = make_policy("a", {GpuIndex{0}, GpuIndex{1}});
    bool one_file = false;  // what happens to the policy is told of that file, not of all
    bool running = false;
    std::optional<unsigned> job;  // of the last verb

    Host() {
        ports.gpu_uuids = {{"nvidia0", uuid0}, {"nvidia1", uuid1}, {"nvidia4", uuid2}};
        ports.on_start = [this](const std::string&) {
            if (!running) start();
        };
    }
    static Instance instance(unsigned leader) { return {"systemd-nspawn@a.service", leader, leader * 1000ULL}; }
    static PolicyFile broken() {
        return {"a", std::vector{Diagnostic{"/etc/cuda-nspawn/machines/a.yaml", 1, 1, "unknown key \"gpu\""}}};
    }
    void set_policy() { set_policy(PolicyFile{"a", policy}); }
    void set_policy(const std::optional<PolicyFile>& file) {
        if (one_file)
            engine.set_policy("a", file, true);
        else
            engine.set_policies(file ? std::vector{*file} : std::vector<PolicyFile>{});
    }
    void set_gpus(std::vector<GpuSelector> gpus) {
        policy.gpus = std::move(gpus);
        set_policy();
    }
    void start(unsigned leader = 100) {
        running = true;
        engine.machine_started("a", instance(leader));
    }
    void end() {
        running = false;
        engine.machine_ended("a");
    }
    void begin() {  // driver in the store, policy; nothing answered
        ports.store.insert(generation_name(make_driver()));
        engine.set_driver(make_driver());
        set_policy();
    }
    void prepare() {
        begin();
        ports.answer_all();
    }
    void run() {
        prepare();
        start();
        ports.answer_all();
    }
    void fail_next(const std::string& verb) {
        ports.answer_all(verb);
        ports.fail(verb, sentence);
        ports.answer_all();
    }
    void answer_test(Tested tested) { std::get<Reply<Tested>>(ports.take("test").reply)(std::move(tested)); }

    std::string text() const { return engine.machine("a").state_text(engine.generation_pending()); }
    // State in a word, as the tables have it.
    std::string word() const {
        if (!engine.machines().contains("a")) return "gone";
        const Machine& machine = engine.machine("a");
        const State state = machine.state(engine.generation_pending());
        if (state != State::attached) return std::string(to_string(state));
        switch (machine.verdict.result) {
            case VerdictResult::none:
                return machine.testing ? "testing" : "untested";
            case VerdictResult::passed:
                return "passed";
            default:
                return "bad";
        }
    }
};

struct Situation {
    std::string name;
    std::string word;  // as it is shown
    std::function<void(Host&)> reach;
};

inline Guest musl_guest() { return {"alpine", "Alpine Linux v3.20", Libc::musl, "", "x86-64", false, false}; }

inline void run_without_policy(Host& host) {
    host.run();
    host.engine.set_policies({});
    host.ports.answer_all();
}

inline const std::vector<Situation>& situations() {
    const auto not_answered = [](const std::string& verb) {
        return [verb](Host& host) {
            host.begin();
            host.ports.answer_all(verb);
        };
    };
    const auto failed_preparing = [](const std::string& verb) {
        return [verb](Host& host) {
            host.begin();
            host.fail_next(verb);
        };
    };
    const auto then_started = [](std::function<void(Host&)> reach) {
        return [reach = std::move(reach)](Host& host) {
            reach(host);
            host.start();
            host.ports.answer_all();
        };
    };
    const auto invalid = [](Host& host) {
        host.engine.set_driver(make_driver());
        host.engine.set_policies({Host::broken()});
    };
    const auto no_gpus = [](Host& host) {
        host.policy.gpus.clear();
        host.prepare();
    };
    const auto no_driver = [](Host& host) {
        host.set_policy();
        host.ports.answer_all();
    };
    const auto musl = [](Host& host) {
        host.ports.image.guest = musl_guest();
        host.prepare();
    };
    const auto refused = [](Host& host) {
        host.ports.expose_errors = {"/etc/systemd/nspawn/a.nspawn:3: no section"};
        host.prepare();
    };
    const auto building = [](Host& host) {
        host.engine.set_driver(make_driver());
        host.set_policy();
        host.ports.answer_all("build");
    };
    const auto prepared = [](Host& host) { host.prepare(); };
    const auto started = [](Host& host) {
        host.prepare();
        host.start();
    };
    const auto tested = [](Host& host) {
        host.prepare();
        host.start();
        host.ports.answer_all("test");
    };
    const auto without_mounts = [](Host& host) {
        host.ports.without_mounts = {100};
        host.prepare();
        host.start();
        host.ports.answer_all("mount");
    };
    const auto starting = [](Host& host) {
        host.prepare();
        host.engine.attach("a", {true, false, false});
        host.ports.answer_all("start");
    };
    const auto ended = [](Host& host) {
        host.run();
        host.end();
    };
    static const std::vector<Situation> all{
        {"invalid", "invalid", invalid},
        {"invalid,runs", "invalid", then_started(invalid)},
        {"gpus-none", "blocked", no_gpus},
        {"gpus-none,runs", "blocked", then_started(no_gpus)},
        {"no-driver", "blocked", no_driver},
        {"no-driver,runs", "blocked", then_started(no_driver)},
        {"musl-guest", "blocked", musl},
        {"musl-guest,runs", "blocked", then_started(musl)},
        {"bad-settings", "blocked", refused},
        {"bad-settings,runs", "blocked", then_started(refused)},
        {"no-policy,runs", "blocked", run_without_policy},
        {"building", "preparing", building},
        {"building,runs", "preparing",
         [building](Host& host) {
             host.start();
             building(host);
         }},
        {"looking", "preparing", not_answered("look")},
        {"exposing", "preparing", not_answered("expose")},
        {"reloading", "preparing", not_answered("reload")},
        {"ready", "ready", prepared},
        {"starting", "starting", starting},
        {"granting", "preparing", started},
        {"mounting", "preparing", without_mounts},
        {"testing", "testing", tested},
        {"passed", "passed", [](Host& host) { host.run(); }},
        {"bad", "bad",
         [tested](Host& host) {
             tested(host);
             host.answer_test(FakePorts::failed());
         }},
        {"untested", "untested",
         [](Host& host) {
             host.policy.self_test = SelfTestLevel::off;
             host.run();
         }},
        {"detached", "detached",
         [](Host& host) {
             host.run();
             host.engine.detach("a");
             host.ports.answer_all();
         }},
        {"ending", "preparing", ended},
        {"failed-look", "failed", failed_preparing("look")},
        {"failed-expose", "failed", failed_preparing("expose")},
        {"failed-reload", "failed", failed_preparing("reload")},
        {"failed-start", "failed",
         [starting](Host& host) {
             starting(host);
             host.fail_next("start");
         }},
        {"failed-release", "failed",
         [ended](Host& host) {
             ended(host);
             host.fail_next("release");
         }},
        {"failed-grant", "failed",
         [started](Host& host) {
             started(host);
             host.fail_next("grant");
         }},
        {"failed-mount", "failed",
         [without_mounts](Host& host) {
             without_mounts(host);
             host.fail_next("mount");
         }},
    };
    return all;
}

inline const Situation& situation(const std::string& name) {
    const auto& all = situations();
    const auto found = std::find_if(all.begin(), all.end(), [&](const Situation& one) { return one.name == name; });
    if (found == all.end()) throw std::logic_error("no situation " + name);
    return *found;
}

inline Driver driver_with(const std::string& module, const std::string& files) {
    Driver driver = make_driver(files);
    driver.kernel_version = module;
    return driver;
}

inline void attach(Host& host, JobOptions options) { host.job = host.engine.attach("a", options); }

// By their columns' names.
inline const std::map<std::string, std::function<void(Host&)>>& events() {
    static const std::map<std::string, std::function<void(Host&)>> all{
        {"nothing", [](Host&) {}},
        // The policy's file
        {"same", [](Host& host) { host.set_policy(); }},
        {"more", [](Host& host) { host.set_gpus({GpuIndex{0}, GpuIndex{1}, GpuIndex{2}}); }},
        {"fewer", [](Host& host) { host.set_gpus({GpuIndex{0}}); }},
        {"none", [](Host& host) { host.set_gpus({}); }},
        {"broken", [](Host& host) { host.set_policy(Host::broken()); }},
        {"removed", [](Host& host) { host.set_policy(std::nullopt); }},
        // The driver
        {"as-is", [](Host& host) { host.engine.set_driver(Driver(host.engine.driver())); }},
        {"upgraded", [](Host& host) { host.engine.set_driver(make_driver("1000.1")); }},
        {"unloaded", [](Host& host) { host.engine.set_driver({}); }},
        {"gpu-lost",
         [](Host& host) {
             Driver driver = make_driver();
             driver.gpus.resize(1);
             host.engine.set_driver(driver);
         }},
        {"files-newer", [](Host& host) { host.engine.set_driver(driver_with("999.42.01", "1000.1")); }},
        {"files-older", [](Host& host) { host.engine.set_driver(driver_with("1000.1", "999.42.01")); }},
        // The machine's life, its image and settings
        {"started", [](Host& host) { host.start(); }},
        {"another", [](Host& host) { host.start(200); }},
        {"ended", [](Host& host) { host.end(); }},
        {"listed",
         [](Host& host) {
             host.running = true;
             host.engine.set_instances({{"a", Host::instance(100)}});
         }},
        {"unlisted",
         [](Host& host) {
             host.running = false;
             host.engine.set_instances({});
         }},
        {"image", [](Host& host) { host.engine.image_changed("a"); }},
        {"mended",
         [](Host& host) {
             host.ports.image.guest.reset();
             host.ports.expose_errors.clear();
             host.engine.image_changed("a");
         }},
        // Verbs
        {"attach", [](Host& host) { attach(host, {}); }},
        {"+start", [](Host& host) { attach(host, {true, false, false}); }},
        {"+test", [](Host& host) { attach(host, {false, true, false}); }},
        {"+fresh", [](Host& host) { attach(host, {false, true, true}); }},
        {"detach", [](Host& host) { host.job = host.engine.detach("a"); }},
        {"self-test", [](Host& host) { host.job = host.engine.self_test("a"); }},
        {"plan", [](Host& host) { host.engine.plan({.machine = "a"}, [](const PlannedChanges&) {}); }},
        // Housekeeping
        {"restore", [](Host& host) { host.engine.restore("a", {{"machine-a.scope", 7, 7}, true, {}, 0}); }},
        {"leftover", [](Host& host) { host.engine.adopt_leftover("a"); }},
        {"collect", [](Host& host) { host.engine.collect_if_due(); }},
        {"forget-jobs",
         [](Host& host) {
             host.ports.now += 61'000'000;
             host.engine.forget_old_jobs();
         }},
    };
    return all;
}

// Throws JobRefused where the engine does.
inline void happen(Host& host, const std::string& event) { events().at(event)(host); }

inline std::vector<std::string> words(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> found;
    for (std::string word; stream >> word;) found.push_back(word);
    return found;
}

struct Cell {
    std::string situation;
    std::string event;
    std::string expected;
};

// A table as text: the first line names the events, each other one begins with its situation.
inline std::vector<Cell> cells(const std::string& table) {
    std::istringstream lines(table);
    std::vector<std::string> events;
    std::vector<Cell> found;
    for (std::string line; std::getline(lines, line);) {
        const std::vector<std::string> columns = words(line);
        if (columns.empty()) continue;
        if (events.empty()) {
            events = columns;
            continue;
        }
        if (columns.size() != events.size() + 1) throw std::logic_error("a table's line is not complete: " + line);
        for (std::size_t i = 1; i < columns.size(); ++i) found.push_back({columns[0], events[i - 1], columns[i]});
    }
    return found;
}

}  // namespace cuda_nspawn::testing
