#define _GNU_SOURCE
#include "cuda.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int find_function(void* library, const char* name, void* function) {
    void* found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

int load_cuda(struct cuda* cuda, char* reason, size_t size) {
    static const struct {
        const char* symbol;
        size_t place;
    } functions[] = {
#define ENTRY(member, symbol, parameters) {#symbol, offsetof(struct cuda, member)},
        CUDA_FUNCTIONS(ENTRY)
#undef ENTRY
    };
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char* why = dlerror();
        snprintf(reason, size, "the guest's loader cannot load libcuda.so.1: %s", why ? why : "no reason given");
        return -1;
    }
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!find_function(library, functions[i].symbol, (char*)cuda + functions[i].place)) {
            snprintf(reason, size, "libcuda.so.1 has no %s: it is older than this test knows", functions[i].symbol);
            return -1;
        }
    Dl_info info;
    char real[PATH_MAX];
    void* somewhere_in_it;
    memcpy(&somewhere_in_it, &cuda->init, sizeof somewhere_in_it);
    if (dladdr(somewhere_in_it, &info) && info.dli_fname)
        snprintf(cuda->path, sizeof cuda->path, "%.500s", realpath(info.dli_fname, real) ? real : info.dli_fname);
    return 0;
}

void format_uuid(char text[48], const struct cu_uuid* uuid) {
    char* at = text + snprintf(text, 48, "GPU-");
    for (int i = 0; i < 16; i++)
        at += snprintf(at, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid->bytes[i]);
}

int is_occupied(cu_result result) { return result == CU_OUT_OF_MEMORY || result == CU_DEVICE_UNAVAILABLE; }
