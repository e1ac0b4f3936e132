#define _GNU_SOURCE
#include "nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

const struct simulated_gpu all_gpus[] = {
#include "gpus.inc"
};

int open_node(const char* name) {
    char path[64];
    snprintf(path, sizeof path, "/dev/%s", name);
    return open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC) >= 0 || errno == ENXIO;
}

int open_gpus(int indexes[], int maximum) {
    int count = 0;
    for (int i = 0; i < (int)(sizeof all_gpus / sizeof *all_gpus) && count < maximum; i++) {
        char name[32];
        snprintf(name, sizeof name, "nvidia%u", all_gpus[i].minor);
        if (open_node(name)) indexes[count++] = i;
    }
    return count;
}
