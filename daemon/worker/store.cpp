#include "worker/store.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

#include "driver/generation.hpp"

namespace cuda_nspawn {
namespace {

// A damaged one is copied again where its sources are still what they were: only then it gets the same name.
StoredGeneration verify(const std::string& name, const Driver& driver, const StorePlaces& places) {
    const GenerationFaults faults = verify_generation(name, places.store, places.host.root);
    StoredGeneration stored{name, "intact", ""};
    if (!faults.damaged.empty()) {
        stored.result = "damaged";
        stored.text = fmt::format("{}", fmt::join(faults.damaged, "; "));
        if (generation_name(driver) == name) {
            rebuild_generation(driver, name, places.store, places.host.root);
            stored.result = "rebuilt";
        } else {
            stored.text += "; the driver's files on the host are others now, so it cannot be copied again";
        }
    } else if (!faults.unknown.empty()) {
        stored.result = "unknown";
        stored.text = fmt::format("{}", fmt::join(faults.unknown, "; "));
    }
    return stored;
}

}  // namespace

StoreReport work_on_store(const StoreRequest& request, const StorePlaces& places) {
    StoreReport report;
    Driver driver;
    if (request.verify || !request.build.empty()) driver = discover_driver(places.host);
    if (!request.build.empty()) {
        if (generation_name(driver) != request.build)
            throw std::runtime_error("the driver's files changed meanwhile; they will be looked at again");
        build_generation(driver, request.build, places.store, places.host.root);
    }
    collect_generations(places.store, request.keep);
    if (request.verify)
        for (const std::string& name : request.keep) report.push_back(verify(name, driver, places));
    return report;
}

}  // namespace cuda_nspawn
