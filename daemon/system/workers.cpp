#include "system/workers.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "system/files.hpp"
#include "system/log.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn {

namespace {

constexpr unsigned retry_limit = 2;
constexpr std::uint64_t retry_delay_usec = 200'000;

bool is_resident(const std::string& verb) { return verb == "expose" || verb == "look"; }

// A little more than the longest time limit of the workers themselves, over all attempts: a request that hangs is not
// worth another time of it.
std::uint64_t deadline_seconds(const std::string& verb) { return is_resident(verb) ? 35 : 660; }

// What is done in different machines has nothing to do with each other, but each self-test has a CUDA context. What
// the others do touches the same files, and what waits meanwhile goes out as one request (LivePorts).
std::size_t limit_of(const std::string& verb) { return verb == "test" || verb == "mount" ? 8 : 1; }

constexpr const char* ended_text = "it was ended, since nobody waits for it any more";

std::string unit_of(const std::string& verb, const std::string& id) {
    return fmt::format("cuda-nspawn-{}@{}.service", verb, id);
}

std::string without_report(const std::string& unit) {
    return fmt::format("{} left no report: see journalctl -u {}", unit, unit);
}

std::uint64_t now_usec() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
}

}  // namespace

Workers::Id Workers::run(const std::string& verb, const std::string& text, Done reply) {
    Request request;
    const Id id = request.id = next_request_++;
    request.verb = verb;
    request.text = text;
    request.reply = std::move(reply);
    lanes_[verb].waiting.push_back(std::move(request));
    begin_waiting(verb);
    return id;
}

void Workers::begin_waiting(const std::string& verb) {
    Lane& lane = lanes_[verb];
    while (!lane.waiting.empty() && lane.under_way.size() < limit_of(verb)) {
        const auto request = lane.under_way.insert(lane.under_way.end(), std::move(lane.waiting.front()));
        lane.waiting.pop_front();
        request->begun_usec = now_usec();
        const std::uint64_t seconds = deadline_seconds(verb);
        request->deadline = loop_.after(seconds * 1'000'000, [this, request, seconds] {
            finish(
                request, "",
                fmt::format("{} did not answer in {} s: see journalctl -u {}", request->unit, seconds, request->unit));
        });
        make(request);
    }
}

void Workers::make(Place request) {
    if (is_resident(request->verb))
        call(request);
    else
        start_unit(request);
}

// --- resident workers ------------------------------------------------------------------------------------------------

void Workers::call(Place request) {
    request->unit = fmt::format("cuda-nspawn-{}.service", request->verb);
    try {
        request->call =
            std::make_unique<WorkerCall>(loop_, work_directory_ / (request->verb + ".socket"), request->text,
                                         [this, request](const std::optional<std::string>& report) {
                                             if (report) return finish(request, *report, parse_failure(*report));
                                             retry_or_fail(request, without_report(request->unit));
                                         });
    } catch (const std::system_error& error) {
        const std::string unit = fmt::format("cuda-nspawn-{}.socket", request->verb);
        fail_later(request, fmt::format("{} does not listen ({}): start it, or see systemctl status {}", unit,
                                        error.code().message(), unit));
    }
}

// --- workers that are units of their own -----------------------------------------------------------------------------

void Workers::start_unit(Place request) {
    // The process id keeps a daemon that was restarted apart from what its predecessor left running.
    const std::string id = fmt::format("{}-{}-{}", request->verb, ::getpid(), next_++);
    try {
        write_file_atomically(work_directory_ / (id + ".request"), request->text);
    } catch (const std::runtime_error& error) {
        return fail_later(request, error.what());
    }
    request->unit = unit_of(request->verb, id);
    request->base = id;
    systemd_.start_unit(request->unit,
                        [this, verb = request->verb, id](const JobEnd& end) { unit_ended(verb, id, end); });
}

void Workers::unit_ended(const std::string& verb, const std::string& id, const JobEnd& end) {
    const std::string report = read_file(work_directory_ / (id + ".result")).value_or("");
    remove_files(id);
    std::list<Request>& under_way = lanes_[verb].under_way;
    const auto request = std::find_if(under_way.begin(), under_way.end(),
                                      [&](const Request& one) { return one.unit == unit_of(verb, id); });
    if (request == under_way.end()) return;  // it was given up
    if (request->ended) return;              // its stop tells when nothing of it runs any more
    if (!report.empty()) return finish(request, report, parse_failure(report));
    // What fails by itself says why in its report. One that came to its time limit would do so again.
    if (end.result == "failed") return retry_or_fail(request, end.failure);
    finish(request, "", end.failure.empty() ? without_report(request->unit) : end.failure);
}

void Workers::end(const std::string& verb, Id id) {
    Lane& lane = lanes_[verb];
    const auto has_id = [id](const Request& one) { return one.id == id; };
    const auto under_way = std::find_if(lane.under_way.begin(), lane.under_way.end(), has_id);
    if (under_way != lane.under_way.end()) return stop_unit(under_way);
    const auto waiting = std::find_if(lane.waiting.begin(), lane.waiting.end(), has_id);
    if (waiting == lane.waiting.end()) return;
    loop_.defer([reply = std::move(waiting->reply)] { reply("", ended_text); });
    lane.waiting.erase(waiting);
}

void Workers::stop_unit(Place request) {
    if (std::exchange(request->ended, true)) return;
    // Between two attempts there is no unit.
    if (request->timer) return fail_later(request, ended_text);
    systemd_.run_job("StopUnit", request->unit, [this, verb = request->verb, id = request->id](const std::string&) {
        std::list<Request>& under_way = lanes_[verb].under_way;
        const auto stopped =
            std::find_if(under_way.begin(), under_way.end(), [id](const Request& one) { return one.id == id; });
        if (stopped == under_way.end()) return;
        remove_files(stopped->base);
        finish(stopped, "", ended_text);
    });
}

void Workers::remove_files(const std::string& base) const {
    std::error_code ignored;
    for (const char* suffix : {".result", ".result.new", ".request"})
        std::filesystem::remove(work_directory_ / (base + suffix), ignored);
}

// --- ends ------------------------------------------------------------------------------------------------------------

void Workers::retry_or_fail(Place request, const std::string& failure) {
    if (request->retries == retry_limit) return finish(request, "", failure);
    ++request->retries;
    log({Event::worker_retried, "", fmt::format("{}; retry {} of {}", failure, request->retries, retry_limit)});
    request->timer = loop_.after(retry_delay_usec, [this, request] {
        const EventLoop::Timer keep = std::exchange(request->timer, nullptr);
        make(request);
    });
}

void Workers::fail_later(Place request, const std::string& failure) {
    request->timer = loop_.after(0, [this, request, failure] { finish(request, "", failure); });
}

void Workers::finish(Place request, const std::string& report, const std::string& failure) {
    log(Severity::debug, "",
        fmt::format("worker {}: {:.1f} ms", request->verb,
                    static_cast<double>(now_usec() - request->begun_usec) / 1000));
    // What it owns goes with it: connection and timers call no more.
    Lane& lane = lanes_[request->verb];
    std::list<Request> ended;
    ended.splice(ended.end(), lane.under_way, request);
    request->call.reset();
    request->deadline.reset();
    request->timer.reset();
    begin_waiting(request->verb);
    request->reply(report, failure);
}

}  // namespace cuda_nspawn
