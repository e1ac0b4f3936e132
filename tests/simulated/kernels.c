/* The self-test's kernels on the CPU, known by name. */
#define _GNU_SOURCE
#include "kernels.h"

#include <stdio.h>
#include <string.h>

#include "simulated.h"

enum { ILLEGAL_ADDRESS = 700, INVALID_VALUE = 1 };

struct launch {
    uint32_t threads; /* of the first dimension */
    unsigned grid_x, grid_y, block_x, block_y;
    void** parameters;
};

static uint32_t word_parameter(const struct launch* launch, int index) { return *(uint32_t*)launch->parameters[index]; }

static uint32_t* array_parameter(const struct launch* launch, int index, size_t words) {
    return device_memory(*(cu_pointer*)launch->parameters[index], words * sizeof(uint32_t), current->gpu);
}

static cu_result mix(const struct launch* launch) {
    uint32_t *in = array_parameter(launch, 0, launch->threads), *out = array_parameter(launch, 1, launch->threads);
    if (!in || !out) return ILLEGAL_ADDRESS;
    if (launch->block_x != MIX_BLOCK) return INVALID_VALUE;
    for (uint32_t i = 0; i < launch->threads; i++) out[i] = mix_reference(in, word_parameter(launch, 2), i);
    if (FAULT == FAULT_WRONG_RESULT) out[launch->threads / 2] ^= 1;
    return CU_SUCCESS;
}

static cu_result fill(const struct launch* launch) {
    uint32_t *words = array_parameter(launch, 0, launch->threads), seed = word_parameter(launch, 1);
    if (!words) return ILLEGAL_ADDRESS;
    for (uint32_t i = 0; i < launch->threads; i++) words[i] = pattern(i, seed);
    return CU_SUCCESS;
}

static cu_result count_wrong(const struct launch* launch) {
    uint32_t *words = array_parameter(launch, 0, launch->threads), seed = word_parameter(launch, 1);
    uint32_t* wrong = array_parameter(launch, 2, 1);
    if (!words || !wrong) return ILLEGAL_ADDRESS;
    for (uint32_t i = 0; i < launch->threads; i++) *wrong += words[i] != pattern(i, seed);
    return CU_SUCCESS;
}

static cu_result product(const struct launch* launch) {
    uint32_t size = word_parameter(launch, 3);
    if (size != launch->grid_x * launch->block_x || size != launch->grid_y * launch->block_y) return ILLEGAL_ADDRESS;
    size_t words = (size_t)size * size;
    uint32_t *a = array_parameter(launch, 0, words), *b = array_parameter(launch, 1, words),
             *c = array_parameter(launch, 2, words);
    if (!a || !b || !c) return ILLEGAL_ADDRESS;
    memset(c, 0, words * sizeof *c);
    for (uint32_t row = 0; row < size; row++)
        for (uint32_t k = 0; k < size; k++)
            for (uint32_t column = 0; column < size; column++)
                c[row * size + column] += a[row * size + k] * b[k * size + column];
    return CU_SUCCESS;
}

static const struct kernel {
    const char* name;
    cu_result (*run)(const struct launch* launch);
} kernels[] = {{"cuda_nspawn_mix", mix},
               {"cuda_nspawn_fill", fill},
               {"cuda_nspawn_count_wrong", count_wrong},
               {"cuda_nspawn_product", product}};

cu_function find_kernel(const char* text, const char* name) {
    char entry[64];
    snprintf(entry, sizeof entry, ".entry %s(", name);
    for (size_t i = 0; strstr(text, entry) && i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i].name, name) == 0) return (cu_function)&kernels[i];
    return NULL;
}

cu_result run_kernel(cu_function function, unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y,
                     void** parameters) {
    const struct kernel* kernel = function;
    return kernel->run(&(struct launch){.threads = grid_x * block_x,
                                        .grid_x = grid_x,
                                        .grid_y = grid_y,
                                        .block_x = block_x,
                                        .block_y = block_y,
                                        .parameters = parameters});
}
