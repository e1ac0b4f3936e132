/* Checks that need a process of their own, started before the driver is touched and run beside the main checks. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

enum { PATIENCE_MILLISECONDS = 30 * 1000, NOBODY = 65534 };

struct answer {
    enum result result;
    int count;
    double taken; /* milliseconds, in the child: the parent asks when it has the time */
    char detail[256];
    char uuids[MAX_GPUS][48];
};

struct beside {
    pid_t process;
    int pipe; /* what it says, whole at its end */
    double begin;
};

/* The child's standard streams lead nowhere: the report is the parent's alone. */
static struct beside* start(void (*run)(int out)) {
    struct beside* beside = calloc(1, sizeof *beside);
    int ends[2];
    if (!beside || pipe(ends) < 0) _exit(3);
    beside->begin = begin_check();
    beside->process = fork();
    if (beside->process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int nowhere = open("/dev/null", O_RDWR);
        for (int i = 0; nowhere >= 0 && i < 3; i++) dup2(nowhere, i);
        close(ends[0]);
        run(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    beside->pipe = ends[0];
    return beside;
}

static void say(int out, double begin, struct answer* answer) {
    answer->taken = milliseconds() - begin;
    const char* at = (const char*)answer;
    for (size_t left = sizeof *answer; left > 0;) {
        ssize_t written = write(out, at, left);
        if (written <= 0) return;
        at += written;
        left -= (size_t)written;
    }
}

/* Reads until the end, `size` at most, then reaps. Returns the length, or -1 when the time is over; it is killed then.
 */
static ssize_t hear(struct beside* beside, char* buffer, size_t size, int* status) {
    size_t length = 0;
    int over = 0;
    *status = -1;
    while (beside->process > 0 && length < size) {
        double left = PATIENCE_MILLISECONDS - (milliseconds() - beside->begin);
        struct pollfd wait = {.fd = beside->pipe, .events = POLLIN};
        over = left <= 0 || poll(&wait, 1, (int)left + 1) == 0;
        if (over) break;
        ssize_t got = read(beside->pipe, buffer + length, size - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    close(beside->pipe);
    if (beside->process > 0) {
        if (over || length == size) kill(beside->process, SIGKILL);
        waitpid(beside->process, status, 0);
    }
    return over ? -1 : (ssize_t)length;
}

/* A child that gave no whole answer crashed or hung. */
static int hear_answer(struct beside* beside, const char* name, struct answer* answer) {
    int status;
    char room[sizeof *answer + 1];
    ssize_t length = hear(beside, room, sizeof room, &status);
    memcpy(answer, room, sizeof *answer);
    if (length == (ssize_t)sizeof *answer) return 1;
    if (length < 0)
        end_check(name, beside->begin, FAILED, "no end within %d s", PATIENCE_MILLISECONDS / 1000);
    else if (WIFSIGNALED(status))
        end_check(name, beside->begin, FAILED, "died of signal %d", WTERMSIG(status));
    else
        end_check(name, beside->begin, FAILED, "ended without a result");
    return 0;
}

/* --- NVML --- */

static const char* find_nvml_gpus(void* library, struct answer* answer) {
    int (*init)(void), (*get_count)(unsigned*), (*get_handle)(unsigned, void**), (*get_uuid)(void*, char*, unsigned);
    const char* (*error_string)(int);
    if (!find_function(library, "nvmlInit_v2", &init) || !find_function(library, "nvmlDeviceGetCount_v2", &get_count) ||
        !find_function(library, "nvmlDeviceGetHandleByIndex_v2", &get_handle) ||
        !find_function(library, "nvmlDeviceGetUUID", &get_uuid) ||
        !find_function(library, "nvmlErrorString", &error_string))
        return "libnvidia-ml.so.1 is older than this test knows";
    unsigned count = 0;
    int error = init();
    if (error == 0) error = get_count(&count);
    for (unsigned i = 0; error == 0 && i < count && i < MAX_GPUS; i++) {
        void* gpu;
        error = get_handle(i, &gpu);
        if (error == 0) error = get_uuid(gpu, answer->uuids[i], sizeof answer->uuids[i]);
        answer->count = (int)i + 1;
    }
    return error ? error_string(error) : NULL;
}

static void run_nvml(int out) {
    struct answer answer = {.result = PASSED};
    double begin = milliseconds();
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    const char* trouble = library ? find_nvml_gpus(library, &answer) : NULL;
    if (!library) {
        answer.result = SKIPPED;
        snprintf(answer.detail, sizeof answer.detail, "no libnvidia-ml.so.1: the machine has no capability utility");
    } else if (trouble) {
        answer.result = FAILED;
        snprintf(answer.detail, sizeof answer.detail, "NVML says: %s", trouble);
    }
    say(out, begin, &answer);
}

struct beside* start_nvml(void) { return start(run_nvml); }

static int knows(const struct answer* answer, const char* uuid) {
    for (int i = 0; i < answer->count && i < MAX_GPUS; i++)
        if (strncmp(answer->uuids[i], uuid, sizeof answer->uuids[i]) == 0) return 1;
    return 0;
}

void finish_nvml(struct beside* beside, const struct test* test) {
    struct answer answer;
    if (!hear_answer(beside, "nvml", &answer)) return;
    answer.detail[sizeof answer.detail - 1] = '\0';
    for (int i = 0; answer.result == PASSED && i < test->gpu_count; i++)
        if (!knows(&answer, test->gpus[i].uuid)) {
            answer.result = FAILED;
            snprintf(answer.detail, sizeof answer.detail, "CUDA sees %s and NVML does not", test->gpus[i].uuid);
        }
    if (answer.result == PASSED && test->gpu_count > 0 && answer.count != test->gpu_count) {
        answer.result = FAILED;
        snprintf(answer.detail, sizeof answer.detail, "NVML sees %d GPUs and CUDA %d", answer.count, test->gpu_count);
    }
    if (answer.result == PASSED)
        snprintf(answer.detail, sizeof answer.detail, "sees %d GPU%s", answer.count, answer.count == 1 ? "" : "s");
    end_check("nvml", milliseconds() - answer.taken, answer.result, "%s", answer.detail);
}

/* --- an unprivileged user --- */

static void try_cuda(struct answer* answer) {
    static struct cuda cuda;
    answer->result = PASSED;
    if (load_cuda(&cuda, answer->detail, sizeof answer->detail) < 0) {
        answer->result = FAILED;
        return;
    }
    const char* call = "cuInit";
    cu_result error = cuda.init(0);
    if (error == CU_SUCCESS) {
        call = "cuDeviceGetCount";
        error = cuda.device_count(&answer->count);
    }
    if (error == CU_SUCCESS) return;
    answer->result = is_occupied(error) ? DEGRADED : FAILED;
    snprintf(answer->detail, sizeof answer->detail, "%.250s", explain(&cuda, call, error));
}

static void run_user(int out) {
    struct answer answer = {.result = SKIPPED};
    double begin = milliseconds();
    if (getuid() != 0) {
        snprintf(answer.detail, sizeof answer.detail, "the test itself runs as user %u", (unsigned)getuid());
    } else if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
               setresuid(NOBODY, NOBODY, NOBODY) < 0) {
        snprintf(answer.detail, sizeof answer.detail, "cannot become user %d: %s", NOBODY, strerror(errno));
    } else {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* lost with the change of user */
        try_cuda(&answer);
    }
    say(out, begin, &answer);
}

struct beside* start_user(void) { return start(run_user); }

void finish_user(struct beside* beside, const struct test* test) {
    struct answer answer;
    if (!hear_answer(beside, "user", &answer)) return;
    answer.detail[sizeof answer.detail - 1] = '\0';
    double begin = milliseconds() - answer.taken;
    if (answer.result == PASSED && answer.count != test->gpu_count)
        end_check("user", begin, FAILED, "user %d sees %d GPUs and root %d", NOBODY, answer.count, test->gpu_count);
    else if (answer.result == PASSED)
        end_check("user", begin, PASSED, "user %d sees %d GPU%s", NOBODY, answer.count, answer.count == 1 ? "" : "s");
    else
        end_check("user", begin, answer.result, "as user %d: %s", NOBODY, answer.detail);
}

/* --- nvidia-smi --- */

static void run_nvidia_smi(int out) {
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    close(out);
    char* const command[] = {"nvidia-smi", "-L", NULL};
    execvp(command[0], command);
    _exit(errno == ENOENT || errno == ENOTDIR ? 127 : 126);
}

struct beside* start_nvidia_smi(void) { return start(run_nvidia_smi); }

void finish_nvidia_smi(struct beside* beside) {
    static char said[16 * 1024 + 1];
    int status;
    ssize_t length = hear(beside, said, sizeof said, &status);
    const char* name = "nvidia-smi";
    said[length < 0 ? 0 : length < (ssize_t)sizeof said ? length : (ssize_t)sizeof said - 1] = '\0';
    char* end = strchr(said, '\n');
    if (end) *end = '\0';
    if (length < 0)
        end_check(name, beside->begin, FAILED, "no end within %d s", PATIENCE_MILLISECONDS / 1000);
    else if (length == (ssize_t)sizeof said)
        end_check(name, beside->begin, FAILED, "its output does not end");
    else if (WIFSIGNALED(status))
        end_check(name, beside->begin, FAILED, "died of signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 127)
        end_check(name, beside->begin, SKIPPED,
                  "not in the guest's PATH: the machine has no capability utility, or /usr is read-only");
    else if (WEXITSTATUS(status) != 0)
        end_check(name, beside->begin, FAILED, "exit status %d: %.200s", WEXITSTATUS(status), said);
    else
        end_check(name, beside->begin, PASSED, "%.200s", said);
}
