/*
 * trap.c: descriptor tables, faults and interrupts of a 64-bit guest, and boot_main. A fault that
 * nobody expects is printed and ends the machine.
 */
#include "guest.h"
#include "run.h"

extern const u8 idt_stubs[256][16];
extern u64 start_info;

struct fault fault;
u64 fixup_rip, fixup_rsp;
hook_fn hook[256];
volatile u32 irq_count[256];
struct gate idt[256] __attribute__((aligned(16)));
struct tss tss __attribute__((aligned(4096)));
u8 user_stack[16384] USER_DATA;
static u8 ring0_stack[STACK_SIZE] __attribute__((aligned(16)));
static u8 ist_stack[7][4096] __attribute__((aligned(16)));

static void unexpected(const struct frame *f)
{
    printf("FAIL unexpected: vector %u error 0x%llx at %llx:%llx rsp %llx flags %llx cr2 %llx\n",
           (unsigned)f->vec, (unsigned long long)f->err, (unsigned long long)f->cs,
           (unsigned long long)f->rip, (unsigned long long)f->rsp, (unsigned long long)f->rflags,
           (unsigned long long)read_cr2());
    power_off();
}

void trap(struct frame *f)
{
    if (hook[f->vec]) {
        hook[f->vec](f);
        return;
    }
    if (f->vec >= 0x20 && f->vec != VEC_USER_RETURN) {
        __atomic_fetch_add(&irq_count[f->vec], 1, __ATOMIC_SEQ_CST);
        if (f->vec != 0xff)
            lapic_write(LAPIC_EOI, 0);
        return;
    }
    if (!fixup_rip || cpu_index() != 0) {
        unexpected(f);
        return;
    }
    fault.vec = (int)f->vec;
    fault.cr2 = read_cr2();
    fault.f = *f;
    f->rip = fixup_rip;
    f->rsp = fixup_rsp;
    f->cs = SEL_CODE64;
    f->ss = SEL_DATA;
    f->rflags = 2;
    fixup_rip = 0;
}

u64 user_call(void (*fn)(u64), u64 arg)
{
    enter_user((u64)fn, arg, 0x202, SEL_UCODE64 | 3);
    return fault.vec == VEC_USER_RETURN ? fault.f.rax : ~0ull;
}

static void idt_init(void)
{
    for (int i = 0; i < 256; i++) {
        u64 at = (u64)idt_stubs[i];
        idt[i] = (struct gate){ .off0 = (u16)at,
                                .sel = SEL_CODE64,
                                .type = 0x8e,
                                .off1 = (u16)(at >> 16),
                                .off2 = (u32)(at >> 32) };
    }
    idt[VEC_USER_RETURN].type = 0xee;
}

static void tss_init(void)
{
    u64 at = (u64)&tss, limit = sizeof tss - 1;
    tss.rsp[0] = (u64)(ring0_stack + sizeof ring0_stack);
    for (int i = 0; i < 7; i++)
        tss.ist[i] = (u64)(ist_stack[i] + sizeof ist_stack[i]);
    tss.iomap = offsetof(struct tss, io);
    memset(tss.io, 0xff, sizeof tss.io);
    gdt[SEL_TSS / 8] = limit | (at & 0xffffff) << 16 | 0x89ull << 40 | (at >> 24 & 0xff) << 56;
    gdt[SEL_TSS / 8 + 1] = at >> 32;
}

static void load_idt(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) d = { sizeof idt - 1, (u64)idt };
    __asm__ volatile("lidt %0" : : "m"(d) : "memory");
}

static void lapic_enable(void)
{
    lapic_write(LAPIC_SVR, 0x1ff);
    lapic_write(LAPIC_LINT0, 0x10000);
    lapic_write(LAPIC_TPR, 0);
}

void boot_main(void)
{
    acpi_init(start_info);
    idt_init();
    load_idt();
    tss_init();
    __asm__ volatile("ltr %w0" : : "r"(SEL_TSS) : "memory");
    outb(0x21, 0xff); /* both 8259s masked */
    outb(0xa1, 0xff);
    lapic_enable();
    tests_run();
    printf("END\n");
    power_off();
}

int try_write_cr(int n, u64 v)
{
    switch (n) {
    case 0:
        __asm__ volatile(TRY "mov %0, %%cr0" END : : "r"(v) : "memory");
        break;
    case 3:
        __asm__ volatile(TRY "mov %0, %%cr3" END : : "r"(v) : "memory");
        break;
    case 4:
        __asm__ volatile(TRY "mov %0, %%cr4" END : : "r"(v) : "memory");
        break;
    default:
        __asm__ volatile(TRY "mov %0, %%cr8" END : : "r"(v) : "memory");
    }
    return fault.vec;
}

int try_wrmsr(u32 msr, u64 v)
{
    __asm__ volatile(TRY "wrmsr" END : : "c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
    return fault.vec;
}

int try_rdmsr(u32 msr)
{
    u32 a, d;
    __asm__ volatile(TRY "rdmsr" END : "=a"(a), "=d"(d) : "c"(msr) : "memory");
    return fault.vec;
}

void ap_main(void)
{
    load_idt();
    lapic_enable();
    ap_loop();
}
