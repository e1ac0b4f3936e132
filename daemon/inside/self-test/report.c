#define _GNU_SOURCE
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int failures;

double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Printable ASCII only; whatever a library or a program says may hold anything. */
static void quote(char* out, size_t size, const char* text) {
    size_t at = 0;
    for (; *text && at + 3 < size; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') out[at++] = '\\';
        out[at++] = (char)(byte < ' ' ? ' ' : byte > '~' ? '?' : byte);
    }
    out[at] = '\0';
}

/* A line is one write, so that a killed test leaves whole lines. Whoever listens no more ends the test. */
static void write_line(const char* line, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, line, length);
        if (written <= 0) _exit(3);
        line += written;
        length -= (size_t)written;
    }
}

double begin_check(void) { return milliseconds(); }

void end_check(const char* name, double begin, enum result result, const char* format, ...) {
    static const char* const words[] = {"passed", "failed", "skipped", "degraded"};
    char detail[512], quoted[512], line[768];
    double taken = milliseconds() - begin;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    quote(quoted, sizeof quoted, detail);
    failures += result == FAILED;
    /* Thousandths by hand: no locale, no floating point in printf. */
    unsigned long micro = taken > 0 ? (unsigned long)(taken * 1e3) : 0;
    int length =
        snprintf(line, sizeof line, "{\"check\":\"%s\",\"result\":\"%s\",\"ms\":%lu.%03lu,\"detail\":\"%s\"}\n", name,
                 words[result], micro / 1000, micro % 1000, quoted);
    write_line(line, (size_t)length);
}

void skip_check(const char* name, const char* why) { end_check(name, milliseconds(), SKIPPED, "%s", why); }

void report_value(const char* key, const char* value) {
    char quoted[512], line[600];
    quote(quoted, sizeof quoted, value);
    int length = snprintf(line, sizeof line, "{\"%s\":\"%s\"}\n", key, quoted);
    write_line(line, (size_t)length);
}

void report_end(void) { write_line("{\"end\":true}\n", 13); }

int has_failed(void) { return failures > 0; }
