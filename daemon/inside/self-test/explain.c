/* CUDA's error numbers in words: what each means for a machine that borrows the host's driver, and the way out. */
#define _GNU_SOURCE
#include <stdio.h>

#include "cuda.h"

static const struct {
    cu_result number;
    const char* name;
    const char* meaning;
} errors[] = {
    {1, "INVALID_VALUE",
     "the library and the kernel module do not understand each other; their versions should be equal"},
    {2, "OUT_OF_MEMORY", "the GPU's memory is full: see with nvidia-smi on the host who holds it"},
    {3, "NOT_INITIALIZED", "libcuda could not start; see the host's kernel log for lines with NVRM"},
    {34, "STUB_LIBRARY",
     "the toolkit's stub was loaded in place of a driver: take its stubs directory out of the loader's path"},
    {46, "DEVICE_UNAVAILABLE",
     "another process has the GPU in exclusive mode, or compute is prohibited: nvidia-smi -q -d COMPUTE on the host"},
    {100, "NO_DEVICE", "no GPU can be opened"},
    {101, "INVALID_DEVICE", "the GPU is there and does not answer: nvidia-smi on the host; it may need a reset"},
    {200, "INVALID_IMAGE", "the kernel's text was not understood; this is a bug of the self-test"},
    {201, "INVALID_CONTEXT", "the GPU dropped the context; see the host's kernel log for Xid lines"},
    {209, "NO_BINARY_FOR_GPU", "the driver has no compiler for this GPU: it is too new for the driver"},
    {214, "ECC_UNCORRECTABLE",
     "the GPU's memory has an error that cannot be corrected: nvidia-smi -q -d ECC on the host; reset or replace it"},
    {218, "INVALID_PTX", "the driver's compiler refused the kernel; this is a bug of the self-test"},
    {220, "NVLINK_UNCORRECTABLE", "NVLink reported an error: nvidia-smi nvlink -e on the host"},
    {221, "JIT_COMPILER_NOT_FOUND",
     "libnvidia-ptxjitcompiler.so.1 is not there: the driver on the host is installed in part"},
    {222, "UNSUPPORTED_PTX_VERSION", "the driver is older than this test supports"},
    {304, "OPERATING_SYSTEM",
     "a system call of the driver failed; a limit of the machine or its device rules may be the cause"},
    {700, "ILLEGAL_ADDRESS", "the GPU read where nothing is; see the host's kernel log for Xid lines"},
    {702, "LAUNCH_TIMEOUT", "the kernel took too long; the GPU may drive a display"},
    {719, "LAUNCH_FAILED", "the GPU gave up; see the host's kernel log for Xid lines"},
    {800, "NOT_PERMITTED", "the driver refuses this to a process without privileges"},
    {801, "NOT_SUPPORTED", "the driver does not do this on this GPU or in this kind of virtual machine"},
    {802, "SYSTEM_NOT_READY",
     "the GPUs wait for their fabric: start nvidia-fabricmanager on the host, in the driver's version"},
    {803, "SYSTEM_DRIVER_MISMATCH",
     "libcuda and the kernel module are of different versions: a copy in the guest is in the way, or the host needs a "
     "reboot after an upgrade"},
    {804, "COMPAT_NOT_SUPPORTED",
     "a cuda-compat library of the guest is in the way and does not fit this GPU: remove the cuda-compat package from "
     "the guest"},
    {805, "MPS_CONNECTION_FAILED", "an MPS server was found and does not answer"},
    {999, "UNKNOWN", "the driver could not start; most often /dev/nvidia-uvm cannot be opened"},
};

const char* explain(const struct cuda* cuda, const char* call, cu_result result) {
    static char text[1024];
    const char *name = "", *meaning = "see the CUDA Driver API reference";
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].number == result) {
            name = errors[i].name;
            meaning = errors[i].meaning;
        }
    /* The start's errors come from the device nodes in most cases: say which, if one is at fault. */
    const char* trouble = result == 100 || result == 101 || result == 304 || result == 999 ? node_trouble() : "";
    if (*trouble) meaning = trouble;
    int shadowed = result == 1 || result == 34 || result == 803 || result == 804;
    snprintf(text, sizeof text, "%s gave %s%s%s(%d): %s%s%s", call, *name ? "CUDA_ERROR_" : "error ", name,
             *name ? " " : "", result, meaning, shadowed ? "; the library is " : "", shadowed ? cuda->path : "");
    return text;
}
