/* Runs one program of the guest with a time limit. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "setup.h"

/* The set-up may mount; a program of the guest's has no need to, and shall not have it from the host. */
static void give_up_mounting(void) {
    /* capget(2), linux/capability.h: version 3, 64 capabilities in two words */
    struct {
        unsigned version;
        int pid;
    } header = {.version = 0x20080522};
    struct {
        unsigned effective, permitted, inheritable;
    } data[2];
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* else executing as root would give it back */
    if (syscall(SYS_capget, &header, data) < 0) return;
    const unsigned kept = ~(1U << 21); /* CAP_SYS_ADMIN */
    data[0].effective &= kept;
    data[0].permitted &= kept;
    data[0].inheritable &= kept;
    syscall(SYS_capset, &header, data);
}

static _Noreturn void become(char* const argv[], int messages) {
    static char* const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int empty = open("/dev/null", O_RDWR);
    if (empty >= 0) {
        dup2(empty, STDIN_FILENO);
        dup2(empty, STDOUT_FILENO);
        dup2(messages >= 0 ? messages : empty, STDERR_FILENO);
    }
    give_up_mounting();
    execve(argv[0], argv, environment);
    _exit(127);
}

/* Waits for the child; kills it when the time is over. SIGCHLD is blocked, so it cannot be missed. */
static int wait_for(pid_t child, int seconds, bool* timed_out) {
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    int status;
    pid_t got;
    while ((got = waitpid(child, &status, WNOHANG)) == 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) {
            *timed_out = true;
            kill(child, SIGKILL);
            got = waitpid(child, &status, 0);
            break;
        }
        sigtimedwait(&ended, NULL, &(struct timespec){.tv_nsec = 200000000});
    }
    return got == child ? status : -1;
}

/* The last line the program said. */
static void last_words(int messages, char* words, size_t size) {
    words[0] = '\0';
    char text[500];
    off_t end = messages < 0 ? 0 : lseek(messages, 0, SEEK_END);
    off_t begin = end > (off_t)sizeof text - 1 ? end - (off_t)sizeof text + 1 : 0;
    ssize_t length = end > 0 ? pread(messages, text, sizeof text - 1, begin) : 0;
    while (length > 0 && text[length - 1] == '\n') length--;
    if (length <= 0) return;
    text[length] = '\0';
    const char* line = strrchr(text, '\n');
    snprintf(words, size, ": %s", line ? line + 1 : text);
}

int run_program(char* const argv[], int seconds, char* reason, size_t reason_size) {
    sigset_t ended, before;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &before);
    int messages = memfd_create("messages", MFD_CLOEXEC);
    pid_t child = fork();
    if (child == 0) become(argv, messages);
    bool timed_out = false;
    int status = child < 0 ? -1 : wait_for(child, seconds, &timed_out);
    sigprocmask(SIG_SETMASK, &before, NULL);

    char words[512];
    last_words(messages, words, sizeof words);
    if (messages >= 0) close(messages);
    if (timed_out)
        snprintf(reason, reason_size, "%s took more than %d s and was ended", argv[0], seconds);
    else if (status < 0)
        snprintf(reason, reason_size, "%s could not be started", argv[0]);
    else if (WIFSIGNALED(status))
        snprintf(reason, reason_size, "%s died of signal %d", argv[0], WTERMSIG(status));
    else if (WEXITSTATUS(status))
        snprintf(reason, reason_size, "%s failed (exit status %d)%s", argv[0], WEXITSTATUS(status), words);
    else
        return 0;
    return -1;
}
