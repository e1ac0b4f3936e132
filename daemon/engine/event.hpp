// What is told of machines, driver and daemon: a closed list, with what the journal needs of each. Entries of the
// journal's catalog, "what happened, what to do", are in units/cuda-nspawn.catalog, one for each id. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cuda_nspawn {

enum class Severity { debug, info, notice, warning, error };
// As syslog(3), journald and sd-daemon(3) number them: 7 is debug, 3 is error.
int priority(Severity severity);

enum class Event {
    // Policies
    policy_read,
    policy_invalid,
    policy_removed,
    policy_ignored,
    // What is found in an image and beside it
    image_seen,
    guest_warning,
    machine_blocked,
    settings_refused,
    settings_note,
    // What is done for a machine
    exposure_made,
    exposure_removed,
    machine_started,
    machine_ended,
    rules_set,
    driver_mounted,
    set_up_attended,
    attached,
    detached,
    step_failed,
    // Self-tests and what follows them
    self_test_passed,
    self_test_degraded,
    self_test_failed,
    self_test_without_verdict,
    detached_on_failure,
    stopped_on_failure,
    stop_failed,
    // Jobs
    job_begun,
    job_done,
    job_failed,
    job_withdrawn,
    // The driver and its copies
    driver_found,
    driver_changed,
    driver_problem,
    driver_note,
    generation_made,
    generation_failed,
    generation_damaged,
    generations_kept,
    modules_failed,
    // The daemon's own work
    worker_retried,
    worker_failed,
    guest_program_said,
    changes_unnoticed,
    holders_incomplete,
    verification_begun,
};

struct EventKind {
    Event event;
    std::string_view name;  // for people: cuda-nspawnd(8)
    Severity severity;
    std::string_view message_id;  // sd_journal_send(3), made once by systemd-id128(1)
};

std::span<const EventKind> event_kinds();  // in the order of the list
const EventKind& kind_of(Event event);

// What a line carries beside machine and text, to be filtered by; empty: it does not apply. The journal's names are
// these in capitals after CUDA_NSPAWN_.
struct EventFields {
    std::string driver = {};      // version
    std::string generation = {};  // name
    std::string verdict = {};     // passed, degraded, failed, no-verdict
    std::string finding = {};     // code of a cause: cuda-nspawn-findings(7)
    std::string job = {};         // id
    std::string result = {};      // of a job
    std::string step = {};        // that failed
};

struct Message {
    Event event;
    std::string machine = {};  // empty: about none
    std::string text = {};     // one sentence
    EventFields fields = {};
};

// The line as people read it.
std::string line_of(std::string_view machine, std::string_view text);

// The fields of a journal entry, each "NAME=value", as sd_journal_sendv(3) takes them. Whatever a guest has in a value,
// it is one line and one field.
std::vector<std::string> journal_fields(Severity severity, std::string_view machine, std::string_view text);
std::vector<std::string> journal_fields(const Message& message);

}  // namespace cuda_nspawn
