// cuda-nspawnctl list
#include "ctl/command/commands.hpp"
#include "ctl/output.hpp"
#include "ctl/show.hpp"

namespace cuda_nspawn::ctl {

int list(const Arguments& arguments) {
    Bus bus;
    const Objects objects = get_objects(bus);
    if (wants_json(arguments))
        print_json(arguments, machines_json(objects));
    else
        print_machines(arguments, objects);
    return 0;
}

}  // namespace cuda_nspawn::ctl
