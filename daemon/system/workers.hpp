// The workers as the daemon sees them: a request in JSON, a report or a failure. `expose` and `look` stay a while and
// are asked over the socket of their unit; of every other verb each request is a unit, with a request and a result
// file. Requests wait their turn, first in, first out; one whose worker was killed is made again, as all may be made
// twice.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "engine/ports.hpp"
#include "system/event_loop.hpp"
#include "system/systemd.hpp"
#include "system/worker_call.hpp"

namespace cuda_nspawn {

class Workers {
public:
    using Done = std::function<void(std::string report, std::string failure)>;

    Workers(EventLoop& loop, Systemd& systemd, std::filesystem::path work_directory)
        : loop_(loop), systemd_(systemd), work_directory_(std::move(work_directory)) {}

    using Id = unsigned long;

    // The reply has the report, or a failure as a sentence.
    Id run(const std::string& verb, const std::string& text, Done reply);
    // Of a verb whose requests are units. One that is under way has its unit stopped, and fails when nothing of it runs
    // any more. One that has ended is left alone.
    void end(const std::string& verb, Id id);

private:
    struct Request {
        Id id = 0;
        std::string verb;
        std::string text;
        Done reply;
        std::string unit;    // of this attempt
        std::string base;    // of its files' names, if its unit is of its own
        bool ended = false;  // by end()
        unsigned retries = 0;
        std::uint64_t begun_usec = 0;      // CLOCK_MONOTONIC
        std::unique_ptr<WorkerCall> call;  // of a resident worker, while it is asked
        EventLoop::Timer deadline;         // nothing that hangs keeps the others waiting for ever
        EventLoop::Timer timer;            // until it is made again, or fails
    };
    struct Lane {
        std::deque<Request> waiting;
        std::list<Request> under_way;  // callbacks refer to them, so they stay where they are
    };
    using Place = std::list<Request>::iterator;

    void begin_waiting(const std::string& verb);
    void make(Place request);
    void call(Place request);
    void start_unit(Place request);
    void stop_unit(Place request);
    void remove_files(const std::string& base) const;
    void unit_ended(const std::string& verb, const std::string& id, const JobEnd& end);
    void retry_or_fail(Place request, const std::string& failure);
    void fail_later(Place request, const std::string& failure);
    void finish(Place request, const std::string& report, const std::string& failure);

    EventLoop& loop_;
    Systemd& systemd_;
    std::filesystem::path work_directory_;
    std::map<std::string, Lane> lanes_;  // by verb
    unsigned long next_ = 1;
    Id next_request_ = 1;
};

}  // namespace cuda_nspawn
