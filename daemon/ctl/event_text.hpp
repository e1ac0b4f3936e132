// The daemon's signals, as what happened: pure, from what was known before to lines and JSON.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ctl/client.hpp"

namespace cuda_nspawn::ctl {

struct Signal {
    std::string path;
    std::string member;
    Value body;
};

struct Event {
    Json json;                       // "event", then what it is about, then the keys that changed
    std::vector<std::string> lines;  // for people
};

// What is known of the objects, so that only what changed is told.
class History {
public:
    void begin(const Objects& objects, Value driver);
    // What a signal says; nothing where it says nothing new.
    std::vector<Event> take(const Signal& signal);

private:
    std::vector<Event> properties_changed(const Signal& signal);
    std::vector<Event> machine_changed(const std::string& path, const Json& changed);
    std::vector<Event> object_came(const Signal& signal);
    std::vector<Event> object_went(const Signal& signal);
    std::string gpus_text(const Value& uuids) const;

    std::map<std::string, Value> known_;  // by path
};

}  // namespace cuda_nspawn::ctl
