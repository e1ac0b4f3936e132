/* Inside the simulated libcuda. */
#pragma once

#include "cuda.h"
#include "nodes.h"

enum fault { FAULT_NONE, FAULT_HANG, FAULT_FLOOD, FAULT_WRONG_RESULT, FAULT_OTHER_GPU };
#ifndef FAULT
#define FAULT FAULT_NONE
#endif

struct context {
    int gpu;
};
extern struct context* current;

/* The CPU's address of device memory, if all of it lies in one allocation of the GPU (-1: of any); else NULL. */
void* device_memory(cu_pointer pointer, size_t size, int gpu);

cu_result run_kernel(cu_function function, unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y,
                     void** parameters);
cu_function find_kernel(const char* text, const char* name);
