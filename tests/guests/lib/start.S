/*
 * start.S: entered by PVH in 32-bit flat mode with EBX = start info (Xen, docs/misc/pvh.pandoc);
 * switches to long mode and calls boot_main. Also: interrupt stubs, the way to user mode, and the
 * real-mode trampoline of the other CPUs.
 */
#include "asm.h"

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18              /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start32

    .section .text.start, "ax"
    .code32
    .globl start32
start32:
    cli
    cld
    movl $boot_stack_top, %esp
    movl %ebx, start_info
    lgdt gdt_desc
    movl $page_dirs + 3, %eax   /* the four page directories */
    movl $page_pdpt, %edi
    movl $4, %ecx
1:  orl $4, %eax
    movl %eax, (%edi)
    addl $0x1000, %eax
    addl $8, %edi
    loop 1b
    movl $page_pdpt + 7, page_pml4
    movl $0x83, %eax
    movl $page_dirs, %edi
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    movl $user_begin, %eax      /* the 2 MiB with the .user sections */
    shrl $21, %eax
    orl $4, page_dirs(,%eax,8)
    call long_mode
    ljmp $SEL_CODE64, $start64

/* Paging and long mode on; still in a 32-bit segment. */
long_mode:
    movl $0x620, %eax           /* PAE, OSFXSR, OSXMMEXCPT */
    movl %eax, %cr4
    movl $page_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax            /* NXE, LME, SCE */
    wrmsr
    movl $0x80010033, %eax      /* PG, WP, NE, ET, MP, PE */
    movl %eax, %cr0
    ret

    .code64
start64:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $boot_stack_top, %esp
    call boot_main
1:  cli
    hlt
    jmp 1b

/* ---- interrupts ------------------------------------------------------------------------------ */

    .text
    .globl idt_stubs
    .align 16
idt_stubs:
    vector = 0
    .rept 256
    .align 16
    .if (vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17) | (vector == 21)
    .else
    pushq $0
    .endif
    pushq $vector
    jmp trap_entry
    vector = vector + 1
    .endr

trap_entry:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    movq %rsp, %rbx
    andq $-16, %rsp
    call trap
    movq %rbx, %rsp
    .globl trap_return
trap_return:
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq

/* void enter_user(rip, arg, rflags, cs) */
    .globl enter_user
enter_user:
    movq %rcx, %r9
    movq %rsi, %rcx
    movq %rdx, %r10
    movq %r9, %rsi
    movq %r10, %rdx
    movq %rcx, %r9
    leaq user_stack + 16384 - 64, %rcx
    movl $(SEL_UDATA | 3), %r8d
    /* fall through */
/* void enter_frame(rip, cs, rflags, rsp, ss, arg) */
    .globl enter_frame
enter_frame:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movl $-1, fault
    movq $1f, fixup_rip
    movq %rsp, fixup_rsp
    pushq %r8
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    movq %r9, %rdi
    iretq
1:  movq $0, fixup_rip
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

/* int try_call(fn, arg) */
    .globl try_call
try_call:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    movl $-1, fault
    movq $1f, fixup_rip
    movq %rsp, fixup_rsp
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
1:  movq $0, fixup_rip
    movl fault, %eax
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

/* ---- other CPUs: copied to AP_TRAMPOLINE, started there in real mode ---- */

    .globl ap_begin, ap_end
    .code16
ap_begin:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lgdtl ap_gdt_desc - ap_begin
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $SEL_CODE32, $AP_TRAMPOLINE + ap32 - ap_begin
ap_gdt_desc:
    .word 64 * 8 - 1
    .long gdt
    .code32
ap32:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl ap_stack_pointer, %esp
    movl $long_mode, %eax
    call *%eax
    ljmp $SEL_CODE64, $ap64
ap_end:
    .text
    .code64
ap64:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    call ap_main
1:  hlt
    jmp 1b

/* ---- tables ---------------------------------------------------------------------------------- */

    .data
    .align 16
    .globl gdt
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* 08 64-bit code */
    .quad 0x00cf93000000ffff    /* 10 data */
    .quad 0x00cffb000000ffff    /* 18 32-bit code, DPL 3 */
    .quad 0x00cff3000000ffff    /* 20 data, DPL 3 */
    .quad 0x00affb000000ffff    /* 28 64-bit code, DPL 3 */
    .quad 0x00cff3000000ffff    /* 30 data, DPL 3 */
    .quad 0x00cf9b000000ffff    /* 38 32-bit code */
    .quad 0x00009b000000ffff    /* 40 16-bit code */
    .quad 0x000093000000ffff    /* 48 16-bit data */
    .fill 54, 8, 0
    .globl gdt_desc
gdt_desc:
    .word 64 * 8 - 1
    .quad gdt
    .globl start_info, ap_stack_pointer
    .align 8
start_info:
    .quad 0
ap_stack_pointer:
    .quad 0

    .bss
    .align 4096
    .globl page_pml4
page_pml4:
    .skip 4096
page_pdpt:
    .skip 4096
page_dirs:
    .skip 4 * 4096
    .skip STACK_SIZE
    .globl boot_stack_top
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
