// What the engine asks of the world, in its own words. Every call returns at once; the answer comes later through the
// reply, exactly once, never from within the call. An empty `failure` means it worked; otherwise it is a sentence.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "doctor/evidence.hpp"
#include "driver/driver.hpp"
#include "engine/event.hpp"
#include "guest/verdict.hpp"
#include "plan/plan.hpp"

namespace cuda_nspawn {

template <class T>
using Reply = std::function<void(T)>;

// One run of a machine, from MachineNew to MachineRemoved.
struct Instance {
    std::string unit;              // systemd-nspawn@NAME.service, or a scope for a hand-started machine
    unsigned leader = 0;           // the guest's PID 1 as the host sees it
    std::uint64_t since_usec = 0;  // CLOCK_REALTIME, as machined has it
    bool operator==(const Instance&) const = default;
};

// A thing that was changed (or would be): ("create", "/run/…/dev/nvidia0", "195:0").
struct Change {
    std::string type;  // create, replace, remove; allow, deny; mount, start
    std::string path;  // of allow and deny the rule, of mount and start the unit
    std::string detail;
    bool operator==(const Change&) const = default;
};

struct Looked {
    Image image;
    std::string failure;
};

struct Exposed {
    std::vector<Change> changes;
    std::vector<std::string> notes;
    std::vector<std::string> errors;  // the admin's settings file cannot be composed
    std::uint64_t epoch = 0;          // the set-up in the guest has done its work when it reports this one
    bool units_changed = false;       // a unit's drop-in changed
    bool incomplete = false;          // the rest may only go when nothing names it any more: expose again
    std::string failure;
};

enum class ExposeMode {
    make,
    plan,  // say what would be done, and do nothing
    diff,  // the same; the detail of a change to a text file is its unified diff
};

struct Rules {
    std::vector<DeviceNode> ours;     // every node for which a rule may be there because of us
    std::vector<DeviceNode> granted;  // those for which there shall be one
    // What systemd shows is what the kernel has: then nothing is set if it shows the right thing. After a daemon-reload
    // it shows the unit's files, and the running cgroup stays as it is.
    bool shown_is_in_force = false;
    // What is in force, if that is known and none of it shall go: then the rest is added, and nothing has to be read
    // before.
    std::optional<std::vector<DeviceNode>> in_force = {};
};

struct Granted {
    std::vector<Change> changes;
    std::string failure;
};

struct Mounted {
    // Its first process is no systemd: the set-up was done in it for this once, and has to be at each change.
    bool attended = false;
    std::string failure;
};

struct TestRequest {
    std::string machine;
    SelfTestLevel level = SelfTestLevel::quick;
    std::vector<DeviceNode> nodes;    // every NVIDIA node of the host
    std::vector<DeviceNode> granted;  // those of them the machine may open
    std::uint64_t epoch = 0;
};

struct Tested {
    TestRun run;
    std::vector<std::string> violations;  // what the isolation probe found wrong, as sentences
    std::string failure;                  // the worker itself failed
};

struct HoldersRequest {
    std::vector<DeviceNode> nodes;             // whose holders are wanted
    std::map<std::string, std::string> units;  // machine → the unit it runs in, of all that run
    std::string machine;                       // this one's processes only; empty: all, the host's own too
};

// A process that has NVIDIA devices open. Closing a machine's device rules does not close these.
struct Holder {
    std::string machine;  // empty: of the host itself
    unsigned pid = 0;     // as the host sees it
    unsigned pid_in_machine = 0;
    std::string name;                // printable; the process gives it to itself
    std::vector<std::string> nodes;  // their names
    bool operator==(const Holder&) const = default;
};

struct Holders {
    std::vector<Holder> holders;
    std::vector<std::string> notes;  // what was not looked at
    std::string failure;
};

// What was taken out of a root file system whose machine does not run.
struct Cleaned {
    std::vector<Change> changes;
    std::string failure;
};

// A generation of the store, compared byte by byte with the files it was copied from.
struct StoredGeneration {
    std::string generation;
    std::string result;  // intact; rebuilt: it was damaged; damaged: and cannot be copied again; unknown
    std::string text;    // what was found
    bool operator==(const StoredGeneration&) const = default;
};
using StoreReport = std::vector<StoredGeneration>;

// What a diagnosis asks of the world, about one machine.
struct Question {
    std::string machine;
    std::optional<Instance> instance = {};         // while it runs
    std::string program = {};                      // a path in the guest; empty: none is asked about
    std::optional<std::string> library_path = {};  // LD_LIBRARY_PATH of that program
};

struct Examination {
    HostEvidence host = {};
    MachineEvidence on_host = {};
    std::string image = {};           // empty: there is none
    std::optional<Guest> guest = {};  // nothing: not looked into (a raw image)
    std::optional<GuestSoftware> software = {};
    std::optional<Program> program = {};
    bool start_failed = false;                                  // its unit is failed
    std::optional<std::vector<std::string>> device_rules = {};  // of the running unit, "/dev/char/195:0 rw"
    std::string image_failure = {};                             // why the image was not looked into
    std::string failure = {};                                   // nothing at all could be collected
};

// The same of all images that there are, without what only a running machine has, and without logs.
struct Audit {
    HostEvidence host;
    std::map<std::string, Examination> machines;
    std::string failure;
};

// What must survive a restart of the daemon, per running machine.
struct Remembered {
    Instance instance;
    bool revoked = false;
    Verdict verdict;
    std::uint64_t tested_usec = 0;
    std::vector<DeviceNode> lent = {};  // all that the instance was ever given; written before it is given
    bool operator==(const Remembered&) const = default;
};

class Ports {
public:
    virtual ~Ports() = default;
    virtual void look(const std::string& machine, Reply<Looked> reply) = 0;
    virtual bool has_generation(const std::string& generation) const = 0;  // complete in the store
    // A complete one of that driver version; empty if there is none.
    virtual std::string find_generation(const std::string& version) const = 0;
    virtual void build(const Driver& driver, const std::string& generation, Reply<std::string> reply) = 0;
    // Removes the generations that nobody uses any more. Needs no answer.
    virtual void collect() = 0;
    virtual void expose(const Plan& plan, ExposeMode mode, Reply<Exposed> reply) = 0;
    // Asks systemd to read its units again, if a changed one is loaded.
    virtual void reload_units(const std::string& machine, Reply<std::string> reply) = 0;
    // Makes the running unit's DeviceAllow its own list, less any of `nodes`, plus `granted`.
    virtual void grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) = 0;
    // What grant() would change now; nothing is set.
    virtual void plan_grant(const Instance& instance, const Rules& rules, Reply<Granted> reply) = 0;
    // Whether the instance has the two mounts: those started without our settings do not.
    virtual bool has_mounts(const Instance& instance) const = 0;
    // What user its root is on the host: another than 0 where it has user namespaces.
    virtual unsigned find_root(const Instance& instance) const = 0;
    // Gives them to one that runs without, and lets its own PID 1 begin the set-up, or does it.
    virtual void mount(const std::string& machine, Reply<Mounted> reply) = 0;
    // The machine has ended: what grant() left behind for that unit goes.
    virtual void release(const Instance& instance, Reply<std::string> reply) = 0;
    virtual void start(const std::string& machine, Reply<std::string> reply) = 0;
    virtual void stop(const Instance& instance, Reply<std::string> reply) = 0;
    // cuda-nspawn@NAME.service shall be active (its start asks for a verdict) or not. Needs no answer.
    virtual void follow(const std::string& machine, bool active) = 0;
    // The same after a restart of the daemon: the unit is started only if it rests. One that is being stopped is being
    // stopped by an admin, and one that failed told so.
    virtual void follow_again(const std::string& machine) = 0;
    // follow() is just stopping it.
    virtual bool is_stopping_unit(const std::string& machine) const = 0;
    virtual void test(const TestRequest& request, Reply<Tested> reply) = 0;
    // Ends the last one that was begun there. Its own reply tells, as ever, when nothing of it runs any more.
    virtual void end_test(const std::string& machine) = 0;
    virtual void holders(const HoldersRequest& request, Reply<Holders> reply) = 0;
    // Of a machine that does not run: what an instance that was killed left of ours in its root file system goes.
    virtual void clean(const std::string& machine, Reply<Cleaned> reply) = 0;
    virtual void examine(const Question& question, Reply<Examination> reply) = 0;
    virtual void audit(bool raw_images, Reply<Audit> reply) = 0;
    virtual void remember(const std::string& machine, const Remembered& state) = 0;
    virtual void forget(const std::string& machine) = 0;
    virtual std::uint64_t now_usec() const = 0;  // CLOCK_REALTIME
};

// Who hears what the engine does: the bus and the journal.
class Observer {
public:
    virtual ~Observer() = default;
    virtual void machine_added(const std::string& machine) = 0;
    virtual void machine_changed(const std::string& machine) = 0;
    virtual void machine_removed(const std::string& machine) = 0;
    virtual void driver_changed() = 0;
    virtual void job_added(unsigned id) = 0;
    virtual void job_changed(unsigned id) = 0;
    virtual void job_ended(unsigned id) = 0;
    virtual void job_forgotten(unsigned id) = 0;
    virtual void message(const Message& message) = 0;
};

}  // namespace cuda_nspawn
