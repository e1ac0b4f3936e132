// org.freedesktop.PolicyKit1 as far as the daemon asks it (polkit(8)): decides as a test says, and remembers.
#pragma once

#include <sdbus-c++/sdbus-c++.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "news.hpp"

namespace cuda_nspawn::bus_tests {

class FakePolkit {
public:
    struct Question {
        std::string caller;  // its unique name
        std::string action;
        std::map<std::string, std::string> details;
        std::uint32_t flags;
        std::string cancellation_id;
    };
    enum class Decision { yes, no, challenge, failure, none };  // none: no answer yet
    using Rule = std::function<Decision(const Question&)>;

    FakePolkit(sdbus::IConnection& connection, News& news, Rule rule);

    std::vector<Question> questions();
    std::vector<std::string> cancelled();
    // Answers what was held.
    void answer_all(Decision decision);

private:
    using Result = sdbus::Struct<bool, bool, std::map<std::string, std::string>>;
    using Answer = sdbus::Result<Result>;
    using Subject = sdbus::Struct<std::string, std::map<std::string, sdbus::Variant>>;
    void check(Answer&& answer, const Subject& subject, Question question);
    static void reply(const Answer& answer, Decision decision);

    News& news_;
    Rule rule_;
    std::mutex mutex_;
    std::vector<Question> questions_;
    std::vector<std::string> cancelled_;
    std::vector<Answer> held_;
    std::unique_ptr<sdbus::IObject> authority_;
};

}  // namespace cuda_nspawn::bus_tests
