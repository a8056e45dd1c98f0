/* trap32.h: faults, descriptor tables and ring 3 of a 32-bit guest. */
#ifndef GUEST_TRAP32_H
#define GUEST_TRAP32_H

#include "guest.h"

struct frame32 {
    u32 es, ds, edi, esi, ebp, esp0, ebx, edx, ecx, eax, vec, err, eip, cs, eflags;
    u32 esp, ss;                /* only from an outer ring */
    u32 v_es, v_ds, v_fs, v_gs; /* only from virtual-8086 mode */
};

extern struct fault {
    int vec;
    u32 cr2;
    struct frame32 f;
} fault;
extern u32 fixup_eip, fixup_esp;
enum { NONE = -1 };
#define TRY "movl $-1, fault\n\tmovl $99f, fixup_eip\n\tmovl %%esp, fixup_esp\n\t"
#define END "\n99:\tmovl $0, fixup_eip\n\t"
#define FAULTS(vector, error)                                                                      \
    do {                                                                                           \
        EQ(fault.vec, (vector));                                                                   \
        EQ(fault.f.err, (error));                                                                  \
    } while (0)
enum {
    DE = 0,
    DB = 1,
    BP = 3,
    OF = 4,
    BR = 5,
    UD = 6,
    NM = 7,
    DF = 8,
    TS = 10,
    NP = 11,
    SS = 12,
    GP = 13,
    PF = 14
};

enum {
    CODE = 0x08,
    DATA = 0x10,
    UCODE = 0x1b,
    UDATA = 0x23,
    CODE16 = 0x28,
    DATA16 = 0x30,
    TSS_MAIN = 0x38,
    FREE = 0x40
}; /* selectors; FREE and up are for tests */

struct tss32 {
    u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
        edi;
    u32 es, cs, ss, ds, fs, gs, ldt;
    u16 trap, iomap;
    u8 redirect[32], io[8192 + 1]; /* the interrupt redirection map lies below the I/O map */
} __attribute__((packed));
extern struct tss32 tss;
extern u64 gdt[64], idt[256];
typedef void (*hook32_fn)(struct frame32 *f);
extern hook32_fn hook32[256];

u64 descriptor(u32 base, u32 limit, u32 attr);
u64 gate32(u32 sel, u32 off, u32 attr); /* attr: type, DPL and P, such as 0x8e */
void trap32(struct frame32 *f);
/* IRET to a frame of five words (nine for virtual-8086 mode) at FRAME; back by INT 0x81 or a fault.
 */
void enter32(const u32 *frame, u32 words);

#endif
