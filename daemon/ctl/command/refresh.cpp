// cuda-nspawnctl refresh
#include "ctl/bus.hpp"
#include "ctl/command/commands.hpp"

namespace cuda_nspawn::ctl {

int refresh(const Arguments&) {
    Bus().call(manager(), "Refresh", {Options{}});
    return 0;
}

}  // namespace cuda_nspawn::ctl
