/* The simulated driver API: start, devices, contexts, modules. Only what the self-test calls. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simulated.h"

enum {
    NOT_INITIALIZED = 3,
    INVALID_VALUE = 1,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    JIT_COMPILER_NOT_FOUND = 221,
    NOT_FOUND = 500,
    UNKNOWN = 999,
    MAXIMUM = 16
};

static int gpus[MAXIMUM], gpu_count, initialized;
struct context* current;

EXPORT cu_result cuDriverGetVersion(int* version) {
    *version = 13000;
    return CU_SUCCESS;
}

EXPORT cu_result cuInit(unsigned flags) {
    static const char noise[] = "{\"check\":\"noise\",\"result\":\"passed\",\"ms\":1,\"detail\":\"\"}\n";
    if (FAULT == FAULT_HANG)
        for (;;) pause();
    if (FAULT == FAULT_FLOOD)
        for (;;) (void)!write(STDOUT_FILENO, noise, sizeof noise - 1);
    if (flags != 0) return INVALID_VALUE;
    if (!open_node("nvidiactl")) return NO_DEVICE;
    if (!open_node("nvidia-uvm")) return UNKNOWN;
    gpu_count = open_gpus(gpus, MAXIMUM);
    initialized = gpu_count > 0;
    return initialized ? CU_SUCCESS : NO_DEVICE;
}

EXPORT cu_result cuDeviceGetCount(int* count) {
    *count = gpu_count;
    return initialized ? CU_SUCCESS : NOT_INITIALIZED;
}

EXPORT cu_result cuDeviceGet(cu_device* device, int index) {
    if (!initialized) return NOT_INITIALIZED;
    if (index < 0 || index >= gpu_count) return INVALID_DEVICE;
    *device = index;
    return CU_SUCCESS;
}

EXPORT cu_result cuDeviceGetName(char* name, int length, cu_device device) {
    (void)device;
    snprintf(name, (size_t)length, "%s", SIMULATED_MODEL);
    return CU_SUCCESS;
}

static unsigned hex(char digit) { return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10); }

EXPORT cu_result cuDeviceGetUuid(struct cu_uuid* uuid, cu_device device) {
    if (device < 0 || device >= gpu_count) return INVALID_DEVICE;
    const char* text = all_gpus[gpus[device]].uuid + strlen("GPU-");
    for (int i = 0; i < 16; i++, text += 2) {
        if (*text == '-') text++;
        uuid->bytes[i] = (unsigned char)(hex(text[0]) << 4 | hex(text[1]));
    }
    if (FAULT == FAULT_OTHER_GPU) uuid->bytes[15] ^= 0x80;
    return CU_SUCCESS;
}

/* The compute capability of the model that it plays, 9.0; nothing else is asked. */
EXPORT cu_result cuDeviceGetAttribute(int* value, int attribute, cu_device device) {
    enum { CAPABILITY_MAJOR = 75, CAPABILITY_MINOR = 76 };
    if (device < 0 || device >= gpu_count) return INVALID_DEVICE;
    if (attribute != CAPABILITY_MAJOR && attribute != CAPABILITY_MINOR) return INVALID_VALUE;
    *value = attribute == CAPABILITY_MAJOR ? 9 : 0;
    return CU_SUCCESS;
}

EXPORT cu_result cuCtxCreate_v2(cu_context* context, unsigned flags, cu_device device) {
    (void)flags;
    if (device < 0 || device >= gpu_count) return INVALID_DEVICE;
    current = calloc(1, sizeof *current);
    if (!current) return CU_OUT_OF_MEMORY;
    current->gpu = gpus[device];
    *context = current;
    return CU_SUCCESS;
}

EXPORT cu_result cuCtxSetCurrent(cu_context context) {
    current = context;
    return initialized ? CU_SUCCESS : NOT_INITIALIZED;
}

EXPORT cu_result cuCtxSynchronize(void) { return current ? CU_SUCCESS : INVALID_CONTEXT; }

/* A module is its text. As the real one, it needs a second library to compile it. */
EXPORT cu_result cuModuleLoadDataEx(cu_module* module, const void* image, unsigned count, int* options, void** values) {
    (void)count, (void)options, (void)values;
    if (!current) return INVALID_CONTEXT;
    if (!dlopen("libnvidia-ptxjitcompiler.so.1", RTLD_NOW | RTLD_LOCAL)) return JIT_COMPILER_NOT_FOUND;
    if (!strstr(image, ".version ") || !strstr(image, ".target ")) return INVALID_IMAGE;
    char* text = malloc(strlen(image) + 1);
    if (!text) return CU_OUT_OF_MEMORY;
    memcpy(text, image, strlen(image) + 1);
    *module = text;
    return CU_SUCCESS;
}

EXPORT cu_result cuModuleGetFunction(cu_function* function, cu_module module, const char* name) {
    *function = find_kernel(module, name);
    return *function ? CU_SUCCESS : NOT_FOUND;
}

EXPORT cu_result cuLaunchKernel(cu_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared, void* stream,
                                void** parameters, void** extra) {
    (void)shared, (void)stream;
    if (!current) return INVALID_CONTEXT;
    if (grid_z != 1 || block_z != 1 || block_x * block_y > 1024 || extra) return INVALID_VALUE;
    return run_kernel(function, grid_x, grid_y, block_x, block_y, parameters);
}
