// The engine: all machines, the driver in force, and the jobs. Knows no bus and opens no file; talks through Ports.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "doctor/diagnose.hpp"
#include "engine/job.hpp"
#include "engine/machine.hpp"
#include "engine/ports.hpp"

namespace cuda_nspawn {

struct Diagnosis {
    Findings findings;
    std::string failure;  // the evidence could not be collected; then there are none
};

struct AuditedMachine {
    std::string machine;
    std::string image;
    std::string os;  // the guest's name of itself
    bool has_policy = false;
    Findings findings;
};
struct AuditReport {
    std::vector<AuditedMachine> machines;
    std::string failure;
};

// What is asked of Engine::plan().
struct PlanRequest {
    std::string machine;
    bool detach = false;                // else attach
    bool start = false;                 // the machine, too, when it does not run
    bool diff = false;                  // of text files, as their changes' details
    std::optional<Policy> policy = {};  // as if its file said this; there need be none
    bool without_policy = false;        // as if there were none
};

struct PlannedChanges {
    std::vector<Change> changes;
    std::string failure;
};

// One policy file as it is now: a policy, or what is wrong with it.
struct PolicyFile {
    std::string machine;
    PolicyResult result;
};

class Engine {
public:
    Engine(Ports& ports, Observer& observer) : ports_(ports), observer_(observer) {}

    // Inputs. Each may come at any time and in any order.
    void set_policies(const std::vector<PolicyFile>& files);  // all there are; a machine not named has none any more
    // Of one machine, of the others nothing. `written`: somebody wrote that file, so what failed is done again, as it
    // is when all are set.
    void set_policy(const std::string& name, const std::optional<PolicyFile>& file, bool written = false);
    // Something of ours is there for a machine that may have no policy any more: then it is removed. After
    // set_policies().
    void adopt_leftover(const std::string& name);
    void set_driver(Driver driver);
    void machine_started(const std::string& name, const Instance& instance);
    void machine_ended(const std::string& name);
    // All that machined knows now: machines that ended or started unseen are found by comparison.
    void set_instances(const std::map<std::string, Instance>& instances);
    // From before a restart of the daemon. After set_instances(), before the policies.
    void restore(const std::string& name, const Remembered& state);
    void image_changed(const std::string& name);  // image or the admin's settings or unit overrides: look again
    // Of all machines: whether what is on disk and in the device rules still is what was made. What is not is mended.
    void verify_all();
    void forget_old_jobs();  // finished a minute ago
    // When everything is settled: asks the store to remove what nobody uses any more, if there may be something.
    void collect_if_due();

    // Verbs. Throw JobRefused with a sentence; otherwise the job is there when they return.
    unsigned attach(const std::string& name, const JobOptions& options);
    // `by_unit`: because cuda-nspawn@NAME.service is being stopped, which is nobody's wish if we stop it ourselves.
    unsigned detach(const std::string& name, bool by_unit = false);
    // Of a machine that does not run: what a killed instance left of ours in its root file system goes.
    unsigned detach_offline(const std::string& name);
    unsigned self_test(const std::string& name, std::optional<SelfTestLevel> level = {});  // nothing: the policy's
    // What attach() or detach() would change from now until its job has ended. Nothing is changed for it.
    void plan(const PlanRequest& request, Reply<PlannedChanges> reply);
    // Ends the job and undoes nothing: a step that is under way is done whole. What it alone wished and was not begun,
    // start and self-test, is not begun; a self-test that runs for it alone is ended.
    void cancel(unsigned job);
    // Who has NVIDIA devices open: of that machine, or of all and the host itself if the name is empty.
    void holders(const std::string& name, Reply<Holders> reply);

    // Why CUDA does not work in it, if it does not; of a name without a policy too. Nothing is started or changed.
    void diagnose(const Question& question, Reply<Diagnosis> reply);
    // The same of all images on the host, without what only a running machine shows.
    void audit(bool raw_images, Reply<AuditReport> reply);

    // A look at the present state.
    const std::map<std::string, Machine>& machines() const { return machines_; }
    const Machine& machine(const std::string& name) const;  // throws JobRefused
    const std::map<unsigned, Job>& jobs() const { return jobs_; }
    // Calls back when the job has applied (files and rules are as wished) or has ended, at once if that is so already.
    void when_applied(unsigned job, std::function<void(const Job&)> callback);
    void when_ended(unsigned job, std::function<void(const Job&)> callback);

    const Driver& driver() const { return driver_; }
    const std::string& generation() const { return generation_; }
    bool generation_pending() const { return building_.has_value(); }
    const std::string& build_failure() const { return build_failure_; }
    // Of driver files that wait for the module's reload or a reboot; empty: none do.
    const std::string& pending_version() const { return pending_version_; }
    std::vector<std::string> generations_in_use() const;
    bool settled() const;  // nothing is under way and nothing is left to do but tests

private:
    struct Planning;
    Machine& find(const std::string& name);
    Machine& add(const std::string& name);
    void take_instance(Machine& machine, const Instance& instance);
    void take_known_instance(Machine& machine);
    static bool inherits_rules(const Machine& machine);
    void apply_policy(const PolicyFile& file);
    void drop_policy(Machine& machine);
    void replan(Machine& machine) { replan(machine, generation_); }
    void replan(Machine& machine, const std::string& generation);
    void replan_all();
    void advance(Machine& machine);
    void begin(Machine& machine, Step step);
    std::vector<DeviceNode> closable_nodes(const Machine& machine) const;
    void follow(Machine& machine, bool active);
    void follow_if_due(Machine& machine, Step next);
    void follow_exposure(Machine& machine, const Plan& plan);
    void step_done(const std::string& name, Step step, const std::string& failure, bool is_wished = true);
    void on_looked(const std::string& name, Looked looked);
    void on_exposed(const std::string& name, const Plan& plan, Exposed exposed);
    Rules rules_for(const Machine& machine) const;
    void begin_grant(Machine& machine);
    void on_granted(const std::string& name, const Instance& instance, const std::vector<DeviceNode>& nodes,
                    const Granted& granted);
    void on_mounted(const std::string& name, const Instance& instance, std::uint64_t epoch, const Mounted& mounted);
    void on_started(const std::string& name, const std::string& failure);
    void begin_test(Machine& machine);
    void on_tested(const std::string& name, const Instance& instance, const Plan& plan, Tested tested);
    void act_on_verdict(Machine& machine);
    void forget_verdict(Machine& machine);
    void test_again(const std::string& name);
    SelfTestLevel asked_level(const Machine& machine) const;
    void keep_fitting_generation(Driver& driver);
    void build_if_needed();
    void begin_build_if_needed();
    void tell_of_driver(bool pending_before);
    void on_built(const std::string& generation, const std::string& failure);
    void refuse_build(const std::string& failure);  // what is in force stays so
    bool mend_generation();
    void verify_machines();
    void add_changes(const std::string& name, const std::vector<Change>& changes);
    void settle_jobs(Machine& machine);
    void wish_attached(Machine& machine, bool fresh);
    static bool wish_detached(Machine& machine);
    void withdraw(Machine& machine) const;
    void forget_oldest_job();
    bool is_tested_for(const Machine& machine, const Job& job) const;
    std::string coming_generation() const;
    Machine machine_to_plan(const PlanRequest& request);
    void plan_on(const std::shared_ptr<Planning>& planning);
    void plan_exposure(const std::shared_ptr<Planning>& planning);
    void plan_rules(const std::shared_ptr<Planning>& planning);
    unsigned steps_ahead(const Machine& machine, const Job& job, bool copying) const;
    void tell(Job& job, const std::string& doing, unsigned ahead);
    void tell_of_step(const Machine& machine, Job& job);
    void tell_while_open(const Machine& machine, Job& job);
    Evidence evidence_of(const std::string& name, const Examination& examined) const;
    void explain_failure(Job& job, const std::string& failure);
    void set_findings(const std::string& name, Findings findings);
    // The journal (story.cpp)
    void tell_policy(const Policy& policy);
    void tell_image(Machine& machine);
    void tell_changes(const std::string& name, const Plan& plan, bool takes, const std::vector<Change>& changes);
    void tell_rules(const Machine& machine, const std::vector<Change>& changes);
    void tell_state(Machine& machine);
    void tell_verdict(const Machine& machine);
    void tell_job(const Job& job);
    void end_job(Job& job, JobResult result, const std::string& text);
    Job& new_job(JobKind kind, const std::string& machine, const JobOptions& options);
    void remember(const Machine& machine);
    void note_that_it_runs(const std::string& name);
    void supersede(const std::string& name, JobKind kept);
    void remove_if_done(const std::string& name);
    bool outcome_is_open(const Machine& machine, const Job& job) const;
    std::pair<JobResult, std::string> outcome(const Machine& machine, const Job& job) const;

    Ports& ports_;
    Observer& observer_;
    std::map<std::string, Machine> machines_;
    std::map<std::string, Instance> instances_;  // all that run, with a policy or without
    std::map<std::string, Instance> ended_unseen_;
    std::map<std::string, Remembered> remembered_;
    std::map<unsigned, Job> jobs_;
    unsigned next_job_ = 1;
    Driver driver_;
    std::string generation_;               // in force: complete in the store
    std::optional<std::string> building_;  // the one being built
    std::string build_failure_;
    bool collect_due_ = true;  // the store may have generations that nobody uses; true at first: from before a restart
    std::string pending_version_;
    bool files_missing_ = false;  // on the host
};

}  // namespace cuda_nspawn
