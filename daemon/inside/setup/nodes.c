/* /dev/nvidia*: links to the nodes that the host made below /run/cuda-nspawn/dev. One level of directories
 * (nvidia-caps) is followed. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "setup.h"

#define NODES OFFER "/dev"
#define NAME_SIZE (2 * NAME_MAX + 2) /* "nvidia-caps/nvidia-cap1" */
#define PATH_SIZE (NAME_SIZE + 64)
#define WAIT_MILLISECONDS 2000
#define PAUSE_MILLISECONDS 10

static bool is_kind(const char* path, mode_t kind) {
    struct stat status;
    return lstat(path, &status) == 0 && (status.st_mode & S_IFMT) == kind;
}

static void list_directory(const char* path, struct list* names) {
    DIR* directory = opendir(path);
    if (!directory) return;
    for (struct dirent* entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) add(names, entry->d_name);
    closedir(directory);
}

static void link_node(const char name[static NAME_SIZE]) {
    char path[PATH_SIZE], target[PATH_SIZE];
    snprintf(path, sizeof path, "/dev/%s", name);
    snprintf(target, sizeof target, NODES "/%s", name);
    char* present = link_target(path);
    if (present ? begins_with(present, NODES "/") : access(path, F_OK) < 0 && errno == ENOENT) {
        int error = present && strcmp(present, target) == 0 ? 0 : make_link(path, target);
        if (error) fail("%s cannot be linked: %s", path, strerror(error));
    } else {
        note("%s in this guest is not ours and stays; it hides the node that the host offers", path);
    }
    free(present);
}

/* Nodes that are not for everybody are this guest's root's as soon as the host has heard who that is, which may be a
 * moment after the guest's start. Without the host's daemon they stay as they are, and nothing waits much longer. */
static void wait_until_given(const char* node) {
    static int tries;
    while (access(node, R_OK | W_OK) < 0 && errno == EACCES && tries++ < WAIT_MILLISECONDS / PAUSE_MILLISECONDS)
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MILLISECONDS * 1000000L}, NULL);
}

static void link_offered(const char* below) {
    char source[PATH_SIZE], path[PATH_SIZE];
    snprintf(source, sizeof source, NODES "%s%s", *below ? "/" : "", below);
    struct list names = {0};
    list_directory(source, &names);
    for (size_t i = 0; i < names.count; i++) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, "%s%s%s", below, *below ? "/" : "", names.items[i]);
        snprintf(path, sizeof path, NODES "/%s", name);
        if (is_kind(path, S_IFCHR)) {
            wait_until_given(path);
            link_node(name);
        } else if (!*below && is_kind(path, S_IFDIR)) {
            snprintf(path, sizeof path, "/dev/%s", name);
            if (mkdir(path, 0755) < 0 && errno != EEXIST)
                fail("%s cannot be made: %s", path, strerror(errno));
            else
                link_offered(name);
        }
    }
}

/* Removes the links of ours whose node is gone; says whether there was one. */
static bool sweep(const char* directory, bool offered) {
    struct list names = {0};
    bool removed = false;
    list_directory(directory, &names);
    for (size_t i = 0; i < names.count; i++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "%s/%s", directory, names.items[i]);
        char* target = link_target(path);
        if (target && begins_with(target, NODES "/") && !(offered && is_kind(target, S_IFCHR))) {
            int error = remove_file(path);
            if (error)
                fail("%s cannot be removed: %s", path, strerror(error));
            else
                removed = true;
        } else if (strcmp(directory, "/dev") == 0 && begins_with(names.items[i], "nvidia") && is_kind(path, S_IFDIR)) {
            if (sweep(path, offered)) rmdir(path); /* stays when something else is in it */
        }
        free(target);
    }
    return removed;
}

void converge_nodes(bool offered) {
    sweep("/dev", offered);
    if (offered) link_offered("");
}
