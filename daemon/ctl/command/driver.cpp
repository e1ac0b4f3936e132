// cuda-nspawnctl driver
#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"

namespace cuda_nspawn::ctl {

int driver(const Arguments& arguments) {
    Bus bus;
    const Json driver = driver_json(driver_properties(bus));
    if (!print_json(arguments, driver)) print_driver(driver);
    return 0;
}

}  // namespace cuda_nspawn::ctl
