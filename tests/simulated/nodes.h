/* The simulated GPUs, and whether their nodes open. */
#pragma once

#define EXPORT __attribute__((visibility("default")))

struct simulated_gpu {
    unsigned minor;
    const char* bus;
    const char* uuid;
};
extern const struct simulated_gpu all_gpus[];

/* Opens the node and keeps it open, as the real driver does. ENXIO is as good: see README.md. 1, or 0 and errno. */
int open_node(const char* name);
/* Fills in the indexes of the GPUs whose nodes open; the number of them. `maximum` of all_gpus at most. */
int open_gpus(int indexes[], int maximum);
