/* What the set-up found, for two readers: the host (the state file) and the guest's log (standard error). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "setup.h"

static struct text lines;
static bool has_errors, host_only;

void report_to_host_only(void) { host_only = true; }

void begin_report(void) {
    free(lines.data);
    lines = (struct text){0};
    has_errors = false;
}

bool report_has_errors(void) { return has_errors; }

static void report(const char* word, const char* level, const char* format, va_list arguments) {
    char sentence[1024];
    vsnprintf(sentence, sizeof sentence, format, arguments);
    for (char* at = sentence; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) *at = ' '; /* a file name may hold a line break */
    append(&lines, "%s: %s\n", word, sentence);
    if (!host_only) fprintf(stderr, "%s%s\n", level, sentence);
}

void note(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report("note", "<5>", format, arguments);
    va_end(arguments);
}

void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    report("error", "<3>", format, arguments);
    va_end(arguments);
    has_errors = true;
}

/* In the order in which things happen, so not buffered. */
void tell_removed(const char* path) { dprintf(STDOUT_FILENO, "removed %s\n", path); }

bool write_report(unsigned long long epoch) {
    struct text state = {0};
    append(&state, "epoch=%llu\n%s", epoch, lines.data ? lines.data : "");
    int error = write_text(STATE_FILE, state.data);
    free(state.data);
    if (error && !host_only) fprintf(stderr, "<3>%s cannot be written: %s\n", STATE_FILE, strerror(error));
    return !error;
}
