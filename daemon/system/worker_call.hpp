// One request to a resident worker (worker/serve.hpp): connect, write, shut down, read to the end of file. Never waits.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "elf/file_descriptor.hpp"
#include "system/event_loop.hpp"

namespace cuda_nspawn {

class WorkerCall {
public:
    // The report, or nothing if the connection ended without a whole one. Called once, from the loop; the object may be
    // destroyed in it. An object that is destroyed before never calls.
    using Done = std::function<void(std::optional<std::string> report)>;

    // Throws std::system_error if nobody listens there.
    WorkerCall(EventLoop& loop, const std::filesystem::path& socket, std::string request, Done done);
    WorkerCall(const WorkerCall&) = delete;
    WorkerCall& operator=(const WorkerCall&) = delete;

private:
    ssize_t send();
    void write();
    void wait_for_report();
    void read();
    void end(std::optional<std::string> report);

    EventLoop& loop_;
    FileDescriptor fd_;
    std::string request_;
    std::string_view unwritten_;
    std::string report_;
    Done done_;
    EventLoop::IoSource source_;  // goes before the descriptor
};

}  // namespace cuda_nspawn
