/* A library that is only there. */
extern int nvidia_simulated_library;
__attribute__((visibility("default"))) int nvidia_simulated_library = 1;
