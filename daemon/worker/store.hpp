// What the store's worker does: copies the driver, removes what nobody uses, verifies what is there.
#pragma once

#include <filesystem>

#include "driver/driver.hpp"
#include "worker/protocol.hpp"

namespace cuda_nspawn {

struct StorePlaces {
    std::filesystem::path store;
    HostRoots host;
};

// The daemon names the generation to build; what goes into it is found here. Throws with a sentence.
StoreReport work_on_store(const StoreRequest& request, const StorePlaces& places);

}  // namespace cuda_nspawn
