#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "setup.h"

static void* checked(void* memory) {
    if (memory) return memory;
    static const char sentence[] = "<3>out of memory\n";
    (void)!write(STDERR_FILENO, sentence, sizeof sentence - 1);
    _exit(1);
}

void append(struct text* text, const char* format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t size = (size_t)vsnprintf(NULL, 0, format, arguments);
    text->data = checked(realloc(text->data, text->length + size + 1));
    vsnprintf(text->data + text->length, size + 1, format, again);
    text->length += size;
    va_end(again);
    va_end(arguments);
}

void add(struct list* list, const char* item) {
    list->items = (char**)checked(realloc((void*)list->items, (list->count + 1) * sizeof *list->items));
    list->items[list->count++] = checked(strdup(item));
}

bool contains(const struct list* list, const char* item) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], item) == 0) return true;
    return false;
}

bool begins_with(const char* text, const char* prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

char* next_line(char** rest) {
    char* line = *rest;
    if (!line || !*line) return NULL;
    char* end = strchr(line, '\n');
    if (end) *end = '\0';
    *rest = end ? end + 1 : line + strlen(line);
    return line;
}

char* read_text(const char* path, size_t limit) {
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0) return NULL;
    char* data = checked(malloc(limit + 1));
    size_t length = 0;
    ssize_t got;
    while (length < limit && (got = read(file, data + length, limit - length)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            int error = errno;
            close(file);
            free(data);
            errno = error;
            return NULL;
        }
        length += (size_t)got;
    }
    close(file);
    data[length] = '\0';
    return data;
}

struct times {
    int directory;
    struct timespec values[2];
};

void* keep_times(const char* path) {
    char parent[PATH_MAX];
    if ((size_t)snprintf(parent, sizeof parent, "%s", path) >= sizeof parent) return NULL;
    char* slash = strrchr(parent, '/');
    if (!slash) return NULL;
    slash[slash == parent ? 1 : 0] = '\0';
    int directory = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    if (directory < 0) return NULL;
    if (fstat(directory, &status) < 0) {
        close(directory);
        return NULL;
    }
    struct times* times = checked(malloc(sizeof *times));
    *times = (struct times){.directory = directory, .values = {status.st_atim, status.st_mtim}};
    return times;
}

void restore_times(void* kept) {
    struct times* times = kept;
    if (!times) return;
    futimens(times->directory, times->values); /* best effort: only the look of it is at stake */
    close(times->directory);
    free(times);
}

static int write_all(int file, const char* text) {
    for (size_t left = strlen(text); left > 0;) {
        ssize_t written = write(file, text, left);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno;
        text += written;
        left -= (size_t)written;
    }
    return 0; /* no fsync: after a power cut the next run makes it again, and a boot shall not wait for a disk */
}

static int temporary_of(const char* path, char name[static PATH_MAX]) {
    return (size_t)snprintf(name, PATH_MAX, "%s.cuda-nspawn~", path) < PATH_MAX ? 0 : ENAMETOOLONG;
}

int write_text(const char* path, const char* text) {
    char temporary[PATH_MAX];
    if (temporary_of(path, temporary) != 0) return ENAMETOOLONG;
    void* times = keep_times(path);
    unlink(temporary); /* of a run that was killed */
    int error = 0;
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file < 0) {
        error = errno;
    } else {
        error = write_all(file, text);
        close(file);
        if (!error && rename(temporary, path) < 0) error = errno;
        if (error) unlink(temporary);
    }
    restore_times(times);
    return error;
}

char* link_target(const char* path) {
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return NULL;
    target[length] = '\0';
    return checked(strdup(target));
}

/* Replaces what is there in one step; the caller has made sure that it is ours. */
int make_link(const char* path, const char* target) {
    char temporary[PATH_MAX];
    if (temporary_of(path, temporary) != 0) return ENAMETOOLONG;
    void* times = keep_times(path);
    unlink(temporary);
    int error = 0;
    if (symlink(target, temporary) < 0) {
        error = errno;
    } else if (rename(temporary, path) < 0) {
        error = errno;
        unlink(temporary);
    }
    restore_times(times);
    return error;
}

int remove_file(const char* path) {
    void* times = keep_times(path);
    int error = unlink(path) < 0 ? errno : 0;
    restore_times(times);
    return error;
}

void remove_temporary(const char* path) {
    char temporary[PATH_MAX];
    struct stat status;
    if (temporary_of(path, temporary) == 0 && lstat(temporary, &status) == 0) remove_file(temporary);
}

bool is_directory(const char* path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}
