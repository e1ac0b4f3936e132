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
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* Reads the answer whole; whoever crashed or hung gave none. Reports that, and reaps in any case. */
static int hear_answer(struct beside* beside, const char* name, struct answer* answer) {
    size_t length = 0;
    int status = 0, over = 0;
    while (beside->process > 0 && length < sizeof *answer) {
        double left = PATIENCE_MILLISECONDS - (milliseconds() - beside->begin);
        struct pollfd wait = {.fd = beside->pipe, .events = POLLIN};
        over = left <= 0 || poll(&wait, 1, (int)left + 1) == 0;
        ssize_t got = over ? 0 : read(beside->pipe, (char*)answer + length, sizeof *answer - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    close(beside->pipe);
    if (beside->process > 0) {
        if (over) kill(beside->process, SIGKILL);
        waitpid(beside->process, &status, 0);
    }
    answer->detail[sizeof answer->detail - 1] = '\0';
    if (length == sizeof *answer) return 1;
    if (over)
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
    struct stat node = {0};
    syscall(SYS_newfstatat, AT_FDCWD, "/dev/nvidiactl", &node, 0); /* stat() is too new for the glibc of old guests */
    if (S_ISCHR(node.st_mode) && (node.st_mode & 0006) != 0006) {
        snprintf(answer.detail, sizeof answer.detail,
                 "the device nodes are for root and its group alone (mode %04o), as the host's kernel module was told",
                 node.st_mode & 0777);
    } else if (getuid() != 0) {
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
    double begin = milliseconds() - answer.taken;
    if (answer.result == PASSED && answer.count != test->gpu_count)
        end_check("user", begin, FAILED, "user %d sees %d GPUs and root %d: see the modes in ls -lL /dev/nvidia*",
                  NOBODY, answer.count, test->gpu_count);
    else if (answer.result == PASSED)
        end_check("user", begin, PASSED, "user %d sees %d GPU%s", NOBODY, answer.count, answer.count == 1 ? "" : "s");
    else
        end_check("user", begin, answer.result, "as user %d: %s", NOBODY, answer.detail);
}

/* --- nvidia-smi --- */

static pid_t start_program(char* const command[], int* output) {
    int ends[2];
    if (pipe(ends) < 0) return -1;
    pid_t process = fork();
    if (process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        execvp(command[0], command);
        _exit(errno == ENOENT || errno == ENOTDIR ? 127 : 126);
    }
    close(ends[1]);
    *output = ends[0];
    return process;
}

/* The first line of what the program says; the rest is read and thrown away. Its process may be ended by the parent's.
 */
static void read_first_line(int output, char* line, size_t size) {
    char buffer[4096];
    size_t length = 0;
    int complete = 0;
    for (ssize_t got; (got = read(output, buffer, sizeof buffer)) > 0;)
        for (ssize_t i = 0; i < got && !complete; i++) {
            complete = buffer[i] == '\n' || length + 1 == size;
            if (!complete) line[length++] = buffer[i];
        }
    line[length] = '\0';
}

static void run_nvidia_smi(int out) {
    struct answer answer = {.result = FAILED};
    char* const command[] = {"nvidia-smi", "-L", NULL};
    char said[200] = "";
    double begin = milliseconds();
    int status = -1, output = -1;
    pid_t process = start_program(command, &output);
    if (process > 0) {
        read_first_line(output, said, sizeof said);
        waitpid(process, &status, 0);
    }
    if (process < 0) {
        snprintf(answer.detail, sizeof answer.detail, "cannot be started: %s", strerror(errno));
    } else if (WIFSIGNALED(status)) {
        snprintf(answer.detail, sizeof answer.detail, "died of signal %d", WTERMSIG(status));
    } else if (WEXITSTATUS(status) == 127) {
        answer.result = SKIPPED;
        snprintf(answer.detail, sizeof answer.detail,
                 "not in the guest's PATH: the machine has no capability utility, or its /usr is read-only");
    } else if (WEXITSTATUS(status) != 0) {
        snprintf(answer.detail, sizeof answer.detail, "exit status %d: %s", WEXITSTATUS(status), said);
    } else {
        answer.result = PASSED;
        snprintf(answer.detail, sizeof answer.detail, "%s", said);
    }
    say(out, begin, &answer);
}

struct beside* start_nvidia_smi(void) { return start(run_nvidia_smi); }

void finish_nvidia_smi(struct beside* beside) {
    struct answer answer;
    if (hear_answer(beside, "nvidia-smi", &answer))
        end_check("nvidia-smi", milliseconds() - answer.taken, answer.result, "%s", answer.detail);
}
