// A worker that stays, behind its socket (cuda-nspawn-VERB.socket and .service), well-behaved unless told.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "elf/file_descriptor.hpp"
#include "fake_host.hpp"
#include "news.hpp"

namespace cuda_nspawn::bus_tests {

class FakeResident {
public:
    FakeResident(const FakeHost& host, News& news, std::string verb);
    ~FakeResident();

    struct Behaviour {
        bool held = false;     // the next request waits for finish()
        unsigned killed = 0;   // so many requests get no report
        std::string report{};  // instead of the right one; its newline is added
    };
    void set(Behaviour behaviour);
    bool holds();
    void finish();
    unsigned count();  // of requests so far

    // As systemctl start and stop of the socket unit.
    void open();
    void close();

private:
    void serve();
    void answer(int connection);
    std::string take(const std::string& request);

    const FakeHost& host_;
    News& news_;
    std::string verb_;
    std::mutex mutex_;
    std::condition_variable released_;
    Behaviour behaviour_;
    bool holds_ = false;
    bool closing_ = false;
    unsigned count_ = 0;
    FileDescriptor listener_;
    std::thread thread_;
};

}  // namespace cuda_nspawn::bus_tests
