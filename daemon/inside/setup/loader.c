/* The dynamic loader's cache.
 *
 * The usual way: one fragment, first in /etc/ld.so.conf.d, and the guest's own ldconfig. The fragment also records, in
 * comment lines, which generation the cache was made for and which links were made in the root file system: it is the
 * one file of ours that outlives a crash of the guest.
 *
 * Where a guest has libraries of the driver's names in a directory that its /etc/ld.so.conf names before all fragments,
 * these come first in the cache. Then the same ldconfig makes it once more, by a configuration of ours that names the
 * driver first and includes the guest's. What else runs ldconfig there undoes that, so the cache is watched then.
 *
 * Where that cannot be (a read-only /etc, no ld.so.conf.d, a fragment that nothing includes): a cache of our own below
 * /run, made by the same ldconfig and bound over /etc/ld.so.cache. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "setup.h"

#define FRAGMENT "/etc/ld.so.conf.d/00-cuda-nspawn.conf"
#define CACHE "/etc/ld.so.cache"
#define OWN_CONF LOADER_DIRECTORY "/ld.so.conf"
#define OWN_CACHE LOADER_DIRECTORY "/ld.so.cache"
#define AUXILIARY_DIRECTORY "/var/cache/ldconfig"
#define AUXILIARY_CACHE AUXILIARY_DIRECTORY "/aux-cache"
#define LINK_RECORD "# link "
#define DRIVER OFFER "/driver/"
#define TEXT_LIMIT ((size_t)1 << 20)
#define LDCONFIG_SECONDS 30
#define BOUND_NOTE "the loader uses a cache of ours, bound over %s: %s"

/* An empty one too: ours, and a power cut came between its name and its content. */
static bool is_our_text(const char* text) { return !*text || begins_with(text, MARK); }

static void read_record(const char* path, struct list* links) {
    char *text = read_text(path, TEXT_LIMIT), *rest = text;
    if (text && is_our_text(text))
        for (char* line; (line = next_line(&rest));)
            if (begins_with(line, LINK_RECORD "/")) add(links, line + strlen(LINK_RECORD));
    free(text);
}

void recorded_links(struct list* links) {
    read_record(FRAGMENT, links);
    read_record(OWN_CONF, links);
}

/* Whether the text names a directory at all. */
static bool has_directories(const char* text) {
    for (const char* line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (*line == '/') return true;
    return false;
}

/* What the fragment has to say; NULL: nothing, so that there is to be none. */
static char* wanted_fragment(bool offered, const struct links* links) {
    char* offer = offered ? read_text(OFFER "/guest/ld.so.conf", TEXT_LIMIT) : NULL;
    if (offer && *offer && !is_our_text(offer)) {
        fail("%s/guest/ld.so.conf does not begin with our mark and is not used", OFFER);
        *offer = '\0';
    }
    bool nothing = !(offer && *offer) && links->count == 0;
    struct text text = {0};
    if (!nothing) {
        append(&text, "%s", offer && *offer ? offer : MARK " from the host\n");
        char* generation = link_target(OFFER "/driver");
        append(&text, "# generation %s\n", generation ? generation : "none");
        free(generation);
        for (size_t i = 0; i < links->count; i++) append(&text, LINK_RECORD "%s\n", links->items[i].path);
    }
    free(offer);
    return text.data;
}

static char* read_cache(const char* cache, size_t* size) {
    struct stat status;
    if (stat(cache, &status) < 0 || status.st_size <= 0 || status.st_size > (64 << 20)) return NULL;
    *size = (size_t)status.st_size;
    return read_text(cache, *size);
}

/* The cache is binary, and its strings lie in it as they are. */
static bool mentions_driver(const char* cache) {
    size_t size;
    char* data = read_cache(cache, &size);
    bool found = data && memmem(data, size, DRIVER, strlen(DRIVER));
    free(data);
    return found;
}

/* The cache in the format that glibc reads since 2.2; in a file of both formats it is the second part. Offsets are
 * counted from its beginning. Entries of one name and kind (`flags`) stand together, the one that is taken first. */
#define CACHE_MAGIC "glibc-ld.so.cache1.1"
struct cache_header {
    char magic[20];
    uint32_t count;
    uint32_t unused[6];
};
struct cache_entry {
    int32_t flags;
    uint32_t name, path, version;
    uint64_t hwcap;
};

/* The library of the guest's that its loader takes in the place of one of the driver's; false: there is none. */
static bool finds_before_driver(char path[static PATH_MAX]) {
    size_t size;
    char *data = read_cache(CACHE, &size), *begin = data ? memmem(data, size, CACHE_MAGIC, strlen(CACHE_MAGIC)) : NULL;
    size_t left = begin ? size - (size_t)(begin - data) : 0;
    struct cache_header header = {0};
    if (left >= sizeof header) memcpy(&header, begin, sizeof header);
    if ((left - sizeof header) / sizeof(struct cache_entry) < header.count) header.count = 0;
    const char *name = "", *taken = "";
    int32_t flags = 0;
    bool found = false;
    for (uint32_t i = 0; i < header.count && !found; i++) {
        struct cache_entry entry;
        memcpy(&entry, begin + sizeof header + i * sizeof entry, sizeof entry);
        if (entry.name >= left || entry.path >= left) break;
        if (entry.flags != flags || strcmp(begin + entry.name, name) != 0) {
            flags = entry.flags;
            name = begin + entry.name;
            taken = begin + entry.path;
        } else if (begins_with(begin + entry.path, DRIVER) && !begins_with(taken, DRIVER)) {
            found = true;
            snprintf(path, PATH_MAX, "%s", taken);
        }
    }
    free(data);
    return found;
}

static bool is_older(const char* path, const char* than) {
    struct stat left, right;
    if (stat(path, &left) < 0) return true;
    if (stat(than, &right) < 0) return false;
    return left.st_mtim.tv_sec != right.st_mtim.tv_sec ? left.st_mtim.tv_sec < right.st_mtim.tv_sec
                                                       : left.st_mtim.tv_nsec < right.st_mtim.tv_nsec;
}

/* ldconfig keeps a cache of file headers beside; where it had none, it shall have none afterwards. */
static bool run_ldconfig(char* const argv[], char* reason, size_t size) {
    bool had_auxiliary = access(AUXILIARY_CACHE, F_OK) == 0;
    bool had_directory = is_directory(AUXILIARY_DIRECTORY);
    void *etc = keep_times(CACHE), *beside = keep_times(AUXILIARY_CACHE), *above = keep_times(AUXILIARY_DIRECTORY);
    bool fine = run_program(argv, LDCONFIG_SECONDS, reason, size) == 0;
    if (!had_auxiliary) unlink(AUXILIARY_CACHE);
    if (!had_directory) rmdir(AUXILIARY_DIRECTORY);
    restore_times(above);
    restore_times(beside);
    restore_times(etc);
    return fine;
}

static char* find_ldconfig(void) {
    static char* const places[] = {"/sbin/ldconfig", "/usr/sbin/ldconfig", "/usr/bin/ldconfig"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0) return places[i];
    return NULL;
}

/* Without -X, ldconfig would also make and remove links in the guest's own library directories. */
static bool rebuild_cache(char* conf, char* reason, size_t size) {
    char* ldconfig = find_ldconfig();
    if (ldconfig) return run_ldconfig((char*[]){ldconfig, "-X", "-f", conf, NULL}, reason, size);
    snprintf(reason, size, "this guest has no ldconfig");
    return false;
}

static bool rebuild_own_cache(char* reason, size_t size) {
    char* ldconfig = find_ldconfig();
    if (ldconfig) return run_ldconfig((char*[]){ldconfig, "-X", "-C", OWN_CACHE, "-f", OWN_CONF, NULL}, reason, size);
    snprintf(reason, size, "this guest has no ldconfig, so its C library is not glibc or keeps no loader cache");
    return false;
}

static bool is_bound(void) {
    char *text = read_text("/proc/self/mountinfo", 4 * TEXT_LIMIT), *rest = text;
    bool bound = false;
    for (char* line; (line = next_line(&rest));)
        if (strstr(line, " " CACHE " ") && strstr(line, "/cuda-nspawn-loader/ld.so.cache")) bound = true;
    free(text);
    return bound;
}

static void unbind(void) {
    for (int tries = 0; tries < 16 && is_bound(); tries++)
        if (umount2(CACHE, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
            fail("%s cannot be unmounted: %s", CACHE, strerror(errno));
            return;
        }
}

static void drop_own_cache(void) {
    unbind();
    unlink(OWN_CACHE);
    unlink(OWN_CONF);
    rmdir(LOADER_DIRECTORY);
}

/* What names the driver first, whatever the guest's own says. `include` keeps the relative patterns in that meaning
 * what they do. */
static char* own_conf(const char* fragment) {
    struct text conf = {0};
    append(&conf, "%s%s", fragment, access("/etc/ld.so.conf", F_OK) == 0 ? "include /etc/ld.so.conf\n" : "");
    return conf.data;
}

static bool write_own_conf(const char* text) {
    mkdir(LOADER_DIRECTORY, 0755);
    int error = write_text(OWN_CONF, text);
    if (error) fail("%s cannot be written: %s", OWN_CONF, strerror(error));
    return !error;
}

/* Whether it is. */
static bool put_driver_first(const char* fragment) {
    char path[PATH_MAX], reason[1024], *conf = own_conf(fragment);
    bool written = write_own_conf(conf);
    free(conf);
    if (!written) return false;
    if (!rebuild_cache(OWN_CONF, reason, sizeof reason))
        fail("the loader takes a library of this guest's in the place of the host's: %s", reason);
    else if (finds_before_driver(path))
        note("the loader takes %s in the place of the host's, wherever its directory is named: remove it", path);
    else
        return true;
    return false;
}

static void watch_cache(void) {
    char reason[1024];
    if (access(SYSTEMD_SOCKET, F_OK) < 0) {
        note(
            "when ldconfig runs in this guest, it puts its own libraries before the host's: no systemd runs to watch "
            "it");
        return;
    }
    if (run_program((char*[]){"/bin/systemctl", "--no-block", "start", "cuda-nspawn-loader.service", NULL},
                    SYSTEMCTL_SECONDS, reason, sizeof reason) < 0)
        fail("when ldconfig runs in this guest, it puts its own libraries before the host's: %s", reason);
}

/* `why` the usual way is closed. */
static void bind_own_cache(const char* fragment, const char* why) {
    char *conf = own_conf(fragment), *present = read_text(OWN_CONF, TEXT_LIMIT);
    bool current = present && strcmp(present, conf) == 0 && !is_older(OWN_CACHE, OWN_CONF) && is_bound();
    free(present);
    if (current) {
        note(BOUND_NOTE, CACHE, why);
        free(conf);
        return;
    }
    char reason[1024];
    bool written = write_own_conf(conf);
    free(conf);
    if (!written) return;
    if (!rebuild_own_cache(reason, sizeof reason)) {
        fail("the loader cannot learn of the driver: %s", reason);
    } else if (!mentions_driver(OWN_CACHE)) {
        fail("ldconfig found no library of the driver below %s/driver (%s)", OFFER, why);
    } else {
        unbind();
        if (mount(OWN_CACHE, CACHE, NULL, MS_BIND, NULL) < 0)
            fail("the loader's cache cannot be bound over %s: %s (%s)", CACHE, strerror(errno), why);
        else
            note(BOUND_NOTE, CACHE, why);
    }
}

/* Makes the fragment what it shall be. Returns an errno; EEXIST: a foreign file is in its place. */
static int converge_fragment(const char* wanted, bool* changed) {
    char* present = read_text(FRAGMENT, TEXT_LIMIT);
    int error = 0;
    *changed = false;
    remove_temporary(FRAGMENT);
    if (present && !is_our_text(present)) {
        if (wanted) error = EEXIST;
    } else if (!wanted) {
        if (present) error = remove_file(FRAGMENT);
        *changed = present && !error;
        if (*changed) tell_removed(FRAGMENT);
    } else if (!present || strcmp(present, wanted) != 0) {
        error = write_text(FRAGMENT, wanted);
        *changed = !error;
    }
    free(present);
    return error;
}

void converge_loader(bool offered, const struct links* links) {
    char* wanted = wanted_fragment(offered, links);
    bool driver = wanted && has_directories(wanted), changed;
    char why[1024] = "", hidden[PATH_MAX];
    int error = converge_fragment(wanted, &changed);
    if (error) {
        snprintf(why, sizeof why, "%s cannot be %s: %s", FRAGMENT, wanted ? "written" : "removed",
                 error == EEXIST   ? "a file that is not ours is in its place"
                 : error == ENOENT ? "this guest has no such directory"
                                   : strerror(error));
        if (!wanted) fail("%s", why);
    } else {
        if (is_bound()) unbind();
        /* What a killed guest left may have the driver first because of us alone. */
        bool unknown = driver && access(STATE_FILE, F_OK) < 0;
        bool stale = changed || unknown || mentions_driver(CACHE) != driver || (driver && is_older(CACHE, FRAGMENT));
        char reason[768];
        if (stale && !rebuild_cache("/etc/ld.so.conf", reason, sizeof reason))
            snprintf(why, sizeof why, "%s", reason);
        else if (driver && !mentions_driver(CACHE))
            snprintf(why, sizeof why, "%s has no effect here", FRAGMENT);
        else if (driver && finds_before_driver(hidden) && put_driver_first(wanted))
            watch_cache();
        if (*why && !driver) fail("%s still names the driver: %s", CACHE, why);
    }
    if (driver && *why)
        bind_own_cache(wanted, why);
    else
        drop_own_cache();
    free(wanted);
}

bool keep_driver_first(void) {
    char hidden[PATH_MAX];
    if (!finds_before_driver(hidden)) return true;
    char* fragment = read_text(FRAGMENT, TEXT_LIMIT);
    bool is_first = fragment && is_our_text(fragment) && put_driver_first(fragment);
    drop_own_cache();
    free(fragment);
    return is_first;
}
