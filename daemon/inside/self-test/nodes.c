/* Why the driver cannot start, as far as the device nodes tell. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cuda.h"

enum {
    FINE,
    BEHIND,
    DOOR
}; /* how sure it is that the node is the cause: a door that is closed beats what may lie behind it */

static int examine(const char* path, char* sentence, size_t size) {
    int node = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (node >= 0) {
        close(node);
        return FINE;
    }
    switch (errno) {
        case ENOENT:
            snprintf(sentence, size, "%s is missing: the host offers no such node, or the set-up has not run", path);
            return DOOR;
        case EPERM:
            snprintf(sentence, size,
                     "the machine's device rules deny %s: no DeviceAllow= of its unit has the node's number", path);
            return DOOR;
        case EACCES:
            snprintf(sentence, size, "%s may not be opened by user %u: the node's owner or mode does not fit", path,
                     (unsigned)getuid());
            return DOOR;
        case ENXIO:
        case ENODEV:
            snprintf(sentence, size, "%s has no driver behind it: its number is stale or the module is not loaded",
                     path);
            return BEHIND;
        default:
            snprintf(sentence, size, "%s cannot be opened: %s", path, strerror(errno));
            return BEHIND;
    }
}

static int is_gpu(const char* name) {
    if (strncmp(name, "nvidia", 6) != 0 || !name[6]) return 0;
    for (name += 6; *name; name++)
        if (*name < '0' || *name > '9') return 0;
    return 1;
}

/* Keeps the first of the worst. */
static void consider(const char* path, int* worst, char* sentence, size_t size) {
    char candidate[256];
    int trouble = examine(path, candidate, sizeof candidate);
    if (trouble <= *worst) return;
    *worst = trouble;
    snprintf(sentence, size, "%s", candidate);
}

const char* node_trouble(void) {
    static char sentence[256];
    int worst = FINE, gpus = 0;
    consider("/dev/nvidiactl", &worst, sentence, sizeof sentence);
    consider("/dev/nvidia-uvm", &worst, sentence, sizeof sentence);
    DIR* directory = opendir("/dev");
    for (struct dirent* entry; directory && (entry = readdir(directory));) {
        char path[280];
        if (!is_gpu(entry->d_name)) continue;
        gpus++;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        consider(path, &worst, sentence, sizeof sentence);
    }
    if (directory) closedir(directory);
    if (worst < DOOR && gpus == 0)
        snprintf(
            sentence, sizeof sentence,
            "there is no GPU node /dev/nvidia0, nvidia1, ...: the machine was given no GPU, or the set-up has not run");
    else if (worst == FINE)
        return "";
    return sentence;
}
