/*
 * start32.S: the start of a 32-bit guest: entered by PVH (EBX = start info), flat segments, no
 * paging; interrupt stubs that call trap32.
 */
#include "asm.h"

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 4, 18              /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start32

    .section .text.start, "ax"
    .globl start32
start32:
    cli
    cld
    movl $boot_stack_top, %esp
    movl %ebx, start_info
    lgdt gdt_desc
    ljmp $8, $1f
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $0x20, %eax            /* NE */
    movl %cr0, %edx
    orl %edx, %eax
    movl %eax, %cr0
    call boot_main
1:  cli
    hlt
    jmp 1b

    .text
    .globl idt_stubs
    .align 16
idt_stubs:
    vector = 0
    .rept 256
    .align 16
    .if (vector == 8) | ((vector >= 10) & (vector <= 14)) | (vector == 17) | (vector == 21)
    .else
    pushl $0
    .endif
    pushl $vector
    jmp trap_entry
    vector = vector + 1
    .endr

trap_entry:
    pushal
    pushl %ds
    pushl %es
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    cld
    movl %esp, %ebx
    pushl %esp
    call trap32
    movl %ebx, %esp
    popl %es
    popl %ds
    popal
    addl $8, %esp
    iretl

    .data
    .align 16
    .globl gdt
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    /* 08 code */
    .quad 0x00cf93000000ffff    /* 10 data */
    .quad 0x00cffb000000ffff    /* 18 code, DPL 3 */
    .quad 0x00cff3000000ffff    /* 20 data, DPL 3 */
    .quad 0x00009b000000ffff    /* 28 16-bit code */
    .quad 0x000093000000ffff    /* 30 16-bit data */
    .fill 57, 8, 0
gdt_desc:
    .word 64 * 8 - 1
    .long gdt
    .globl start_info
    .align 8
start_info:
    .quad 0

    .bss
    .align 4096
    .skip STACK_SIZE
    .globl boot_stack_top
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
