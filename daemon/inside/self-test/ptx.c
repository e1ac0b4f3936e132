/* The kernels' text as a string, kernels_ptx (test.h). */
__asm__(
    ".section .rodata\n"
    ".globl kernels_ptx\n"
    ".type kernels_ptx, @object\n"
    "kernels_ptx:\n"
    ".incbin \"" KERNELS_PTX
    "\"\n"
    ".byte 0\n"
    ".size kernels_ptx, . - kernels_ptx\n"
    ".text\n");
