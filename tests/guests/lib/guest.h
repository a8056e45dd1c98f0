/*
 * guest.h: the small runtime under the bare-metal guests: console, faults that a test expects,
 * interrupts, page tables, user mode, other CPUs. There is no C library; memory is identity mapped
 * up to 4 GiB, supervisor only except for the .user sections.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "asm.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* ---- tests ----------------------------------------------------------------------------------- */

struct test {
    const char *name;
    void (*fn)(void);
};
/* Each image defines its own; the last entry has no name. */
extern const struct test tests[];

void printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_fail(int line, const char *what);
void test_fail_eq(int line, const char *what, u64 got, u64 want);
void test_skip(const char *why);
void power_off(void) __attribute__((noreturn));

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            test_fail(__LINE__, #cond);                                                            \
    } while (0)
#define EQ(got, want)                                                                              \
    do {                                                                                           \
        u64 got_ = (u64)(got), want_ = (u64)(want);                                                \
        if (got_ != want_)                                                                         \
            test_fail_eq(__LINE__, #got, got_, want_);                                             \
    } while (0)

void *memset(void *to, int byte, size_t len);
void *memcpy(void *to, const void *from, size_t len);
int memcmp(const void *a, const void *b, size_t len);

/* ---- ports, registers --------------------------------------------------------------------------
 */

static inline void outb(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outw(u16 port, u16 v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outl(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline u16 inw(u16 port)
{
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
    return v;
}
static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
    u32 lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (u64)hi << 32 | lo;
}
struct cpuid {
    u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}
static inline u32 read32(u64 gpa)
{
    return *(volatile u32 *)(uintptr_t)gpa;
}
static inline void write32(u64 gpa, u32 v)
{
    *(volatile u32 *)(uintptr_t)gpa = v;
}
static inline void cpu_relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}
static inline void irq_on(void)
{
    __asm__ volatile("sti" : : : "memory");
}
static inline void irq_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* About N microseconds by the PM timer. */
void delay_us(u32 n);
/* Spin (interrupts on) until the counter reaches N or about MS milliseconds are over; true: it did.
 */
bool wait_count(volatile u32 *counter, u32 n, u32 ms);
/* What ACPI says: filled at start. */
struct acpi {
    u16 pm1a_evt, pm1a_cnt, pm_tmr, reset_port;
    u8 reset_value, cpus, apic_id[64];
    u32 lapic, ioapic, isa_gsi[16];
};
extern struct acpi acpi;

#ifdef __x86_64__
/* ---- faults ------------------------------------------------------------------------------------
 */

struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vec, err, rip, cs, rflags, rsp, ss;
};

/* The last fault that a TRY block or user mode took; vec is NONE if there was none. */
extern struct fault {
    int vec;
    u32 pad;
    u64 cr2;
    struct frame f;
} fault;
extern u64 fixup_rip, fixup_rsp;
enum { NONE = -1 };

/*
 * asm volatile(TRY "instruction" END : ...): a fault inside ends the block. Registers are as the
 * fault found them, the stack pointer as TRY did. CPU 0 only.
 */
#define TRY "movl $-1, fault\n\tmovq $99f, fixup_rip\n\tmovq %%rsp, fixup_rsp\n\t"
#define END "\n99:\tmovq $0, fixup_rip\n"
/* The same for a whole function: its vector, or NONE. */
int try_call(void (*fn)(void *arg), void *arg);

#define FAULTS(vector, error)                                                                      \
    do {                                                                                           \
        EQ(fault.vec, (vector));                                                                   \
        EQ(fault.f.err, (error));                                                                  \
    } while (0)

enum {
    DE = 0,
    DB = 1,
    NMI = 2,
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
    PF = 14,
    MF = 16,
    AC = 17,
    XM = 19
};
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

typedef void (*hook_fn)(struct frame *f);
extern hook_fn hook[256]; /* instead of the default: count and EOI from vector 0x20 on */
extern volatile u32 irq_count[256];

struct gate {
    u16 off0, sel;
    u8 ist, type;
    u16 off1;
    u32 off2, zero;
} __attribute__((packed));
extern struct gate idt[256];
struct tss {
    u32 zero0;
    u64 rsp[3], zero1, ist[7], zero2;
    u16 zero3, iomap;
    u8 io[8192 + 1];
} __attribute__((packed));
extern struct tss tss;
extern u64 gdt[64];

/* ---- user mode ---------------------------------------------------------------------------------
 */

#define USER_CODE __attribute__((section(".user.text"), noinline, used))
#define USER_DATA __attribute__((section(".user.data"), aligned(64)))
extern u8 user_stack[16384];
#define USER_STACK_TOP (user_stack + sizeof user_stack - 64)

/* To RIP at CPL 3 and back at INT 0x81 (or a fault): the result is in `fault`. */
void enter_user(u64 rip, u64 arg, u64 rflags, u64 cs);
/* The same with every register of the frame under control; segments too. */
void enter_frame(u64 rip, u64 cs, u64 rflags, u64 rsp, u64 ss, u64 arg);
#define USER_RETURN(v) __asm__ volatile("int $0x81" : : "a"(v) : "memory")
/* Runs FN(ARG) at CPL 3, gives what it passed to USER_RETURN; a fault in it gives ~0. */
u64 user_call(void (*fn)(u64), u64 arg);

/* ---- page tables -------------------------------------------------------------------------------
 */

enum { PG_P = 1, PG_W = 2, PG_U = 4, PG_A = 0x20, PG_D = 0x40, PG_PS = 0x80, PG_G = 0x100 };
#define PG_NX (UINT64_C(1) << 63)
#define PG_ADDR UINT64_C(0x000ffffffffff000)
#define TEST_VA UINT64_C(0x1000000000) /* from here on nothing is mapped at start */

u64 page_alloc(void);             /* a zeroed page; its address is physical and virtual */
u64 *pte(u64 va);                 /* its 4 KiB entry; upper levels are made, P, W and U */
u64 *entry_at(u64 va, int level); /* the entry of level 4..1 on the way, made like that */
void map_page(u64 va, u64 pa, u64 flags);
static inline void invlpg(u64 va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}
#define READ_CR(n)                                                                                 \
    static inline u64 read_cr##n(void)                                                             \
    {                                                                                              \
        u64 v;                                                                                     \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(v) : : "memory");                             \
        return v;                                                                                  \
    }                                                                                              \
    static inline void write_cr##n(u64 v)                                                          \
    {                                                                                              \
        __asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                                 \
    }
READ_CR(0)
READ_CR(2)
READ_CR(3)
READ_CR(4)
READ_CR(8)
int try_write_cr(int n, u64 v); /* vector or NONE */
int try_wrmsr(u32 msr, u64 v);
int try_rdmsr(u32 msr);

/* ---- interrupts and other CPUs ------------------------------------------------------------------
 */

enum {
    LAPIC_ID = 0x20,
    LAPIC_VER = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_EOI = 0xb0,
    LAPIC_SVR = 0xf0,
    LAPIC_ISR = 0x100,
    LAPIC_IRR = 0x200,
    LAPIC_ESR = 0x280,
    LAPIC_ICR = 0x300,
    LAPIC_ICR2 = 0x310,
    LAPIC_LVTT = 0x320,
    LAPIC_LINT0 = 0x350,
    LAPIC_LINT1 = 0x360,
    LAPIC_TMICT = 0x380,
    LAPIC_TMCCT = 0x390,
    LAPIC_TDCR = 0x3e0
};
u32 lapic_read(u32 reg);
void lapic_write(u32 reg, u32 v);
void lapic_ipi(u32 apic_id, u32 icr); /* waits for delivery */
u32 ioapic_read(u32 reg);
void ioapic_write(u32 reg, u32 v);
void ioapic_route(unsigned input, u64 entry);

/* Starts CPU n (1..); FN runs there with interrupts off, then the CPU waits for the next. */
bool cpu_start(unsigned n);
void cpu_call(unsigned n, void (*fn)(void *), void *arg);
bool cpu_wait(unsigned n); /* until it is idle; false: 2 s were not enough */
unsigned cpu_index(void);  /* by the stack pointer */
#endif
#endif
