/* nvidia-smi of the simulated driver: `-L`, or a short table. Exit statuses as the real one's manual has them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INVALID_ARGUMENT = 2, NO_GPU = 6, DRIVER_NOT_LOADED = 9, NO_LIBRARY = 12 };

static void say(const char* text) { (void)!write(STDOUT_FILENO, text, strlen(text)); }

static void find(void* library, const char* name, void* function) {
    void* found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    if (found) return;
    say("NVIDIA-SMI found a libnvidia-ml.so of another version\n");
    _exit(NO_LIBRARY);
}

static void list(void* library, unsigned count, int table) {
    int (*handle_by_index)(unsigned, void**), (*get_uuid)(void*, char*, unsigned), (*get_name)(void*, char*, unsigned);
    find(library, "nvmlDeviceGetHandleByIndex_v2", &handle_by_index);
    find(library, "nvmlDeviceGetUUID", &get_uuid);
    find(library, "nvmlDeviceGetName", &get_name);
    for (unsigned i = 0; i < count; i++) {
        void* gpu;
        char name[96] = "?", uuid[96] = "?", line[256];
        if (handle_by_index(i, &gpu) != 0) continue;
        get_name(gpu, name, sizeof name);
        get_uuid(gpu, uuid, sizeof uuid);
        snprintf(line, sizeof line, table ? "|%4u  %-32s %-40s|\n" : "GPU %u: %s (UUID: %s)\n", i, name, uuid);
        say(line);
    }
}

int main(int argc, char** argv) {
    int table = argc == 1;
    if (argc > 2 || (argc == 2 && strcmp(argv[1], "-L") != 0 && strcmp(argv[1], "--list-gpus") != 0)) {
        say("Invalid combination of input arguments. The simulated nvidia-smi knows -L only.\n");
        return INVALID_ARGUMENT;
    }
    void* library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        say("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system.\n");
        return NO_LIBRARY;
    }
    int (*init)(void), (*get_count)(unsigned*), (*get_version)(char*, unsigned);
    find(library, "nvmlInit_v2", &init);
    find(library, "nvmlDeviceGetCount_v2", &get_count);
    find(library, "nvmlSystemGetDriverVersion", &get_version);
    unsigned count = 0;
    char version[64] = "?", line[128];
    if (init() != 0) {
        say("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n");
        return DRIVER_NOT_LOADED;
    }
    get_count(&count);
    get_version(version, sizeof version);
    if (count == 0) {
        say("No devices were found\n");
        return NO_GPU;
    }
    if (table) {
        snprintf(line, sizeof line, "| NVIDIA-SMI %-20s Driver Version: %-20s CUDA Version: 13.0 |\n", version,
                 version);
        say(line);
    }
    list(library, count, table);
    return 0;
}
