/*
 * p32-real.S: what the 32-bit guest runs below 1 MiB: the way to real mode and back, small programs
 * for virtual-8086 mode, and the tasks. real_begin..real_end is copied to REAL_BASE.
 */
#include "p32.h"

    .text
/* void real_trip(void): through 16-bit protected mode to real mode, and back. */
    .globl real_trip
real_trip:
    pushal
    movl %esp, saved_esp
    sidt saved_idt
    lidt real_idt
    ljmp $SEL_REAL_CODE, $real_pm16 - real_begin
real_back:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl saved_esp, %esp
    lidt saved_idt
    popal
    ret

    .globl real_begin, real_end
    .code16
real_begin:
real_pm16:
    movw $SEL_REAL_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $REAL_SEG, $real_mode - real_begin
real_mode:
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0xf000, %sp
    movw %cs, REAL_OUT + 0
    movw $real_int60 - real_begin, 0x60 * 4
    movw $REAL_SEG, 0x60 * 4 + 2
    movw $real_gp - real_begin, 13 * 4
    movw $REAL_SEG, 13 * 4 + 2
    movw $real_ud - real_begin, 6 * 4
    movw $REAL_SEG, 6 * 4 + 2
    stc
    sti
    int $0x60
    cli
    pushf
    popw REAL_OUT + 4           /* IF came back, CLI cleared it */
    movw %sp, REAL_OUT + 6
    movw 0xffff, %ax            /* a word across the limit: #GP without an error code */
    ud2
    movw $0xffff, %ax           /* FFFF:0010 is 1 MiB: no wrap */
    movw %ax, %es
    movl %es:0x10, %ebx
    movl %ebx, REAL_OUT + 16
    movl $0x12345678, %eax      /* 32-bit operands and addresses */
    movl %eax, REAL_OUT + 20
    movl $REAL_OUT, %ebx
    movl (%ebx), %ecx
    movw %cx, REAL_OUT + 24
    movw $2, %cx
    movw $REAL_OUT + 26, %di
    xorw %ax, %ax
    movw %ax, %es
    movw $0xabcd, %ax
    cld
    rep stosw
    lcall $REAL_SEG, $real_far - real_begin
    smsw %ax
    movw %ax, REAL_OUT + 32
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $real_back
real_int60:
    pushf
    popw REAL_OUT + 2
    movw %sp, REAL_OUT + 8
    iret
real_gp:
    incw REAL_OUT + 10
    movw %sp, REAL_OUT + 12
    pushw %bp
    movw %sp, %bp
    addw $3, 2(%bp)             /* behind the MOV of three bytes */
    popw %bp
    iret
real_ud:
    incw REAL_OUT + 14
    pushw %bp
    movw %sp, %bp
    addw $2, 2(%bp)
    popw %bp
    iret
real_far:
    movw $0x7777, REAL_OUT + 30
    lret
real_end:

    .globl vm_int, vm_cli, vm_pushf, vm_hlt, vm_in, vm_limit, vm_segs, vm_soft, vm_popf, vm_cr0
vm_segs:
    movw %cs, %ax
    movw %ds, %bx
    movw (0), %cx               /* DS:0 */
    movw $0x1234, %dx
    movw %dx, %es
    movw %es, %dx
vm_int:
    int $0x81
vm_cli:
    cli
    int $0x81
vm_pushf:
    pushfw
    popw %ax
    int $0x81
vm_popf:
    pushw $0x7202
    popfw
    pushfl
    popl %eax
    int $0x81
vm_hlt:
    hlt
vm_in:
    inb $0x70, %al
    int $0x81
vm_limit:
    movw 0xffff, %ax
    int $0x81
vm_soft:
    movw $5, %ax
    int $0x61
    int $0x81
vm_cr0:
    movl %cr0, %eax
    int $0x81
    .globl vm_handler
vm_handler:
    addw $100, %ax
    iret

    .code32
/* Tasks: each runs, says so, and switches back. */
    .globl task_jumped, task_called, task_df, task_int
task_jumped:
    movl %ebx, task_seen
    strw task_seen + 4
    movl %cr0, %eax
    movl %eax, task_seen + 8
    pushfl
    popl task_seen + 12
    ljmp $SEL_MAIN_TSS, $0
task_called:
    pushfl
    popl task_seen + 12
    strw task_seen + 4
    iretl
    incl task_seen + 16         /* the second CALL goes on here */
    iretl
task_int:
    incl task_seen + 20
    movl (%esp), %eax           /* the error code, if there is one */
    movl %eax, task_seen + 24
    iretl
    jmp task_int
task_df:
    popl task_seen + 28
    incl task_seen + 32
    movl main_eip, %eax
    movl %eax, tss + 32         /* EIP and ESP of the main task's TSS */
    movl main_esp, %eax
    movl %eax, tss + 56
    movl $0x10, tss + 80        /* SS */
    iretl
    jmp task_df

    .globl call_gate_target, call_gate_user, call_gate16
call_gate_target:
    movl 8(%esp), %eax          /* the two copied parameters */
    movl 12(%esp), %ebx
    movl %cs, %ecx
    movl %esp, %edx
    lret $8

    .section .user.text, "ax"
call_gate_user:
    pushl $0x1111
    pushl $0x2222
    lcall $SEL_GATE | 3, $0
    int $0x81

    .bss
    .align 16
    .globl task_seen, main_eip, main_esp
task_seen:
    .skip 64
main_eip:
    .skip 4
main_esp:
    .skip 4
saved_esp:
    .skip 4
saved_idt:
    .skip 8
    .data
real_idt:
    .word 0x3ff
    .long 0
    .section .note.GNU-stack, "", @progbits
