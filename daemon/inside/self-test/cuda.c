#define _GNU_SOURCE
#include "cuda.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int load_cuda(struct cuda* cuda, char* reason, size_t size) {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char* why = dlerror();
        snprintf(reason, size, "the guest's loader cannot load libcuda.so.1: %s", why ? why : "no reason given");
        return -1;
    }
#define FIND(member, symbol, parameters)                                                             \
    if (!(*(void**)& cuda->member = dlsym(library, #symbol))) {                                      \
        snprintf(reason, size, "libcuda.so.1 has no %s: it is older than this test knows", #symbol); \
        return -1;                                                                                   \
    }
    CUDA_FUNCTIONS(FIND)
#undef FIND
    Dl_info info;
    char real[PATH_MAX];
    if (dladdr(*(void**)&cuda->init, &info) && info.dli_fname)
        snprintf(cuda->path, sizeof cuda->path, "%.500s", realpath(info.dli_fname, real) ? real : info.dli_fname);
    return 0;
}

void format_uuid(char text[48], const struct cu_uuid* uuid) {
    char* at = text + snprintf(text, 48, "GPU-");
    for (int i = 0; i < 16; i++)
        at += snprintf(at, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid->bytes[i]);
}

int is_occupied(cu_result result) { return result == CU_OUT_OF_MEMORY || result == CU_DEVICE_UNAVAILABLE; }
