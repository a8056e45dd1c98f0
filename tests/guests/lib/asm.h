/* asm.h: numbers that C and assembly share. */
#ifndef GUEST_ASM_H
#define GUEST_ASM_H

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_UCODE32 0x18 /* the order that SYSRET and SYSEXIT want */
#define SEL_UDATA 0x20
#define SEL_UCODE64 0x28
#define SEL_UDATA2 0x30
#define SEL_CODE32 0x38
#define SEL_CODE16 0x40
#define SEL_DATA16 0x48
#define SEL_TSS 0x50
#define SEL_LDT 0x70
#define SEL_TEST 0x80 /* from here on free for tests */

#define AP_TRAMPOLINE 0x10000
#define STACK_SIZE 16384
#define CPUS_MAX 8
#define VEC_USER_RETURN 0x81

#endif
