// Loaded before libc by the suite `late` (LD_PRELOAD): in the programs that LATE_IN names, one of three sends and
// receives on a socket comes late, by up to LATE_MS milliseconds. What a test takes for granted then comes in another
// order.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static unsigned max_usec;
static unsigned seed;

__attribute__((constructor)) static void begin(void) {
    const char* programs = getenv("LATE_IN");
    const char* milliseconds = getenv("LATE_MS");
    if (programs && milliseconds && strstr(programs, program_invocation_short_name))
        max_usec = 1000U * (unsigned)atoi(milliseconds);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    seed = (unsigned)now.tv_nsec ^ (unsigned)getpid();
}

static void be_late(void) {
    if (max_usec > 0 && rand_r(&seed) % 3 == 0) usleep((unsigned)rand_r(&seed) % max_usec);
}

ssize_t sendmsg(int socket, const struct msghdr* message, int flags) {
    static __typeof__(sendmsg)* real;
    if (!real) real = (__typeof__(sendmsg)*)dlsym(RTLD_NEXT, "sendmsg");
    be_late();
    return real(socket, message, flags);
}

ssize_t recvmsg(int socket, struct msghdr* message, int flags) {
    static __typeof__(recvmsg)* real;
    if (!real) real = (__typeof__(recvmsg)*)dlsym(RTLD_NEXT, "recvmsg");
    be_late();
    return real(socket, message, flags);
}
