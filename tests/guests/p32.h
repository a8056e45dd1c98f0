/* p32.h: selectors and low addresses that p32.c and p32-real.S share. */
#ifndef GUEST_P32_H
#define GUEST_P32_H

#define SEL_MAIN_TSS 0x38
#define SEL_REAL_CODE 0x40
#define SEL_REAL_DATA 0x48
#define SEL_GATE 0x50
#define REAL_BASE 0x11000
#define REAL_SEG 0x1100
#define REAL_OUT 0x700
#define VM_BASE 0x30000
#define VM_SEG 0x3000

#endif
