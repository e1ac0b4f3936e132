#include "fake_polkit.hpp"

#include <utility>

namespace cuda_nspawn::bus_tests {

FakePolkit::FakePolkit(sdbus::IConnection& connection, News& news, Rule rule)
    : news_(news),
      rule_(std::move(rule)),
      authority_(sdbus::createObject(connection, sdbus::ObjectPath{"/org/freedesktop/PolicyKit1/Authority"})) {
    using Details = std::map<std::string, std::string>;
    authority_
        ->addVTable(sdbus::registerMethod("CheckAuthorization")
                        .implementedAs([this](Answer&& answer, Subject subject, std::string action, Details details,
                                              std::uint32_t flags, std::string id) {
                            check(std::move(answer), subject, {"", action, details, flags, id});
                        }),
                    sdbus::registerMethod("CancelCheckAuthorization").implementedAs([this](const std::string& id) {
                        const std::lock_guard lock(mutex_);
                        cancelled_.push_back(id);
                        news_.tell();
                    }))
        .forInterface("org.freedesktop.PolicyKit1.Authority");
    connection.requestName(sdbus::ServiceName{"org.freedesktop.PolicyKit1"});
}

void FakePolkit::check(Answer&& answer, const Subject& subject, Question question) {
    if (subject.get<0>() == "system-bus-name") question.caller = subject.get<1>().at("name").get<std::string>();
    const Decision decision = rule_(question);
    const std::lock_guard lock(mutex_);
    questions_.push_back(std::move(question));
    if (decision == Decision::none)
        held_.push_back(std::move(answer));
    else
        reply(answer, decision);
    news_.tell();
}

void FakePolkit::reply(const Answer& answer, Decision decision) {
    if (decision == Decision::failure)
        answer.returnError(sdbus::Error(sdbus::Error::Name("org.freedesktop.PolicyKit1.Error.Failed"), "out of order"));
    else
        answer.returnResults(Result{decision == Decision::yes, decision == Decision::challenge, {}});
}

void FakePolkit::answer_all(Decision decision) {
    const std::lock_guard lock(mutex_);
    for (const Answer& answer : std::exchange(held_, {})) reply(answer, decision);
}

std::vector<FakePolkit::Question> FakePolkit::questions() {
    const std::lock_guard lock(mutex_);
    return questions_;
}

std::vector<std::string> FakePolkit::cancelled() {
    const std::lock_guard lock(mutex_);
    return cancelled_;
}

}  // namespace cuda_nspawn::bus_tests
