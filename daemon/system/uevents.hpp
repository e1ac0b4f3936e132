// The kernel's own device events (netlink(7), NETLINK_KOBJECT_UEVENT). Not sd-device: that hears what udevd has
// processed and sent on, in udevd's network namespace only; the kernel tells every network namespace.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "elf/file_descriptor.hpp"
#include "system/event_loop.hpp"

namespace cuda_nspawn {

struct Uevent {
    std::string action;     // add, remove, bind, unbind, change, …
    std::string subsystem;  // module, pci, …
    std::string devpath;    // below /sys: "/module/nvidia_uvm", "/devices/pci0000:00/0000:01:00.0"
    std::string driver;     // of a device that has one now
    bool operator==(const Uevent&) const = default;
};

// Nothing when it is no complete message of the kernel's.
std::optional<Uevent> parse_uevent(std::string_view message);

// Whether the NVIDIA driver may be another one after it: a module of its came or went, or one of its devices.
// `is_gpu` knows the PCI addresses of the GPUs: an unbound device no longer names its driver.
bool concerns_driver(const Uevent& event, const std::function<bool(const std::string& pci_address)>& is_gpu);

class Uevents {
public:
    // Nothing: the kernel had to drop some.
    using Callback = std::function<void(const std::optional<Uevent>&)>;
    Uevents(EventLoop& loop, Callback callback);
    // Why no events will come; empty if they do.
    const std::string& failure() const { return failure_; }

private:
    void read();

    Callback callback_;
    std::string failure_;
    FileDescriptor socket_;
    EventLoop::IoSource source_;
};

}  // namespace cuda_nspawn
