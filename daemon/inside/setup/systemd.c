/* Who does the set-up in this guest: its own systemd by our units, or, where its first process is another program, the
 * host, which runs this one at each change. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "setup.h"

#define UNIT_DIRECTORY "/run/systemd/system"
#define SYSTEMD_SECONDS 40

static bool is_systemd(void) {
    char* name = read_text("/proc/1/comm", 64);
    bool is = name && strcmp(name, "systemd\n") == 0;
    free(name);
    return is;
}

static int set_up_for_it(void) {
    take_lock();
    apply();
    return access(STATE_FILE, F_OK) == 0 ? EXIT_NO_SYSTEMD : EXIT_FAILURE;
}

/* The guest may just be booting. */
static bool wait_for_systemd(void) {
    for (int tries = 0; tries < SYSTEMD_SECONDS * 20; tries++) {
        if (access(SYSTEMD_SOCKET, F_OK) == 0) return true;
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000000L}, NULL);
    }
    fail("this guest's systemd does not listen on %s after %d s", SYSTEMD_SOCKET, SYSTEMD_SECONDS);
    return false;
}

/* The guest's PID 1 does not look in our directory, so the units are linked to where it looks; /run forgets them with
 * the guest's end. Restarted and not started: what is mounted now may be in the place of something that went. */
int adopt(void) {
    static const char* const units[] = {"cuda-nspawn-setup.service", "cuda-nspawn-refresh.service",
                                        "cuda-nspawn-refresh.path", "cuda-nspawn-loader.service"};
    char path[128], target[128], reason[1024];
    if (!is_systemd()) return set_up_for_it();
    if (!wait_for_systemd()) return EXIT_FAILURE;
    if (mkdir(UNIT_DIRECTORY, 0755) < 0 && errno != EEXIST)
        fail("%s cannot be made: %s", UNIT_DIRECTORY, strerror(errno));
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        snprintf(path, sizeof path, "%s/%s", UNIT_DIRECTORY, units[i]);
        snprintf(target, sizeof target, "%s/guest/units/%s", OFFER, units[i]);
        int error = make_link(path, target);
        if (error) fail("%s cannot be linked: %s", path, strerror(error));
    }
    if (run_program((char*[]){"/bin/systemctl", "daemon-reload", NULL}, SYSTEMCTL_SECONDS, reason, sizeof reason) < 0 ||
        run_program((char*[]){"/bin/systemctl", "--no-block", "restart", "cuda-nspawn-setup.service",
                              "cuda-nspawn-refresh.path", NULL},
                    SYSTEMCTL_SECONDS, reason, sizeof reason) < 0)
        fail("%s", reason);
    return report_has_errors() ? EXIT_FAILURE : EXIT_SUCCESS;
}

int attend(void) { return is_systemd() ? EXIT_SUCCESS : set_up_for_it(); }

/* A path unit takes another inotify instance each time it is armed. The kernel lends all guests of a host together 128
 * by default, and one that gets none has failed for good: then neither changes nor touches are noticed any more. */
int revive(void) {
    char reason[1024];
    if (access(STATE_FILE, F_OK) < 0) return EXIT_SUCCESS; /* the guest is just booting */
    if (run_program((char*[]){"/bin/systemctl", "--no-block", "restart", "cuda-nspawn-refresh.path",
                              "cuda-nspawn-refresh.service", NULL},
                    SYSTEMCTL_SECONDS, reason, sizeof reason) < 0)
        fail("%s", reason);
    return report_has_errors() ? EXIT_FAILURE : EXIT_SUCCESS;
}
