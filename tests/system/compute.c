/* A program that computes on its GPU without end and checks every result: what a guest's admin would not want
 * disturbed. compute        until SIGTERM; a line for every 50 rounds; exit status 1 with a sentence at the first error
 * Built from the self-test's parts, so it runs on old guests and finds the driver as any CUDA program does. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cuda.h"
#include "kernels.h"

enum { WORDS = 16 * MIX_BLOCK, ROUNDS_A_LINE = 50, PAUSE_MICROSECONDS = 2000 };

extern const char kernels_ptx[];

static void say(unsigned round, const char* text) {
    char line[700];
    int length = snprintf(line, sizeof line, "round %u: %s\n", round, text);
    if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(2);
}

static void check(unsigned round, const char* call, cu_result result) {
    if (result == CU_SUCCESS) return;
    char text[64];
    snprintf(text, sizeof text, "%s gave %d", call, result);
    say(round, text);
    _exit(1);
}

int main(void) {
    static struct cuda cuda;
    static uint32_t in[WORDS], out[WORDS];
    char reason[500];
    cu_device device;
    cu_context context;
    cu_module module;
    cu_function mix;
    cu_pointer from, to;
    if (load_cuda(&cuda, reason, sizeof reason) < 0) {
        say(0, reason);
        return 1;
    }
    check(0, "cuInit", cuda.init(0));
    check(0, "cuDeviceGet", cuda.device(&device, 0));
    check(0, "cuCtxCreate", cuda.create_context(&context, 0, device));
    check(0, "cuModuleLoadDataEx", cuda.load_module(&module, kernels_ptx, 0, NULL, NULL));
    check(0, "cuModuleGetFunction", cuda.function(&mix, module, "cuda_nspawn_mix"));
    check(0, "cuMemAlloc", cuda.allocate(&from, sizeof in));
    check(0, "cuMemAlloc", cuda.allocate(&to, sizeof out));
    say(0, cuda.path);
    for (unsigned round = 1;; round++) {
        uint32_t key = round * 0x9e3779b1u;
        for (uint32_t i = 0; i < WORDS; i++) in[i] = pattern(i, round);
        check(round, "cuMemcpyHtoD", cuda.to_device(from, in, sizeof in));
        void* parameters[] = {&from, &to, &key};
        check(round, "cuLaunchKernel",
              cuda.launch(mix, WORDS / MIX_BLOCK, 1, 1, MIX_BLOCK, 1, 1, 0, NULL, parameters, NULL));
        check(round, "cuCtxSynchronize", cuda.synchronize());
        check(round, "cuMemcpyDtoH", cuda.from_device(out, to, sizeof out));
        for (uint32_t i = 0; i < WORDS; i++)
            if (out[i] != mix_reference(in, key, i)) {
                say(round, "a wrong result");
                return 1;
            }
        if (round % ROUNDS_A_LINE == 0) say(round, "right");
        usleep(PAUSE_MICROSECONDS);
    }
}
