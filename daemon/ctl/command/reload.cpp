// cuda-nspawnctl reload
#include "ctl/bus.hpp"
#include "ctl/command/commands.hpp"

namespace cuda_nspawn::ctl {

int reload(const Arguments&) {
    Bus().call(manager(), "Reload");
    return 0;
}

}  // namespace cuda_nspawn::ctl
