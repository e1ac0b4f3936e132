#include "system/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/syslog.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <vector>

namespace cuda_nspawn {

namespace {

int least_priority = LOG_INFO;  // syslog's: a higher number is less urgent
constexpr const char* level_words[] = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};

enum class Target { automatic, journal, console, none };
Target target = Target::automatic;
constexpr const char* target_words[] = {"auto", "journal", "console", "null"};

template <class Words>
std::optional<int> place_of(const std::string& word, const Words& words) {
    const auto place = std::find(std::begin(words), std::end(words), word);
    if (place == std::end(words)) return std::nullopt;
    return static_cast<int>(place - std::begin(words));
}

spdlog::level::level_enum level(Severity severity) {
    switch (severity) {
        case Severity::debug:
            return spdlog::level::debug;
        case Severity::info:
        case Severity::notice:
            return spdlog::level::info;
        case Severity::warning:
            return spdlog::level::warn;
        case Severity::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

// sd-daemon(7): JOURNAL_STREAM holds device and inode of the stream that standard error was connected to.
bool stderr_is_journal() {
    static const bool result = [] {
        const char* stream = std::getenv("JOURNAL_STREAM");
        struct stat status{};
        return stream != nullptr && ::fstat(STDERR_FILENO, &status) == 0 &&
               fmt::format("{}:{}", status.st_dev, status.st_ino) == stream;
    }();
    return result;
}

Target target_in_use() {
    if (target != Target::automatic) return target;
    return stderr_is_journal() ? Target::journal : Target::console;
}

spdlog::logger& console() {
    static const auto logger = [] {
        auto made = spdlog::stderr_logger_st("cuda-nspawnd");
        made->set_pattern("%H:%M:%S.%e %l: %v");
        made->set_level(spdlog::level::debug);
        return made;
    }();
    return *logger;
}

void send(std::vector<std::string> fields) {
    std::vector<iovec> parts;
    for (std::string& field : fields) parts.push_back({field.data(), field.size()});
    sd_journal_sendv(parts.data(), static_cast<int>(parts.size()));
}

bool is_logged(Severity severity) { return priority(severity) <= least_priority && target_in_use() != Target::none; }

}  // namespace

void set_log_level(Severity lowest) { least_priority = priority(lowest); }

std::string log_level() { return level_words[least_priority]; }

bool set_log_level(const std::string& level) {
    const auto place = place_of(level, level_words);
    if (place) least_priority = *place;
    return place.has_value();
}

std::string log_target() { return target_words[static_cast<int>(target_in_use())]; }

bool set_log_target(const std::string& word) {
    const auto place = place_of(word, target_words);
    if (place) target = static_cast<Target>(*place);
    return place.has_value();
}

void log(const Message& message) {
    const Severity severity = kind_of(message.event).severity;
    if (!is_logged(severity)) return;
    if (target_in_use() == Target::journal) return send(journal_fields(message));
    console().log(level(severity), line_of(message.machine, message.text));
}

void log(Severity severity, const std::string& machine, const std::string& text) {
    if (!is_logged(severity)) return;
    if (target_in_use() == Target::journal) return send(journal_fields(severity, machine, text));
    console().log(level(severity), line_of(machine, text));
}

}  // namespace cuda_nspawn
