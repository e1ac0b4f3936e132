/* The simulated NVML: as much as nvidia-smi, the self-test and simple tools ask. Numbers: NVML API reference. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodes.h"

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    MAXIMUM = 16
};

static int gpus[MAXIMUM], gpu_count = -1;

static int give(char* to, unsigned length, const char* text) {
    if (gpu_count < 0) return UNINITIALIZED;
    if (strlen(text) >= length) return INSUFFICIENT_SIZE;
    memcpy(to, text, strlen(text) + 1);
    return SUCCESS;
}

static const struct simulated_gpu* gpu_of(void* handle) {
    intptr_t index = (intptr_t)handle - 1;
    return index >= 0 && index < gpu_count ? &all_gpus[gpus[index]] : NULL;
}

EXPORT int nvmlInit_v2(void) {
    if (!open_node("nvidiactl")) return errno == EACCES || errno == EPERM ? NO_PERMISSION : DRIVER_NOT_LOADED;
    gpu_count = open_gpus(gpus, MAXIMUM);
    return SUCCESS;
}

EXPORT int nvmlShutdown(void) {
    gpu_count = -1;
    return SUCCESS;
}

EXPORT const char* nvmlErrorString(int result) {
    switch (result) {
        case SUCCESS:
            return "Success";
        case UNINITIALIZED:
            return "Uninitialized";
        case NO_PERMISSION:
            return "Insufficient Permissions";
        case NOT_FOUND:
            return "Not Found";
        case DRIVER_NOT_LOADED:
            return "Driver Not Loaded";
        default:
            return "Invalid Argument";
    }
}

/* The version is in the library's own name, so that one build serves every version that a test installs. */
EXPORT int nvmlSystemGetDriverVersion(char* version, unsigned length) {
    Dl_info info;
    char real[PATH_MAX];
    const char* suffix = dladdr(&gpu_count, &info) && realpath(info.dli_fname, real) ? strstr(real, ".so.") : NULL;
    return give(version, length, suffix ? suffix + 4 : "unknown");
}

EXPORT int nvmlSystemGetCudaDriverVersion_v2(int* version) {
    *version = 13000;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned* count) {
    if (gpu_count < 0) return UNINITIALIZED;
    *count = (unsigned)gpu_count;
    return SUCCESS;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, void** handle) {
    *handle = (void*)(intptr_t)(index + 1);
    return gpu_of(*handle) ? SUCCESS : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char* uuid, void** handle) {
    for (int i = 0; i < gpu_count; i++)
        if (strcmp(all_gpus[gpus[i]].uuid, uuid) == 0) return nvmlDeviceGetHandleByIndex_v2((unsigned)i, handle);
    return NOT_FOUND;
}

EXPORT int nvmlDeviceGetUUID(void* handle, char* uuid, unsigned length) {
    const struct simulated_gpu* gpu = gpu_of(handle);
    return gpu ? give(uuid, length, gpu->uuid) : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceGetName(void* handle, char* name, unsigned length) {
    return gpu_of(handle) ? give(name, length, SIMULATED_MODEL) : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceGetMinorNumber(void* handle, unsigned* minor) {
    const struct simulated_gpu* gpu = gpu_of(handle);
    if (gpu) *minor = gpu->minor;
    return gpu ? SUCCESS : INVALID_ARGUMENT;
}
