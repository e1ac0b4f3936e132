// Tests wait for what happens, never for time to pass: whoever changes something that a test may wait for says so here.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace cuda_nspawn::bus_tests {

class News {
public:
    void tell() {
        const std::lock_guard lock(mutex_);
        ++count_;
        changed_.notify_all();
    }
    // Asks again after every piece of news. The short interval is for what happens without one (an exit, a file).
    bool wait_until(const std::function<bool()>& condition, std::chrono::seconds limit = std::chrono::seconds(15)) {
        const auto deadline = std::chrono::steady_clock::now() + limit;
        for (;;) {
            unsigned long seen = 0;
            {
                const std::lock_guard lock(mutex_);
                seen = count_;
            }
            if (condition()) return true;
            if (std::chrono::steady_clock::now() >= deadline) return false;
            std::unique_lock lock(mutex_);
            changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return count_ != seen; });
        }
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    unsigned long count_ = 0;
};

}  // namespace cuda_nspawn::bus_tests
