/* Where the kernel enters. The compiler's own start files of a new glibc would ask for __libc_start_main of GLIBC_2.34;
 * this one asks for the old one, which every glibc has. Register use: System V ABI, AMD64 supplement, 3.4.1: the
 * loader's exit function in rdx, argc and argv on the stack; no init and fini, there are no constructors here. */
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "    xor %ebp, %ebp\n"
    "    mov %rdx, %r9\n"
    "    pop %rsi\n"
    "    mov %rsp, %rdx\n"
    "    and $-16, %rsp\n"
    "    push %rax\n"
    "    push %rsp\n"
    "    xor %r8d, %r8d\n"
    "    xor %ecx, %ecx\n"
    "    lea main(%rip), %rdi\n"
    "    call *__libc_start_main@GOTPCREL(%rip)\n"
    "    hlt\n"
    ".size _start, . - _start\n");
