// The workers as the daemon sees them: a request file, a unit of ours that PID 1 starts, a result file.
#pragma once

#include <filesystem>
#include <string>

#include "engine/ports.hpp"
#include "system/event_loop.hpp"
#include "system/systemd.hpp"

namespace cuda_nspawn {

class Workers {
public:
    Workers(EventLoop& loop, Systemd& systemd, std::filesystem::path work_directory)
        : loop_(loop), systemd_(systemd), work_directory_(std::move(work_directory)) {}

    // Runs cuda-nspawn-VERB@ID.service with the request. The reply has the report, or a failure as a sentence.
    void run(const std::string& verb, const std::string& request,
             std::function<void(std::string report, std::string failure)> reply);

private:
    EventLoop& loop_;
    Systemd& systemd_;
    std::filesystem::path work_directory_;
    unsigned long next_ = 1;
};

}  // namespace cuda_nspawn
