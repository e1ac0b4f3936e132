/* Sends a device event to all who listen to the kernel's in this network namespace, as if the kernel had an event of
 * its own (net/netlink: whoever has CAP_SYS_ADMIN there may ask the kernel to). uevent ACTION DEVPATH SUBSYSTEM
 * [KEY=VALUE…] */
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char message[2048];
static size_t used = NLMSG_HDRLEN;

static int add(const char* key, const char* separator, const char* value) {
    const int size = snprintf(message + used, sizeof message - used, "%s%s%s", key, separator, value);
    if (size < 0 || (size_t)size >= sizeof message - used) return -1;
    used += (size_t)size + 1;
    return 0;
}

static int send_message(void) {
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
    } answer;
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    const struct nlmsghdr header = {
        .nlmsg_len = (unsigned)used, .nlmsg_type = NLMSG_MIN_TYPE, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
    if (fd < 0) return -1;
    memcpy(message, &header, sizeof header);
    if (sendto(fd, message, used, 0, (const struct sockaddr*)&kernel, sizeof kernel) < 0) return -1;
    if (recv(fd, &answer, sizeof answer, 0) < (ssize_t)sizeof answer) return -1;
    close(fd);
    return answer.error.error;
}

int main(int argc, char** argv) {
    if (argc < 4) {
        fputs("usage: uevent ACTION DEVPATH SUBSYSTEM [KEY=VALUE...]\n", stderr);
        return 2;
    }
    int failed = add(argv[1], "@", argv[2]) || add("ACTION", "=", argv[1]) || add("DEVPATH", "=", argv[2]) ||
                 add("SUBSYSTEM", "=", argv[3]);
    for (int i = 4; i < argc && !failed; ++i) failed = add(argv[i], "", "");
    if (!failed) failed = send_message();
    if (failed) fputs("uevent: the kernel did not take it\n", stderr);
    return failed ? 1 : 0;
}
