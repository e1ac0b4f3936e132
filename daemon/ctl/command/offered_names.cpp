#include "ctl/command/offered_names.hpp"

#include <fmt/format.h>

#include "ctl/client.hpp"

namespace cuda_nspawn::ctl {

namespace {

std::vector<std::string> names_in(const Objects& objects, Offer offer) {
    std::vector<std::string> names;
    if (offer == Offer::machines)
        for (const auto& [path, machine] : objects.all("Machine")) names.push_back(text(*machine, "Name"));
    if (offer == Offer::gpus)
        for (const auto& [path, gpu] : objects.all("Gpu")) names.push_back(text(*gpu, "Uuid"));
    if (offer == Offer::jobs)
        for (const auto& [path, job] : objects.all("Job"))
            if (text(*job, "State") == "running") {
                names.push_back(fmt::format("{}", job->value("Id", 0U)));
                names.push_back(text(*job, "Machine"));
            }
    return names;
}

}  // namespace

std::vector<std::string> offered_names(Offer offer) {
    try {
        Bus bus;
        return names_in(objects_of_running(bus), offer);
    } catch (const BusError&) {
        return {};
    }
}

}  // namespace cuda_nspawn::ctl
