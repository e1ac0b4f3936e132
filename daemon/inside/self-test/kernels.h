/* What the kernels of kernels.ptx compute, on the CPU: the reference that results are compared with. */
#pragma once

#include <stdint.h>

enum { MIX_BLOCK = 256, PRODUCT_BLOCK = 16 };

static inline uint32_t mix_scramble(uint32_t in, uint32_t key, uint32_t index) {
    uint32_t word = (in ^ key) + index;
    word ^= word >> 16;
    word *= 0x85ebca6bu;
    word ^= word >> 13;
    word *= 0xc2b2ae35u;
    return word ^ (word >> 16);
}

/* out[index], given all of in; the mirror image lies in the same block. */
static inline uint32_t mix_reference(const uint32_t* in, uint32_t key, uint32_t index) {
    uint32_t mirror = index - index % MIX_BLOCK + (MIX_BLOCK - 1 - index % MIX_BLOCK);
    uint32_t word = mix_scramble(in[index], key, index);
    return word + 3 * mix_scramble(in[mirror], key, mirror) + (word & 0xfff) * (word >> 20);
}

static inline uint32_t pattern(uint32_t index, uint32_t seed) {
    uint32_t word = (index * 0x9e3779b1u) ^ seed;
    return word ^ (word >> 15);
}
