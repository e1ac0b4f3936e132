#include "system/uevents.hpp"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "driver/kernel_side.hpp"

namespace cuda_nspawn {
namespace {

constexpr unsigned kernel_group = 1;      // 2 is what udevd sends on
constexpr std::size_t size_limit = 8192;  // the kernel's own is 2048 and a header
constexpr int turn_limit = 256;           // messages in one turn of the loop; the rest comes in the next

// Cuts the part before the zero byte off the message's front.
std::string_view take_field(std::string_view& message) {
    const auto end = std::min(message.find('\0'), message.size());
    const auto field = message.substr(0, end);
    message.remove_prefix(std::min(end + 1, message.size()));
    return field;
}

std::string_view last_component(std::string_view path) { return path.substr(path.rfind('/') + 1); }

FileDescriptor open_socket() {
    FileDescriptor fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = kernel_group;
    if (!fd || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return {};
    return fd;
}

struct Received {
    ssize_t size = 0;  // as recvmsg(2)
    bool from_kernel = false;
};

Received receive(int fd, std::array<char, size_limit>& buffer) {
    sockaddr_nl sender{};
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_name = &sender;
    message.msg_namelen = sizeof sender;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t size = ::recvmsg(fd, &message, MSG_DONTWAIT);
    // Port 0 is the kernel's; whoever else may send to the group is not heard.
    const bool whole = (message.msg_flags & MSG_TRUNC) == 0 && message.msg_namelen == sizeof sender;
    return {size, size > 0 && whole && sender.nl_pid == 0};
}

}  // namespace

std::optional<Uevent> parse_uevent(std::string_view message) {
    // "ACTION@DEVPATH", then "KEY=VALUE"; udevd's own messages begin otherwise.
    if (take_field(message).find('@') == std::string_view::npos) return std::nullopt;
    Uevent event;
    while (!message.empty()) {
        const auto field = take_field(message);
        const auto value = field.substr(std::min(field.find('=') + 1, field.size()));
        if (field.starts_with("ACTION=")) event.action = value;
        if (field.starts_with("SUBSYSTEM=")) event.subsystem = value;
        if (field.starts_with("DEVPATH=")) event.devpath = value;
        if (field.starts_with("DRIVER=")) event.driver = value;
    }
    if (event.action.empty() || event.subsystem.empty() || event.devpath.empty()) return std::nullopt;
    return event;
}

bool concerns_driver(const Uevent& event, const std::function<bool(const std::string&)>& is_gpu) {
    const auto name = last_component(event.devpath);
    // Distributions name the modules differently: nvidia, nvidia_uvm, nvidia-current.
    if (event.subsystem == "module") return name.starts_with("nvidia");
    if (event.subsystem != "pci") return false;
    const auto address = normal_pci_address(name);
    return event.driver == "nvidia" || (address && is_gpu(*address));
}

Uevents::Uevents(EventLoop& loop, Callback callback) : callback_(std::move(callback)), socket_(open_socket()) {
    if (socket_)
        source_ = loop.watch(socket_.get(), EPOLLIN, [this] { read(); });
    else
        failure_ = std::generic_category().message(errno);
}

void Uevents::read() {
    std::array<char, size_limit> buffer;
    for (int turn = 0; turn < turn_limit; ++turn) {
        const Received received = receive(socket_.get(), buffer);
        if (received.size < 0 && errno == EINTR) continue;
        if (received.size < 0 && errno == ENOBUFS) callback_(std::nullopt);
        if (received.size < 0) return;
        if (!received.from_kernel) continue;
        if (const auto event = parse_uevent({buffer.data(), static_cast<std::size_t>(received.size)})) callback_(event);
    }
}

}  // namespace cuda_nspawn
