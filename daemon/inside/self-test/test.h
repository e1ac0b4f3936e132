/* What the parts of the self-test share. */
#pragma once

#include "cuda.h"
#include "kernels.h"
#include "report.h"

enum { MAX_GPUS = 64 };

struct gpu {
    cu_device device;
    char uuid[48];
    char capability[16]; /* "9.0" */
    char name[96];
    int usable; /* no check found it occupied */
    cu_context context;
    cu_function mix, fill, count_wrong, product;
    cu_pointer in, out, block;
};

struct test {
    struct cuda cuda;
    struct gpu gpus[MAX_GPUS];
    int gpu_count;
    uint32_t* words; /* random, `quick_words` of them */
    void* pinned;    /* block_size bytes */
};

/* Device memory of the quick checks: two arrays of words and one block, 10 MiB a GPU. */
enum { QUICK_WORDS = 256 * 1024, BLOCK_SIZE = 8 * 1024 * 1024 };

extern const char kernels_ptx[];

/* A stage runs on every usable GPU. It gives a CUDA error with the call's name, or CU_SUCCESS and a complaint, or
 * neither. */
struct finding {
    const char* call;
    char complaint[256];
    char praise[128];
};
/* In a stage: calls the driver, and leaves the stage with its error. */
#define TRY(function, name, ...)                                 \
    do {                                                         \
        finding->call = name;                                    \
        cu_result try_result = test->cuda.function(__VA_ARGS__); \
        if (try_result != CU_SUCCESS) return try_result;         \
    } while (0)

typedef cu_result stage(struct test* test, struct gpu* gpu, struct finding* finding);
/* Whether the GPUs are still worth going on with. */
int run_stage(struct test* test, const char* name, stage* run);

int quick_gpu_checks(struct test* test);
void full_gpu_checks(struct test* test);
cu_result launch(struct test* test, cu_function kernel, unsigned blocks, unsigned threads, void** parameters);
uint32_t random_word(void);

/* beside.c: checks in processes of their own, at the same time as the main ones. */
struct beside;
struct beside* start_nvml(void);
struct beside* start_user(void);
struct beside* start_nvidia_smi(void);
void finish_nvml(struct beside* beside, const struct test* test);
void finish_user(struct beside* beside, const struct test* test);
void finish_nvidia_smi(struct beside* beside);
