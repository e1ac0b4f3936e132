#include "system/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/syslog.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include <cstdlib>

namespace cuda_nspawn {

namespace {

Severity lowest_severity = Severity::info;

int priority(Severity severity) {
    switch (severity) {
        case Severity::debug:
            return LOG_DEBUG;
        case Severity::info:
            return LOG_INFO;
        case Severity::notice:
            return LOG_NOTICE;
        case Severity::warning:
            return LOG_WARNING;
        case Severity::error:
            return LOG_ERR;
    }
    return LOG_INFO;
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

spdlog::logger& console() {
    static const auto logger = [] {
        auto made = spdlog::stderr_logger_st("cuda-nspawnd");
        made->set_pattern("%H:%M:%S.%e %l: %v");
        made->set_level(spdlog::level::debug);
        return made;
    }();
    return *logger;
}

}  // namespace

void set_log_level(Severity lowest) { lowest_severity = lowest; }

void log(Severity severity, const std::string& machine, const std::string& text) {
    if (severity < lowest_severity) return;
    const std::string line = machine.empty() ? text : fmt::format("{}: {}", machine, text);
    if (!stderr_is_journal()) return console().log(level(severity), line);
    if (machine.empty())
        sd_journal_send("MESSAGE=%s", line.c_str(), "PRIORITY=%i", priority(severity), nullptr);
    else
        sd_journal_send("MESSAGE=%s", line.c_str(), "PRIORITY=%i", priority(severity), "CUDA_NSPAWN_MACHINE=%s",
                        machine.c_str(), "OBJECT_SYSTEMD_UNIT=cuda-nspawn@%s.service", machine.c_str(), nullptr);
}

}  // namespace cuda_nspawn
