/* The report: JSON lines on standard output (docs/self-test.md). */
#pragma once

#include <stddef.h>

enum result { PASSED, FAILED, SKIPPED, DEGRADED };

/* One check in progress: begin_check() takes the time, end_check() writes the line. */
double begin_check(void);
void end_check(const char* name, double begin, enum result result, const char* format, ...)
    __attribute__((format(printf, 4, 5)));
void skip_check(const char* name, const char* why);
void report_value(const char* key, const char* value);
void report_end(void);
int has_failed(void); /* whether a check did */

double milliseconds(void); /* a clock that only goes forward */
