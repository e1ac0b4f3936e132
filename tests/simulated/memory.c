/* Device memory of the simulated driver: the process's own, but reached only through allocations that were made. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "simulated.h"

enum { INVALID_VALUE = 1, INVALID_CONTEXT = 201 };
static const size_t total_memory = (size_t)256 << 20;

static struct allocation {
    struct allocation* next;
    char* memory;
    size_t size;
    int gpu;
}* allocations;

static size_t used_memory(int gpu) {
    size_t used = 0;
    for (struct allocation* at = allocations; at; at = at->next) used += at->gpu == gpu ? at->size : 0;
    return used;
}

void* device_memory(cu_pointer pointer, size_t size, int gpu) {
    for (struct allocation* at = allocations; at; at = at->next) {
        cu_pointer begin = (cu_pointer)(uintptr_t)at->memory;
        if ((gpu < 0 || at->gpu == gpu) && pointer >= begin && pointer - begin <= at->size &&
            size <= at->size - (pointer - begin))
            return at->memory + (pointer - begin);
    }
    return NULL;
}

EXPORT cu_result cuMemGetInfo_v2(size_t* available, size_t* total) {
    if (!current) return INVALID_CONTEXT;
    *total = total_memory;
    *available = total_memory - used_memory(current->gpu);
    return CU_SUCCESS;
}

EXPORT cu_result cuMemAlloc_v2(cu_pointer* pointer, size_t size) {
    if (!current) return INVALID_CONTEXT;
    if (size > total_memory - used_memory(current->gpu)) return CU_OUT_OF_MEMORY;
    struct allocation* new = malloc(sizeof *new);
    char* memory = malloc(size);
    if (!new || !memory) return CU_OUT_OF_MEMORY;
    *new = (struct allocation){.next = allocations, .memory = memory, .size = size, .gpu = current->gpu};
    allocations = new;
    *pointer = (cu_pointer)(uintptr_t)memory;
    return CU_SUCCESS;
}

EXPORT cu_result cuMemFree_v2(cu_pointer pointer) {
    for (struct allocation** at = &allocations; *at; at = &(*at)->next)
        if ((cu_pointer)(uintptr_t)(*at)->memory == pointer) {
            struct allocation* gone = *at;
            *at = gone->next;
            free(gone->memory);
            free(gone);
            return CU_SUCCESS;
        }
    return INVALID_VALUE;
}

EXPORT cu_result cuMemHostAlloc(void** memory, size_t size, unsigned flags) {
    (void)flags;
    *memory = malloc(size);
    return *memory ? CU_SUCCESS : CU_OUT_OF_MEMORY;
}

static cu_result copy(void* to, const void* from, size_t size) {
    if (!to || !from) return INVALID_VALUE;
    memmove(to, from, size);
    return CU_SUCCESS;
}

static void* here(cu_pointer pointer, size_t size) {
    return current ? device_memory(pointer, size, current->gpu) : NULL;
}

EXPORT cu_result cuMemcpyHtoD_v2(cu_pointer to, const void* from, size_t size) {
    return copy(here(to, size), from, size);
}
EXPORT cu_result cuMemcpyDtoH_v2(void* to, cu_pointer from, size_t size) { return copy(to, here(from, size), size); }
EXPORT cu_result cuMemcpyDtoD_v2(cu_pointer to, cu_pointer from, size_t size) {
    return copy(here(to, size), here(from, size), size);
}

EXPORT cu_result cuMemcpyPeer(cu_pointer to, cu_context to_context, cu_pointer from, cu_context from_context,
                              size_t size) {
    if (!to_context || !from_context) return INVALID_CONTEXT;
    return copy(device_memory(to, size, ((struct context*)to_context)->gpu),
                device_memory(from, size, ((struct context*)from_context)->gpu), size);
}
