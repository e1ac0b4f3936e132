/* What `full` adds: memory patterns, bandwidth of the GPU's own memory, a matrix product, copies between GPUs. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

enum { FULL_BYTES_LIMIT = 1 << 30, PRODUCT_SIZE = 512 };

/* Half of what is free, at most 1 GiB, in whole blocks of 2 MiB. */
static size_t full_size(size_t free_bytes) {
    size_t size = free_bytes / 2;
    if (size > FULL_BYTES_LIMIT) size = FULL_BYTES_LIMIT;
    return size & ~(size_t)((2 << 20) - 1);
}

static cu_result fill_and_count(struct test* test, struct gpu* gpu, cu_pointer words, size_t size, uint32_t seed,
                                uint32_t* wrong) {
    unsigned blocks = (unsigned)(size / sizeof(uint32_t) / MIX_BLOCK);
    uint32_t zero = 0;
    cu_result result = test->cuda.to_device(gpu->out, &zero, sizeof zero);
    if (result == CU_SUCCESS) result = launch(test, gpu->fill, blocks, MIX_BLOCK, (void*[]){&words, &seed});
    if (result == CU_SUCCESS)
        result = launch(test, gpu->count_wrong, blocks, MIX_BLOCK, (void*[]){&words, &seed, &gpu->out});
    if (result == CU_SUCCESS) result = test->cuda.from_device(wrong, gpu->out, sizeof *wrong);
    return result;
}

/* Every bit once as 0 and once as 1: the second seed is the first one inverted, and so is the high half of each word.
 */
static cu_result try_patterns(struct test* test, struct gpu* gpu, struct finding* finding) {
    size_t free_bytes = 0, total = 0;
    cu_pointer words;
    TRY(memory_info, "cuMemGetInfo", &free_bytes, &total);
    size_t size = full_size(free_bytes);
    if (size == 0) return CU_OUT_OF_MEMORY;
    TRY(allocate, "cuMemAlloc", &words, size);
    uint32_t seed = random_word(), wrong = 0;
    finding->call = "cuLaunchKernel";
    for (int round = 0; round < 2 && wrong == 0; round++, seed = ~seed) {
        cu_result result = fill_and_count(test, gpu, words, size, seed, &wrong);
        if (result != CU_SUCCESS) return result;
    }
    if (wrong > 0)
        snprintf(finding->complaint, sizeof finding->complaint, "%u words of %zu MiB did not keep their pattern", wrong,
                 size >> 20);
    snprintf(finding->praise, sizeof finding->praise, "%zu MiB kept two patterns", size >> 20);
    TRY(release, "cuMemFree", words);
    return CU_SUCCESS;
}

enum { COPY_ROUNDS = 8 };

static cu_result copy_halves(struct test* test, cu_pointer words, size_t half, int rounds) {
    cu_result result = CU_SUCCESS;
    for (int i = 0; result == CU_SUCCESS && i < rounds; i++) result = test->cuda.on_device(words + half, words, half);
    return result == CU_SUCCESS ? test->cuda.synchronize() : result;
}

static cu_result try_device_bandwidth(struct test* test, struct gpu* gpu, struct finding* finding) {
    (void)gpu;
    size_t free_bytes = 0, total = 0;
    cu_pointer words;
    TRY(memory_info, "cuMemGetInfo", &free_bytes, &total);
    size_t half = full_size(free_bytes) / 2;
    if (half == 0) return CU_OUT_OF_MEMORY;
    TRY(allocate, "cuMemAlloc", &words, 2 * half);
    finding->call = "cuMemcpyDtoD";
    cu_result result = copy_halves(test, words, half, 1);
    double begin = milliseconds();
    if (result == CU_SUCCESS) result = copy_halves(test, words, half, COPY_ROUNDS);
    double taken = milliseconds() - begin;
    if (result != CU_SUCCESS) return result;
    unsigned speed = taken > 0 ? (unsigned)(2.0 * COPY_ROUNDS * (double)half / 1e6 / taken) : 0;
    snprintf(finding->praise, sizeof finding->praise, "%u GB/s, read and written", speed);
    TRY(release, "cuMemFree", words);
    return CU_SUCCESS;
}

/* Freivalds: a * (b * x) against c * x for a random x. One wrong number slips through with a chance of 1 in 2 at most
 * per round; rounds are cheap. */
static int is_product(const uint32_t* a, const uint32_t* b, const uint32_t* c) {
    static uint32_t x[PRODUCT_SIZE], bx[PRODUCT_SIZE];
    for (int round = 0; round < 16; round++) {
        for (int i = 0; i < PRODUCT_SIZE; i++) x[i] = random_word();
        for (int i = 0; i < PRODUCT_SIZE; i++) {
            bx[i] = 0;
            for (int j = 0; j < PRODUCT_SIZE; j++) bx[i] += b[i * PRODUCT_SIZE + j] * x[j];
        }
        for (int i = 0; i < PRODUCT_SIZE; i++) {
            uint32_t left = 0, right = 0;
            for (int j = 0; j < PRODUCT_SIZE; j++) {
                left += a[i * PRODUCT_SIZE + j] * bx[j];
                right += c[i * PRODUCT_SIZE + j] * x[j];
            }
            if (left != right) return 0;
        }
    }
    return 1;
}

/* a and b are the random words of the quick checks; the product lies in the pinned block. */
static cu_result try_product(struct test* test, struct gpu* gpu, struct finding* finding) {
    size_t count = (size_t)PRODUCT_SIZE * PRODUCT_SIZE, bytes = count * sizeof(uint32_t);
    uint32_t size = PRODUCT_SIZE, *b = malloc(bytes);
    if (!b) return CU_OUT_OF_MEMORY;
    for (size_t i = 0; i < count; i++) b[i] = random_word();
    cu_pointer device_b = gpu->block, device_c = gpu->block + bytes;
    cu_result result = test->cuda.to_device(gpu->in, test->words, bytes);
    if (result == CU_SUCCESS) result = test->cuda.to_device(device_b, b, bytes);
    double begin = milliseconds();
    finding->call = "cuLaunchKernel";
    if (result == CU_SUCCESS)
        result = test->cuda.launch(gpu->product, PRODUCT_SIZE / PRODUCT_BLOCK, PRODUCT_SIZE / PRODUCT_BLOCK, 1,
                                   PRODUCT_BLOCK, PRODUCT_BLOCK, 1, 0, NULL,
                                   (void*[]){&gpu->in, &device_b, &device_c, &size}, NULL);
    if (result == CU_SUCCESS) result = test->cuda.synchronize();
    double taken = milliseconds() - begin;
    if (result == CU_SUCCESS) result = test->cuda.from_device(test->pinned, device_c, bytes);
    if (result == CU_SUCCESS && !is_product(test->words, b, test->pinned))
        snprintf(finding->complaint, sizeof finding->complaint, "the product of two matrices is wrong");
    snprintf(finding->praise, sizeof finding->praise, "%u by %u right, in %u us", size, size, (unsigned)(taken * 1e3));
    free(b);
    return result;
}

/* To the next usable GPU and back. */
static cu_result try_peer(struct test* test, struct gpu* gpu, struct finding* finding) {
    size_t bytes = QUICK_WORDS * sizeof(uint32_t);
    struct gpu* peer = gpu;
    do peer = &test->gpus[(peer - test->gpus + 1) % test->gpu_count];
    while (peer != gpu && !peer->usable);
    if (peer == gpu) return CU_SUCCESS;
    TRY(to_device, "cuMemcpyHtoD", gpu->in, test->words, bytes);
    TRY(between_devices, "cuMemcpyPeer", peer->block, peer->context, gpu->in, gpu->context, bytes);
    TRY(between_devices, "cuMemcpyPeer", gpu->out, gpu->context, peer->block, peer->context, bytes);
    TRY(from_device, "cuMemcpyDtoH", test->pinned, gpu->out, bytes);
    if (memcmp(test->pinned, test->words, bytes) != 0)
        snprintf(finding->complaint, sizeof finding->complaint, "data did not come back the same from %s", peer->uuid);
    snprintf(finding->praise, sizeof finding->praise, "to the next GPU and back");
    return CU_SUCCESS;
}

void full_gpu_checks(struct test* test) {
    static const struct {
        const char* name;
        stage* run;
    } stages[] = {{"patterns", try_patterns},
                  {"device-bandwidth", try_device_bandwidth},
                  {"product", try_product},
                  {"peer-copy", try_peer}};
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++) {
        int left = 0;
        for (int gpu = 0; gpu < test->gpu_count; gpu++) left += test->gpus[gpu].usable;
        if (left == 0)
            skip_check(stages[i].name, "no GPU is left to try it on");
        else if (stages[i].run == try_peer && left < 2)
            skip_check(stages[i].name, "needs two GPUs");
        else
            run_stage(test, stages[i].name, stages[i].run);
    }
}
