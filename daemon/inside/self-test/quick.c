/* What is tried on each GPU: context, JIT compilation, memory, a kernel, bandwidth. Stage by stage over all GPUs, so
 * that the report of a test that hangs ends before the stage that does. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

/* Fresh data at every run, so that no old result can pass for a new one. Not secret: xorshift64*. */
uint32_t random_word(void) {
    static uint64_t state;
    if (!state && syscall(SYS_getrandom, &state, sizeof state, 1 /* never wait */) != sizeof state) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        state = (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u ^ (uint64_t)now.tv_sec;
    }
    if (!state) state = 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1du >> 32);
}

/* One check over all GPUs: failed if it failed on one, degraded if one is occupied. */
int run_stage(struct test* test, const char* name, stage* run) {
    double begin = begin_check();
    char detail[400] = "";
    enum result result = PASSED;
    int left = 0;
    for (int i = 0; i < test->gpu_count; i++) {
        struct gpu* gpu = &test->gpus[i];
        struct finding finding = {0};
        if (!gpu->usable) continue;
        cu_result error = test->cuda.use_context(gpu->context);
        finding.call = "cuCtxSetCurrent";
        if (error == CU_SUCCESS) error = run(test, gpu, &finding);
        if (error == CU_SUCCESS && !finding.complaint[0]) {
            left++;
            if (result == PASSED && finding.praise[0]) snprintf(detail, sizeof detail, "%s", finding.praise);
            continue;
        }
        gpu->usable = 0;
        enum result worse = is_occupied(error) ? DEGRADED : FAILED;
        if (result == FAILED || worse == result) continue; /* the first of the worst is told */
        result = worse;
        snprintf(detail, sizeof detail, "%s: %.300s", gpu->uuid,
                 error ? explain(&test->cuda, finding.call, error) : finding.complaint);
    }
    end_check(name, begin, result, "%s", detail);
    return left;
}

static cu_result make_context(struct test* test, struct gpu* gpu, struct finding* finding) {
    TRY(create_context, "cuCtxCreate", &gpu->context, 0, gpu->device);
    snprintf(finding->praise, sizeof finding->praise, "%.90s", gpu->name);
    return CU_SUCCESS;
}

static cu_result compile_kernels(struct test* test, struct gpu* gpu, struct finding* finding) {
    static char log[192];
    int options[] = {CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_SIZE};
    void* values[] = {log, (void*)(uintptr_t)sizeof log};
    cu_module module = NULL;
    log[0] = '\0';
    cu_result result = test->cuda.load_module(&module, kernels_ptx, 2, options, values);
    if (result != CU_SUCCESS) {
        log[sizeof log - 1] = '\0';
        static char call[256];
        snprintf(call, sizeof call, "cuModuleLoadDataEx%s%s%s", log[0] ? " (" : "", log, log[0] ? ")" : "");
        finding->call = call;
        return result;
    }
    TRY(function, "cuModuleGetFunction", &gpu->mix, module, "cuda_nspawn_mix");
    TRY(function, "cuModuleGetFunction", &gpu->fill, module, "cuda_nspawn_fill");
    TRY(function, "cuModuleGetFunction", &gpu->count_wrong, module, "cuda_nspawn_count_wrong");
    TRY(function, "cuModuleGetFunction", &gpu->product, module, "cuda_nspawn_product");
    snprintf(finding->praise, sizeof finding->praise, "PTX 6.0 compiled by the driver");
    return CU_SUCCESS;
}

static cu_result try_memory(struct test* test, struct gpu* gpu, struct finding* finding) {
    size_t size = QUICK_WORDS * sizeof(uint32_t), free_bytes = 0, total = 0;
    TRY(memory_info, "cuMemGetInfo", &free_bytes, &total);
    TRY(allocate, "cuMemAlloc", &gpu->in, size);
    TRY(allocate, "cuMemAlloc", &gpu->out, size);
    TRY(allocate, "cuMemAlloc", &gpu->block, BLOCK_SIZE);
    TRY(to_device, "cuMemcpyHtoD", gpu->in, test->words, size);
    TRY(on_device, "cuMemcpyDtoD", gpu->out, gpu->in, size);
    uint32_t* back = test->pinned;
    TRY(from_device, "cuMemcpyDtoH", back, gpu->out, size);
    if (memcmp(back, test->words, size) != 0)
        snprintf(finding->complaint, sizeof finding->complaint,
                 "what was written to the GPU's memory did not come back the same");
    snprintf(finding->praise, sizeof finding->praise, "%zu of %zu MiB free", free_bytes >> 20, total >> 20);
    return CU_SUCCESS;
}

cu_result launch(struct test* test, cu_function kernel, unsigned blocks, unsigned threads, void** parameters) {
    cu_result result = test->cuda.launch(kernel, blocks, 1, 1, threads, 1, 1, 0, NULL, parameters, NULL);
    return result != CU_SUCCESS ? result : test->cuda.synchronize();
}

static cu_result try_kernel(struct test* test, struct gpu* gpu, struct finding* finding) {
    uint32_t key = random_word(), *out = test->pinned;
    finding->call = "cuLaunchKernel";
    cu_result result = launch(test, gpu->mix, QUICK_WORDS / MIX_BLOCK, MIX_BLOCK, (void*[]){&gpu->in, &gpu->out, &key});
    if (result != CU_SUCCESS) return result;
    TRY(from_device, "cuMemcpyDtoH", out, gpu->out, QUICK_WORDS * sizeof *out);
    unsigned wrong = 0;
    for (uint32_t i = 0; i < QUICK_WORDS; i++) wrong += out[i] != mix_reference(test->words, key, i);
    if (wrong > 0)
        snprintf(finding->complaint, sizeof finding->complaint, "the kernel's result is wrong in %u of %u words", wrong,
                 (unsigned)QUICK_WORDS);
    snprintf(finding->praise, sizeof finding->praise, "%u words right", (unsigned)QUICK_WORDS);
    return CU_SUCCESS;
}

static unsigned tenths_of_gigabytes(unsigned rounds, double taken) {
    return taken > 0 ? (unsigned)(rounds * (BLOCK_SIZE / 1e9) / (taken / 1e3) * 10) : 0;
}

static cu_result try_bandwidth(struct test* test, struct gpu* gpu, struct finding* finding) {
    enum { ROUNDS = 3 };
    memset(test->pinned, (int)(random_word() & 0xff), BLOCK_SIZE);
    double begin = milliseconds();
    for (int i = 0; i < ROUNDS; i++) TRY(to_device, "cuMemcpyHtoD", gpu->block, test->pinned, BLOCK_SIZE);
    TRY(synchronize, "cuCtxSynchronize");
    double middle = milliseconds();
    for (int i = 0; i < ROUNDS; i++) TRY(from_device, "cuMemcpyDtoH", test->pinned, gpu->block, BLOCK_SIZE);
    double end = milliseconds();
    unsigned to = tenths_of_gigabytes(ROUNDS, middle - begin), from = tenths_of_gigabytes(ROUNDS, end - middle);
    snprintf(finding->praise, sizeof finding->praise, "to the GPU %u.%u GB/s, from it %u.%u GB/s", to / 10, to % 10,
             from / 10, from % 10);
    return CU_SUCCESS;
}

/* Pinned memory is what a program that cares for speed copies from; any GPU's context may use it. */
static cu_result take_host_memory(struct test* test, struct gpu* gpu, struct finding* finding) {
    if (!test->pinned) TRY(allocate_host, "cuMemHostAlloc", &test->pinned, BLOCK_SIZE, CU_HOST_PORTABLE);
    return try_memory(test, gpu, finding);
}

/* The number of checks that were reported. */
int quick_gpu_checks(struct test* test) {
    static const struct {
        const char* name;
        stage* run;
    } stages[] = {{"context", make_context},
                  {"jit", compile_kernels},
                  {"memory", take_host_memory},
                  {"kernel", try_kernel},
                  {"bandwidth", try_bandwidth}};
    test->words = malloc(QUICK_WORDS * sizeof *test->words);
    for (int i = 0; test->words && i < QUICK_WORDS; i++) test->words[i] = random_word();
    int done = 0, left = test->gpu_count;
    for (; test->words && left > 0 && done < 5; done++) left = run_stage(test, stages[done].name, stages[done].run);
    return done;
}
