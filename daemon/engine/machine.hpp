// One machine as the engine knows it: wishes, facts, and the rule that picks the next step. Level-triggered: the step
// is always derived from the present difference between wish and fact, so events may come in any order and be missed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "doctor/finding.hpp"
#include "engine/ports.hpp"
#include "plan/plan.hpp"
#include "policy/policy.hpp"

namespace cuda_nspawn {

// What is done next for a machine. At most one is under way; the self-test alone runs beside the others, so that a
// hanging one never keeps the door open.
enum class Step {
    none,     // facts are as wished, or a failure waits for a new wish or event
    look,     // nothing is known of image and unit: ask the worker that reads them
    expose,   // files, links and nodes differ from the plan
    grant,    // the running unit's device rules differ from the plan (or are not known)
    mount,    // it runs without our mounts, or nothing in it would do the set-up
    reload,   // a drop-in of a unit changed that systemd has loaded
    release,  // the machine ended: what a grant left in systemd's control directory goes
    start,    // a job wants the machine to run
};
std::string_view to_string(Step step);

// What D-Bus shows as State. Each word's sentence is in docs/design.md, "States of a machine".
enum class State { invalid, blocked, preparing, ready, starting, attached, detached, failed };
std::string_view to_string(State state);

// Who makes what the host offers usable in the guest.
enum class SetUp {
    unknown,   // as yet
    itself,    // its systemd does, at its start and when the epoch changes
    attended,  // a worker has to, whenever the epoch changes
};

struct Machine {
    std::string name;

    // Wishes
    std::optional<Policy> policy;           // the last good one
    std::vector<Diagnostic> policy_errors;  // of the file as it is now
    bool revoked = false;                   // Detach: until this instance ends
    bool start_wanted = false;
    bool test_wanted = false;
    bool test_asked = false;         // jobs want it
    std::optional<bool> follow_due;  // its unit is to be active, when all is given; or not, when the rules are taken

    // Facts
    std::optional<Image> image;   // nothing: has to be looked at
    Planned planned;              // from policy, driver, image and revoked: see Engine::replan()
    std::optional<Plan> exposed;  // what is on disk; nothing: not known, or changed by somebody
    std::vector<Plan> on_disk;    // those that may be there, whatever is known: the last, and the one under way
    bool half_exposed = false;    // a failed exposure may have changed files and units without saying so
    std::vector<std::string> expose_errors;
    std::vector<std::string> notes;           // of the settings' composing
    std::vector<std::string> guest_warnings;  // of the last look
    std::uint64_t epoch = 0;
    bool reload_due = false;
    std::uint64_t rules_since_usec = 0;  // since when a start of the unit takes over the plan's rules; 0: it does not
    std::optional<Instance> instance;    // running
    std::vector<Instance> ended;         // to be released
    std::vector<Instance> unreleased;    // that failed, and another instance ran: tried again when it has ended
    bool mounted = true;                 // the instance has the two mounts
    SetUp set_up = SetUp::unknown;       // who does it in the instance
    std::uint64_t attended_epoch = 0;    // the last that a worker did it for
    std::optional<unsigned> root;        // what user the instance's root is on the host, once that matters
    std::optional<std::vector<DeviceNode>> granted;  // rules in force on the instance; nothing: not known
    bool rules_inherited = false;                    // unknown, but the instance began with what its unit shows
    std::vector<DeviceNode> lent;                    // all that the instance was ever given
    // Somebody may have changed what is known of them: to be verified, while the machine stays what it is.
    bool exposed_in_doubt = false;
    bool granted_in_doubt = false;
    Verdict verdict;  // of this instance; kept after it ended until the next start
    std::uint64_t tested_usec = 0;
    std::string failure;  // of the last step that failed
    Step failed_step = Step::none;
    std::optional<State> told;  // attached or detached, as the journal has it of this instance
    std::string image_told;     // what it has of the image
    std::string obstacles_told;
    Findings findings = {};  // of the last diagnosis; none since something has begun that may mend it

    bool on_hold = false;  // the plan is not final: nothing is given or taken

    // Under way
    Step under_way = Step::none;
    bool testing = false;
    bool tested_for_jobs = false;  // the test is no wish of the machine's own
    bool test_ended = false;       // nobody wants it any more: what it says does not count
    bool disturbed = false;        // the test saw files or rules change
    bool look_overtaken = false;   // image or settings changed while a look was under way

    void forget_image();  // what a look that is under way has read may be old already
    bool is_to_be_tested() const { return policy && policy->self_test != SelfTestLevel::off; }
    bool is_granted() const { return exposed && !exposed->nodes.empty() && expose_errors.empty(); }
    std::vector<DeviceNode> wanted_nodes() const;  // what the running instance shall be able to open
    bool lacks_mounts() const;                     // or somebody who does the set-up now
    bool only_opens() const;  // what the running instance can open is known, and all of it is wanted
    std::vector<std::string> warnings() const;
    std::string obstacle() const;  // why there is nothing to grant; empty if there is
    State state(bool generation_pending) const;
    std::string state_text(bool generation_pending) const;
};

// The rule. Closing comes before taking away, giving before opening.
Step next_step(const Machine& machine);

// The facts as they are when that step is done, as far as that is known before.
void assume_done(Machine& machine, Step step);

// Whether the self-test should begin now.
bool test_is_due(const Machine& machine);

}  // namespace cuda_nspawn
