#include "system/workers.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <stdexcept>

#include "system/files.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn {

void Workers::run(const std::string& verb, const std::string& request,
                  std::function<void(std::string report, std::string failure)> reply) {
    // The process id keeps a daemon that was restarted apart from what its predecessor left running.
    const std::string id = fmt::format("{}-{}-{}", verb, ::getpid(), next_++);
    const std::filesystem::path base = work_directory_ / id;
    const std::string unit = fmt::format("cuda-nspawn-{}@{}.service", verb, id);
    try {
        write_file_atomically(base.string() + ".request", request);
    } catch (const std::runtime_error& error) {
        return loop_.defer([reply, failure = std::string(error.what())] { reply("", failure); });
    }
    systemd_.run_job("StartUnit", unit, [base, unit, reply](const std::string& failure) {
        const std::string result_path = base.string() + ".result";
        const std::string report = read_file(result_path).value_or("");
        std::error_code ignored;
        std::filesystem::remove(result_path, ignored);
        std::filesystem::remove(base.string() + ".request", ignored);
        if (!report.empty()) return reply(report, parse_failure(report));
        reply("", failure.empty() ? fmt::format("{} left no report: see journalctl -u {}", unit, unit) : failure);
    });
}

}  // namespace cuda_nspawn
