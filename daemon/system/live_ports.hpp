// The engine's ports on a real host: systemd, machined and the workers. Requests that come within one turn of the loop,
// or while others of their kind are under way, go out together: a thousand machines cost a handful of requests.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/ports.hpp"
#include "system/event_loop.hpp"
#include "system/machined.hpp"
#include "system/systemd.hpp"
#include "system/unit_follower.hpp"
#include "system/workers.hpp"
#include "worker/diagnosis_protocol.hpp"

namespace cuda_nspawn {

class LivePorts final : public Ports {
public:
    struct Places {
        std::filesystem::path root = "/";                    // for unit directories
        std::filesystem::path runtime = "/run/cuda-nspawn";  // work/ and state/ below it
        std::filesystem::path proc = "/proc";
    };
    LivePorts(EventLoop& loop, Systemd& systemd, Machined& machined, Workers& workers, Places places)
        : loop_(loop),
          systemd_(systemd),
          machined_(machined),
          workers_(workers),
          places_(std::move(places)),
          follower_(systemd, places_.runtime / "state") {}

    // Called when start() learns of the new instance before machined's signal was handled.
    std::function<void(const std::string&, const Instance&)> on_instance;
    // Called when systemd was asked to set rules: it takes milliseconds until it answers.
    std::function<void()> on_rules_sent;
    // Generations that the store keeps besides the one being built.
    std::function<std::vector<std::string>()> generations_in_use;

    void look(const std::string& machine, Reply<Looked> reply) override;
    bool has_generation(const std::string& generation) const override;
    std::string find_generation(const std::string& version) const override;
    void build(const Driver& driver, const std::string& generation, Reply<std::string> reply) override;
    void collect() override;
    // Compares what is in use with the driver's files, byte by byte, and copies again what is damaged.
    void verify_store(std::function<void(const StoreReport&, const std::string& failure)> reply);
    void expose(const Plan& plan, ExposeMode mode, Reply<Exposed> reply) override;
    void reload_units(const std::string& machine, Reply<std::string> reply) override;
    void grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) override;
    void plan_grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) override;
    bool has_mounts(const Instance& instance) const override;
    unsigned find_root(const Instance& instance) const override;
    void mount(const std::string& machine, Reply<Mounted> reply) override;
    void clean(const std::string& machine, Reply<Cleaned> reply) override;
    void release(const Instance& instance, Reply<std::string> reply) override;
    void start(const std::string& machine, Reply<std::string> reply) override;
    void stop(const Instance& instance, Reply<std::string> reply) override;
    void follow(const std::string& machine, bool active) override { follower_.follow(machine, active); }
    void follow_again(const std::string& machine) override { follower_.follow_again(machine); }
    bool is_stopping_unit(const std::string& machine) const override { return follower_.is_stopping(machine); }
    void test(const TestRequest& request, Reply<Tested> reply) override;
    void end_test(const std::string& machine) override;
    void holders(const HoldersRequest& request, Reply<Holders> reply) override;
    void examine(const Question& question, Reply<Examination> reply) override;
    void audit(bool raw_images, Reply<Audit> reply) override;
    void remember(const std::string& machine, const Remembered& state) override;
    void forget(const std::string& machine) override;
    std::uint64_t now_usec() const override;

private:
    // What waits for the end of this turn of the loop, or of the batch before it, and is sent as one.
    template <class Item>
    struct Batch {
        std::vector<Item> items;
        bool scheduled = false;  // or under way
    };
    template <class Item>
    void gather(Batch<Item>& batch, Item item, void (LivePorts::*send)());
    template <class Item>
    void send_next(Batch<Item>& batch, void (LivePorts::*send)());  // the batch before it has come to its end
    // One request to a worker whose report has a `failure` of its own.
    template <class Report>
    Workers::Id ask(const std::string& verb, const std::string& request, Report (*parse)(std::string_view),
                    Reply<Report> reply);
    void send_looks();
    void send_exposures();
    void send_dry_runs();
    void send_diffs();
    using Exposures = Batch<std::pair<Plan, Reply<Exposed>>>;
    void send_exposures_of(Exposures& batch, ExposeMode mode, void (LivePorts::*send)());
    void send_reloads();
    void send_questions();
    void ask_workers(const SurveyRequest& survey, const ExamineRequest& examine, Reply<Audit> reply);
    void read_unit_state(const Question& question, const Examination& examination, const Reply<Examination>& reply);
    void read_unit(const std::string& machine, Looked looked, Reply<Looked> reply);
    bool has_unit_overrides(const std::string& machine) const;
    void replace_rules(const std::string& unit, const Rules& rules, Reply<Granted> reply);
    void add_rules(const std::string& unit, const Rules& rules, Reply<Granted> reply);
    void note_control_file(const std::string& unit, const DeviceRules& own, const Rules& rules) const;
    std::filesystem::path control_state(const std::string& unit) const;

    EventLoop& loop_;
    Systemd& systemd_;
    Machined& machined_;
    Workers& workers_;
    Places places_;
    UnitFollower follower_;
    Batch<std::pair<std::string, Reply<Looked>>> looks_;
    Exposures exposures_;
    Exposures dry_runs_;
    Exposures diffs_;
    std::map<std::string, Workers::Id> tests_;  // the last one of each machine
    Batch<std::pair<std::string, Reply<std::string>>> reloads_;
    Batch<std::pair<Question, Reply<Examination>>> questions_;
};

// The worker is asked before the bus is told that it will be: it works meanwhile.
template <class Item>
void LivePorts::gather(Batch<Item>& batch, Item item, void (LivePorts::*send)()) {
    batch.items.push_back(std::move(item));
    if (!std::exchange(batch.scheduled, true)) loop_.defer_first([this, send] { (this->*send)(); });
}

template <class Item>
void LivePorts::send_next(Batch<Item>& batch, void (LivePorts::*send)()) {
    batch.scheduled = !batch.items.empty();
    if (batch.scheduled) loop_.defer([this, send] { (this->*send)(); });
}

}  // namespace cuda_nspawn
