/* setup apply    make what is offered usable, take away what is offered no longer
 * setup refresh  the same for a running guest, where the set-up is in force; gathers quick changes
 * setup remove   take everything of ours away
 * setup watch    keep the driver first in the loader's cache, whoever else runs ldconfig; ends by a signal only
 * setup revive   have a change taken over that a running guest did not notice by itself
 * setup adopt    have the guest's systemd load and start our units, in a guest that was started without our settings
 * setup attend   apply, where the guest has no systemd
 * setup run COMMAND…   the same, and become the command: for guests that do not boot */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "setup.h"

/* How long `refresh` looks for a further change before it ends. It also keeps a path unit below systemd's limit of 200
 * starts in 2 seconds, which 254 and newer apply and 247 cannot be told to lift. */
#define SETTLE_MILLISECONDS 25
#define HOST_SECONDS 5

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

int apply(void) {
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

/* One at a time: the boot's run and a change of the host can meet. */
int take_lock(void) {
    int lock = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) < 0)
        fprintf(stderr, "<4>cannot lock %s (%s), going on without\n", LOCK_FILE, strerror(errno));
    return lock;
}

/* ldconfig renames the new cache over the old one, so it is the directory that is watched. All that happens there
 * meanwhile is one reason to look. */
static int watch(void) {
    char events[4096];
    int changes = inotify_init1(IN_CLOEXEC);
    if (changes < 0 || inotify_add_watch(changes, "/etc", IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
        fail("/etc cannot be watched, so ldconfig may put this guest's libraries before the host's: %s",
             strerror(errno));
        return EXIT_FAILURE;
    }
    bool is_first;
    do {
        int lock = take_lock();
        is_first = keep_driver_first();
        if (lock >= 0) close(lock);
        /* Where it cannot be, the next try would be the first one's own event. */
    } while (is_first && (read(changes, events, sizeof events) > 0 || errno == EINTR));
    return EXIT_FAILURE;
}

/* The host does the set-up from outside, as soon as it has heard of the guest. */
static void wait_for_host(void) {
    for (int tries = 0; access(STATE_FILE, F_OK) < 0 && tries < HOST_SECONDS * 100; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000000L}, NULL);
}

/* In the place of a command that a guest runs instead of booting. Whatever goes wrong, the command is run. */
static int run_command(char** command) {
    report_to_host_only();
    if (geteuid() == 0) {
        mode_t mask = umask(022);
        take_lock();
        apply();
        umask(mask);
    } else if (access(OFFER "/driver", F_OK) == 0) {
        wait_for_host();
    }
    execvp(command[0], command);
    fprintf(stderr, "%s cannot be run: %s\n", command[0], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

int main(int argc, char** argv) {
    const char* verb = argc >= 2 ? argv[1] : "";
    if (argc > 2 && strcmp(verb, "run") == 0) return run_command(argv + 2);
    int (*action)(void) = strcmp(verb, "apply") == 0     ? apply
                          : strcmp(verb, "refresh") == 0 ? refresh
                          : strcmp(verb, "remove") == 0  ? remove_all
                          : strcmp(verb, "revive") == 0  ? revive
                          : strcmp(verb, "adopt") == 0   ? adopt
                          : strcmp(verb, "attend") == 0  ? attend
                          : strcmp(verb, "watch") == 0   ? watch
                                                         : NULL;
    if (argc != 2 || !action) {
        fprintf(stderr, "usage: setup apply|refresh|remove|watch|revive|adopt|attend\n       setup run COMMAND...\n");
        return 2;
    }
    umask(022);
    /* The others have somebody start these, or lock by themselves. */
    if (action == apply || action == refresh || action == remove_all) take_lock();
    return action();
}
