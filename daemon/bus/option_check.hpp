// A look at the options of a call before anything copies them: whoever is on the bus may send 32 MiB of them, of which
// each number in a nested array would cost as much as a whole option of ours.
#pragma once

#include <systemd/sd-bus.h>

#include <memory>

namespace cuda_nspawn::bus {

// Answers with InvalidArgs what has more options than any method, one twice, one whose name is longer than any, or one
// that is no boolean, number or text. Which options there are, and of which type, is the methods' to say.
class OptionCheck {
public:
    explicit OptionCheck(sd_bus* bus);

private:
    struct Unref {
        void operator()(sd_bus_slot* slot) const { sd_bus_slot_unref(slot); }
    };
    std::unique_ptr<sd_bus_slot, Unref> filter_;
};

}  // namespace cuda_nspawn::bus
