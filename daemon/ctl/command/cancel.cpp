// cuda-nspawnctl cancel
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "ctl/client.hpp"
#include "ctl/command/commands.hpp"

namespace cuda_nspawn::ctl {

namespace {

void cancel_job(Bus& bus, std::uint32_t id) { bus.call(manager(), "CancelJob", {id}); }

}  // namespace

int cancel(const Arguments& arguments) {
    const std::string& word = arguments.words.front();
    std::uint32_t id = 0;
    Bus bus;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error == std::errc() && end == word.data() + word.size()) {
        cancel_job(bus, id);
        return 0;
    }
    machine_properties(bus, word);  // there is such a machine
    int cancelled = 0;
    const Objects objects = get_objects(bus);
    for (const auto& [path, job] : objects.all("Job"))
        if (text(*job, "Machine") == word && text(*job, "State") == "running") {
            cancel_job(bus, job->value("Id", 0U));
            ++cancelled;
        }
    if (cancelled > 0) return 0;
    fmt::print(stderr, "Machine \"{}\" has no job that runs.\n", word);
    return 1;
}

}  // namespace cuda_nspawn::ctl
