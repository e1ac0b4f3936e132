/* setup apply    make what is offered usable, take away what is offered no longer
 * setup refresh  the same for a running guest, where the set-up is in force; gathers quick changes
 * setup remove   take everything of ours away
 * setup revive   have a change taken over that a running guest did not notice by itself
 * setup adopt    have the guest's systemd load and start our units, in a guest that was started without our settings */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "setup.h"

/* How long `refresh` looks for a further change before it ends. It also keeps a path unit below systemd's limit of 200
 * starts in 2 seconds, which 254 and newer apply and 247 cannot be told to lift. */
#define SETTLE_MILLISECONDS 25
#define UNIT_DIRECTORY "/run/systemd/system"
#define SYSTEMD_SOCKET "/run/systemd/private"
#define SYSTEMD_SECONDS 40
#define SYSTEMCTL_SECONDS 20

static unsigned long long read_epoch(void) {
    char* text = read_text(OFFER "/guest/epoch", 64);
    if (!text) return 0;
    unsigned long long epoch = 0;
    for (const char* at = text; *at >= '0' && *at <= '9'; at++) epoch = epoch * 10 + (unsigned long long)(*at - '0');
    free(text);
    return epoch;
}

/* Removal before anything new, and the record of links before the links: a crash at any point leaves nothing behind
 * that the next run does not find. */
static void converge(bool offered) {
    struct list recorded = {0};
    struct links wanted = {0};
    recorded_links(&recorded);
    if (offered) read_links(&wanted);
    converge_nodes(offered);
    remove_links(&recorded, &wanted);
    converge_loader(offered, &wanted);
    make_links(&wanted);
}

static int apply(void) {
    unsigned long long epoch;
    int rounds = 0;
    do {
        epoch = read_epoch();
        begin_report();
        if (epoch == 0) fail("%s/guest/epoch cannot be read: the host offers nothing yet", OFFER);
        converge(true);
        if (!write_report(epoch)) return EXIT_FAILURE;
    } while (read_epoch() != epoch && ++rounds < 20);
    return report_has_errors() ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int refresh(void) {
    if (access(STATE_FILE, F_OK) < 0) return EXIT_SUCCESS; /* removed, or not yet applied: not ours to begin */
    int status, rounds = 0;
    unsigned long long seen;
    do {
        seen = read_epoch();
        status = apply();
        nanosleep(&(struct timespec){.tv_nsec = SETTLE_MILLISECONDS * 1000000L}, NULL);
    } while (read_epoch() != seen && ++rounds < 200); /* the unit's time is limited; it is started again */
    return status;
}

static int remove_all(void) {
    begin_report();
    converge(false);
    int error = remove_file(STATE_FILE);
    if (error && error != ENOENT) fail("%s cannot be removed: %s", STATE_FILE, strerror(error));
    return report_has_errors() ? EXIT_FAILURE : EXIT_SUCCESS;
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
static int adopt(void) {
    static const char* const units[] = {"cuda-nspawn-setup.service", "cuda-nspawn-refresh.service",
                                        "cuda-nspawn-refresh.path"};
    char path[128], target[128], reason[1024];
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

/* A path unit takes another inotify instance each time it is armed. The kernel lends all guests of a host together 128
 * by default, and one that gets none has failed for good: then neither changes nor touches are noticed any more. */
static int revive(void) {
    char reason[1024];
    if (access(STATE_FILE, F_OK) < 0) return EXIT_SUCCESS; /* the guest is just booting */
    if (run_program((char*[]){"/bin/systemctl", "--no-block", "restart", "cuda-nspawn-refresh.path",
                              "cuda-nspawn-refresh.service", NULL},
                    SYSTEMCTL_SECONDS, reason, sizeof reason) < 0)
        fail("%s", reason);
    return report_has_errors() ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* One at a time: the boot's run and a change of the host can meet. */
static void take_lock(void) {
    int lock = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        fprintf(stderr, "<4>cannot lock %s (%s), going on without\n", LOCK_FILE, strerror(errno));
}

int main(int argc, char** argv) {
    const char* verb = argc == 2 ? argv[1] : "";
    int (*action)(void) = strcmp(verb, "apply") == 0     ? apply
                          : strcmp(verb, "refresh") == 0 ? refresh
                          : strcmp(verb, "remove") == 0  ? remove_all
                          : strcmp(verb, "revive") == 0  ? revive
                          : strcmp(verb, "adopt") == 0   ? adopt
                                                         : NULL;
    if (!action) {
        fprintf(stderr, "usage: setup apply|refresh|remove|revive|adopt\n");
        return 2;
    }
    umask(022);
    if (action != adopt && action != revive) take_lock(); /* these only start the others */
    return action();
}
