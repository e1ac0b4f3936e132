// A worker that stays: requests over a socket that PID 1 listens on, one a connection, one after the other. The client
// writes its request, shuts down its side, and reads the report until the end of file.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

namespace cuda_nspawn {

struct ServeLimits {
    std::chrono::milliseconds idle{30'000};     // without a connection; then serve() returns
    std::chrono::milliseconds transfer{5'000};  // of a whole request, and of a whole report
    unsigned work_seconds = 30;                 // then SIGALRM ends the process, and PID 1 starts another
    std::size_t request_bytes = std::size_t{16} << 20;
};

// What `work` throws becomes a report of a failure. A client that leaves, stalls, or is neither root nor of our own
// user gets none. Throws std::system_error if the socket itself fails.
void serve(int listener, const std::function<std::string(const std::string& request)>& work,
           const ServeLimits& limits = {});

// The socket PID 1 gave us (sd_listen_fds(3)). Throws std::runtime_error if there is none.
int inherited_listener();

}  // namespace cuda_nspawn
