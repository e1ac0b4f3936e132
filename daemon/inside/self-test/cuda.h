/* The CUDA driver API, as far as the self-test uses it, found at run time: the guest's own loader decides which
 * libcuda.so.1 it is. Types and numbers are the ABI that NVIDIA keeps stable (CUDA Driver API reference). */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef int cu_result;
typedef int cu_device;
typedef uint64_t cu_pointer;
typedef void* cu_context;
typedef void* cu_module;
typedef void* cu_function;
struct cu_uuid {
    unsigned char bytes[16];
};

enum {
    CU_SUCCESS = 0,
    CU_OUT_OF_MEMORY = 2,
    CU_DEVICE_UNAVAILABLE = 46,
    CU_JIT_ERROR_LOG = 5,
    CU_JIT_ERROR_LOG_SIZE = 6,
    CU_HOST_PORTABLE = 1,
    CU_CAPABILITY_MAJOR = 75,
    CU_CAPABILITY_MINOR = 76,
};

/* FUNCTION(member, symbol, parameters) */
#define CUDA_FUNCTIONS(FUNCTION)                                                                      \
    FUNCTION(driver_version, cuDriverGetVersion, (int*))                                              \
    FUNCTION(init, cuInit, (unsigned))                                                                \
    FUNCTION(device_count, cuDeviceGetCount, (int*))                                                  \
    FUNCTION(device, cuDeviceGet, (cu_device*, int))                                                  \
    FUNCTION(device_name, cuDeviceGetName, (char*, int, cu_device))                                   \
    FUNCTION(device_uuid, cuDeviceGetUuid, (struct cu_uuid*, cu_device))                              \
    FUNCTION(device_attribute, cuDeviceGetAttribute, (int*, int, cu_device))                          \
    FUNCTION(create_context, cuCtxCreate_v2, (cu_context*, unsigned, cu_device))                      \
    FUNCTION(use_context, cuCtxSetCurrent, (cu_context))                                              \
    FUNCTION(synchronize, cuCtxSynchronize, (void))                                                   \
    FUNCTION(load_module, cuModuleLoadDataEx, (cu_module*, const void*, unsigned, int*, void**))      \
    FUNCTION(function, cuModuleGetFunction, (cu_function*, cu_module, const char*))                   \
    FUNCTION(memory_info, cuMemGetInfo_v2, (size_t*, size_t*))                                        \
    FUNCTION(allocate, cuMemAlloc_v2, (cu_pointer*, size_t))                                          \
    FUNCTION(release, cuMemFree_v2, (cu_pointer))                                                     \
    FUNCTION(allocate_host, cuMemHostAlloc, (void**, size_t, unsigned))                               \
    FUNCTION(to_device, cuMemcpyHtoD_v2, (cu_pointer, const void*, size_t))                           \
    FUNCTION(from_device, cuMemcpyDtoH_v2, (void*, cu_pointer, size_t))                               \
    FUNCTION(on_device, cuMemcpyDtoD_v2, (cu_pointer, cu_pointer, size_t))                            \
    FUNCTION(between_devices, cuMemcpyPeer, (cu_pointer, cu_context, cu_pointer, cu_context, size_t)) \
    FUNCTION(                                                                                         \
        launch, cuLaunchKernel,                                                                       \
        (cu_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**))

struct cuda {
#define MEMBER(member, symbol, parameters) cu_result(*member) parameters;
    CUDA_FUNCTIONS(MEMBER)
#undef MEMBER
    char path[512]; /* the file it really is */
};

/* Sets the function pointer at `function` to the library's symbol; 0 if there is none. */
int find_function(void* library, const char* name, void* function);

/* 0, or what is wrong in `reason`. */
int load_cuda(struct cuda* cuda, char* reason, size_t size);

/* "cuInit gave CUDA_ERROR_UNKNOWN (999): what that means and the way out", as text that lives until the next call. */
const char* explain(const struct cuda* cuda, const char* call, cu_result result);
/* Busy, full or reserved by another: no fault of the set-up. */
int is_occupied(cu_result result);

/* nodes.c: the first device node that this process cannot open, and why; "" when all open. */
const char* node_trouble(void);

void format_uuid(char text[48], const struct cu_uuid* uuid);
