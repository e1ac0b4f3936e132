// A job: one wish of a caller, until it came true or did not. Finished jobs stay readable for a minute.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "engine/ports.hpp"
#include "policy/policy.hpp"

namespace cuda_nspawn {

enum class JobKind { attach, detach, self_test };
enum class JobState { running, ended };
enum class JobResult { none, done, failed, cancelled, superseded };
std::string_view to_string(JobKind kind);
std::string_view to_string(JobState state);
std::string_view to_string(JobResult result);

struct JobOptions {
    bool start = false;  // start the machine when it does not run
    bool test = false;   // a verdict decides the result
    bool fresh = false;  // a verdict of this instance that is there already is not enough
    bool operator==(const JobOptions&) const = default;
};

struct Job {
    unsigned id = 0;
    JobKind kind = JobKind::attach;
    std::string machine;
    JobOptions options;
    JobState state = JobState::running;
    JobResult result = JobResult::none;
    unsigned step = 0;   // what it is at, from 1 as soon as something is; only grows
    unsigned steps = 0;  // how many there are in all, as far as is known; never less
    std::string text;    // what is being done, or how it ended
    std::vector<Change> changes;
    std::uint64_t ended_usec = 0;
    bool applied = false;
    bool offline = false;  // of a machine that does not run: ends with its worker, whatever else becomes of the machine
    bool start_tried = false;
    bool test_tried = false;             // in this instance, with what it has now
    bool is_explained = false;           // it has failed, and its cause is looked for
    std::optional<SelfTestLevel> level;  // of its test; nothing: the policy's
    std::vector<std::function<void(const Job&)>> on_applied;
    std::vector<std::function<void(const Job&)>> on_ended;
    // What becomes of that machine ends it.
    bool waits_for(const std::string& name) const { return machine == name && state == JobState::running && !offline; }
    // And may still end in one way or another.
    bool is_open_for(const std::string& name) const { return waits_for(name) && !is_explained; }
};

// A wish that cannot be taken: `name` is the D-Bus error's last part ("NoSuchMachine"), what() the sentence.
class JobRefused : public std::runtime_error {
public:
    JobRefused(std::string name, const std::string& text) : std::runtime_error(text), name_(std::move(name)) {}
    const std::string& name() const { return name_; }

private:
    std::string name_;
};

}  // namespace cuda_nspawn
