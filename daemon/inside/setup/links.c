/* Programs and data files by the names at which guests look for them: guest/links has LINK<TAB>TARGET per line. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "setup.h"

static bool is_ours(const char* target) { return begins_with(target, OFFER "/"); }

static bool is_plain_path(const char* path) {
    return path[0] == '/' && !strstr(path, "/../") && strlen(path) < PATH_MAX - 32;
}

/* Whether the link can be made: there is a directory for it, and nothing foreign in its place. */
static bool is_free(const char* path) {
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    if (*parent && !is_directory(parent)) {
        note("this guest has no %s, so %s is not linked", parent, path);
        return false;
    }
    char* present = link_target(path);
    bool free_place = present ? is_ours(present) : access(path, F_OK) < 0 && errno == ENOENT;
    if (!free_place) note("%s in this guest is not ours and stays", path);
    free(present);
    return free_place;
}

void read_links(struct links* links) {
    char *text = read_text(OFFER "/guest/links", 1 << 20), *rest = text;
    for (char* line; (line = next_line(&rest));) {
        char* tab = strchr(line, '\t');
        if (!tab) continue;
        *tab = '\0';
        if (!is_plain_path(line) || !is_ours(tab + 1)) {
            fail("%s/guest/links has a line that is no link of ours: %s", OFFER, line);
        } else if (access(tab + 1, F_OK) == 0 && is_free(line)) {
            struct link* more = realloc(links->items, (links->count + 1) * sizeof *more);
            if (!more) abort();
            links->items = more;
            links->items[links->count++] = (struct link){.path = line, .target = tab + 1};
        }
    }
    /* The text stays: the links point into it. */
}

static bool is_wanted(const struct links* wanted, const char* path) {
    for (size_t i = 0; i < wanted->count; i++)
        if (strcmp(wanted->items[i].path, path) == 0) return true;
    return false;
}

void remove_links(const struct list* recorded, const struct links* wanted) {
    for (size_t i = 0; i < recorded->count; i++) {
        const char* path = recorded->items[i];
        remove_temporary(path);
        if (is_wanted(wanted, path)) continue;
        char* target = link_target(path);
        bool ours = target && is_ours(target);
        int error = ours ? remove_file(path) : 0;
        if (error)
            fail("%s cannot be removed: %s", path, strerror(error));
        else if (ours)
            tell_removed(path);
        free(target);
    }
}

void make_links(const struct links* wanted) {
    for (size_t i = 0; i < wanted->count; i++) {
        const struct link* link = &wanted->items[i];
        char* present = link_target(link->path);
        int error = present && strcmp(present, link->target) == 0 ? 0 : make_link(link->path, link->target);
        if (error == EROFS)
            note("%s is not linked, this guest's file system is read-only; the file is %s", link->path, link->target);
        else if (error == EACCES || error == EPERM) /* PrivateUsers= with a range of users that own nothing there */
            note("%s is not linked, this guest's root may not write there; the file is %s", link->path, link->target);
        else if (error)
            fail("%s cannot be linked: %s", link->path, strerror(error));
        free(present);
    }
}
