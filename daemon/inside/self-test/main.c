/* The self-test: whether a CUDA program works in this guest (docs/self-test.md).
 *
 *     main.c    the start: library, version, init, devices, and the order of all
 *     quick.c   what is tried on each GPU; full.c: what `full` adds
 *     beside.c  NVML, nvidia-smi and an unprivileged user, in processes of their own at the same time
 *     cuda.c explain.c nodes.c   the driver's interface, and its errors in words
 *
 * Runs in a guest of any distribution, so it uses nothing but the C library's oldest functions (../glibc-floor). A hang
 * in the driver is not handled here: the host holds the watch. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static const char* const gpu_checks[] = {"init", "devices", "context", "jit", "memory", "kernel", "bandwidth"};

static int check_library(struct test* test) {
    char reason[400], generation[64];
    double begin = begin_check();
    if (load_cuda(&test->cuda, reason, sizeof reason) < 0) {
        end_check("library", begin, FAILED, "%s", reason);
        return 0;
    }
    report_value("library", test->cuda.path);
    /* In a guest it must be the host's; on the host itself there is no such link. */
    int in_guest = readlink("/run/cuda-nspawn/driver", generation, sizeof generation) > 0;
    if (in_guest && strncmp(test->cuda.path, "/run/cuda-nspawn-store/", 23) != 0)
        end_check("library", begin, FAILED,
                  "the guest's loader prefers its own %s to the host's driver: remove it, or its directory from "
                  "/etc/ld.so.conf.d, and run ldconfig",
                  test->cuda.path);
    else
        end_check("library", begin, PASSED, "%s", test->cuda.path);
    return 1;
}

/* The version in a text like "... Kernel Module  580.159.04  Release Build ...": the first word of digits and dots. */
static int kernel_version(char* version, size_t size) {
    char text[512];
    int file = open("/proc/driver/nvidia/version", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = '\0';
    for (char* word = text; *word; word++) {
        size_t end = 0, dots = 0;
        if (*word < '0' || *word > '9' || (word > text && word[-1] != ' ')) continue;
        for (; (word[end] >= '0' && word[end] <= '9') || word[end] == '.'; end++) dots += word[end] == '.';
        if (dots > 0 && end < size && (word[end] == ' ' || word[end] == '\n')) {
            memcpy(version, word, end);
            version[end] = '\0';
            return 1;
        }
    }
    return 0;
}

static void check_version(struct test* test) {
    double begin = begin_check();
    int cuda = 0;
    char text[16], module[32] = "";
    cu_result result = test->cuda.driver_version(&cuda);
    if (result != CU_SUCCESS) {
        end_check("version", begin, FAILED, "%s", explain(&test->cuda, "cuDriverGetVersion", result));
        return;
    }
    snprintf(text, sizeof text, "%d.%d", cuda / 1000, cuda % 1000 / 10);
    report_value("cuda", text);
    const char* suffix = strstr(test->cuda.path, ".so.");
    if (kernel_version(module, sizeof module) && suffix && strchr(suffix + 4, '.') && strcmp(suffix + 4, module) != 0)
        end_check("version", begin, FAILED,
                  "the library is %s and the kernel module %s: the host needs a reboot, or its module a reload",
                  suffix + 4, module);
    else
        end_check("version", begin, PASSED, "CUDA %s%s%s", text, *module ? ", kernel module " : "", module);
}

static int check_init(struct test* test) {
    double begin = begin_check();
    cu_result result = test->cuda.init(0);
    if (result == CU_SUCCESS)
        end_check("init", begin, PASSED, "cuInit");
    else
        end_check("init", begin, is_occupied(result) ? DEGRADED : FAILED, "%s", explain(&test->cuda, "cuInit", result));
    return result == CU_SUCCESS;
}

static cu_result find_gpu(struct test* test, int index, const char** call) {
    struct cuda* cuda = &test->cuda;
    struct gpu* gpu = &test->gpus[index];
    struct cu_uuid uuid;
    *call = "cuDeviceGet";
    cu_result result = cuda->device(&gpu->device, index);
    if (result != CU_SUCCESS) return result;
    *call = "cuDeviceGetName";
    result = cuda->device_name(gpu->name, sizeof gpu->name, gpu->device);
    if (result != CU_SUCCESS) return result;
    *call = "cuDeviceGetUuid";
    result = cuda->device_uuid(&uuid, gpu->device);
    if (result != CU_SUCCESS) return result;
    format_uuid(gpu->uuid, &uuid);
    int major = 0, minor = 0;
    *call = "cuDeviceGetAttribute";
    result = cuda->device_attribute(&major, CU_CAPABILITY_MAJOR, gpu->device);
    if (result == CU_SUCCESS) result = cuda->device_attribute(&minor, CU_CAPABILITY_MINOR, gpu->device);
    if (result != CU_SUCCESS) return result;
    snprintf(gpu->capability, sizeof gpu->capability, "%d.%d", major, minor);
    gpu->usable = 1;
    return CU_SUCCESS;
}

/* Whether they are the ones that were granted is for the host to judge: it compares the UUIDs. */
static int check_devices(struct test* test) {
    double begin = begin_check();
    const char* call = "cuDeviceGetCount";
    int count = 0;
    cu_result result = test->cuda.device_count(&count);
    for (int i = 0; result == CU_SUCCESS && i < count && i < MAX_GPUS; i++) result = find_gpu(test, i, &call);
    if (result != CU_SUCCESS || count < 1) {
        end_check("devices", begin, FAILED, "%s", result ? explain(&test->cuda, call, result) : "CUDA sees no GPU");
        return 0;
    }
    test->gpu_count = count < MAX_GPUS ? count : MAX_GPUS;
    for (int i = 0; i < test->gpu_count; i++) {
        report_value("gpu", test->gpus[i].uuid);
        report_value("capability", test->gpus[i].capability);
    }
    end_check("devices", begin, PASSED, "%d GPU%s: %s%s", count, count > 1 ? "s" : "", test->gpus[0].name,
              count > 1 ? ", ..." : "");
    return 1;
}

static void check_gpus(struct test* test) {
    size_t done = 0;
    const char* why = "the library could not be loaded";
    if (check_library(test)) {
        check_version(test);
        done = 1;
        why = "CUDA did not start";
        if (check_init(test)) {
            done = 2;
            why = "no GPU was found";
            if (check_devices(test)) done = 2 + (size_t)quick_gpu_checks(test);
        }
    } else {
        skip_check("version", why);
    }
    if (done > 2) why = "no GPU is left to try it on";
    for (; done < sizeof gpu_checks / sizeof *gpu_checks; done++) skip_check(gpu_checks[done], why);
}

int main(int argc, char** argv) {
    static struct test test;
    const char* level = argc > 1 ? argv[1] : "quick";
    int full = strcmp(level, "full") == 0;
    if (argc > 2 || (!full && strcmp(level, "quick") != 0)) {
        static const char usage[] = "usage: self-test [quick|full]\n";
        (void)!write(STDERR_FILENO, usage, sizeof usage - 1);
        return 2;
    }
    /* The driver would leave compiled kernels in the guest's home directories, and the next test would not compile. */
    setenv("CUDA_CACHE_DISABLE", "1", 1);

    struct beside *nvml = start_nvml(), *nvidia_smi = start_nvidia_smi(), *user = start_user();
    check_gpus(&test);
    if (full) full_gpu_checks(&test);
    finish_nvml(nvml, &test);
    finish_nvidia_smi(nvidia_smi);
    finish_user(user, &test);
    report_end();
    /* No farewell to the driver: the kernel takes everything back, and sooner. */
    _exit(has_failed());
}
