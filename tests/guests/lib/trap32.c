/* trap32.c: descriptor tables and faults of a 32-bit guest, and its boot_main. */
#include "trap32.h"

#include "run.h"

extern const u8 idt_stubs[256][16];
extern u64 start_info;

struct fault fault;
u32 fixup_eip, fixup_esp;
hook32_fn hook32[256];
u64 idt[256] __attribute__((aligned(16)));
struct tss32 tss __attribute__((aligned(4096)));
static u8 ring0_stack[8192] __attribute__((aligned(16)));

u64 descriptor(u32 base, u32 limit, u32 attr)
{
    return (u64)(limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
           (u64)(limit >> 16 & 15) << 48 | (u64)(attr >> 8 & 15) << 52 | (u64)(base >> 24) << 56;
}

u64 gate32(u32 sel, u32 off, u32 attr)
{
    return (off & 0xffff) | sel << 16 | (u64)(attr << 8 | (off & 0xffff0000)) << 32;
}

/* The interrupt stubs' frame holds SS:ESP only if the ring changed; the fix-up is in ring 0. */
void trap32(struct frame32 *f)
{
    if (hook32[f->vec]) {
        hook32[f->vec](f);
        return;
    }
    if (!fixup_eip) {
        printf("FAIL unexpected: vector %u error %x at %x:%x flags %x\n", f->vec, f->err, f->cs,
               f->eip, f->eflags);
        power_off();
    }
    fault.vec = (int)f->vec;
    __asm__ volatile("mov %%cr2, %0" : "=r"(fault.cr2));
    fault.f = *f;
    u32 eip = fixup_eip, esp = fixup_esp;
    fixup_eip = 0;
    /* The general registers go on as they were, those a TRY block may have changed included. */
    __asm__ volatile(
        "movl %0, %%edi\n\tmovl %1, %%esi\n\tmovl %2, %%edx\n\tmovl %%esi, -4(%%edx)\n\tpushl "
        "$0x10\n\tpopl %%ds\n\t"
        "pushl $0x10\n\tpopl %%es\n\tmovl 28(%%edi), %%ecx\n\tmovl %%ecx, -8(%%edx)\n\t" /* EDX of
                                                                                            the
                                                                                            frame */
        "movl 36(%%edi), %%eax\n\tmovl 32(%%edi), %%ecx\n\tmovl 24(%%edi), %%ebx\n\tmovl "
        "16(%%edi), %%ebp\n\t"
        "movl 12(%%edi), %%esi\n\tmovl 8(%%edi), %%edi\n\tleal -8(%%edx), %%esp\n\tpushl "
        "$2\n\tpopfl\n\tpopl %%edx\n\tret"
        :
        : "r"(f), "r"(eip), "d"(esp)
        : "memory", "edi", "esi");
}

/* void enter32(frame, words): everything the compiler keeps is on the stack across it. */
__asm__(".globl enter32\nenter32: pushal\n movl 36(%esp), %esi\n movl 40(%esp), %ecx\n movl $-1, "
        "fault\n movl $1f, fixup_eip\n"
        " movl %esp, fixup_esp\n leal (,%ecx,4), %eax\n subl %eax, %esp\n movl %esp, %edi\n rep "
        "movsl\n iretl\n"
        "1: movl $0, fixup_eip\n popal\n ret");

void boot_main(void)
{
    acpi_init(start_info);
    for (int i = 0; i < 256; i++)
        idt[i] = gate32(CODE, (u32)idt_stubs[i], 0x8e);
    idt[VEC_USER_RETURN] |= 0x6000ull << 32;
    struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) d = { sizeof idt - 1, (u32)idt };
    __asm__ volatile("lidt %0" : : "m"(d) : "memory");
    tss.esp0 = (u32)(ring0_stack + sizeof ring0_stack);
    tss.ss0 = DATA;
    tss.iomap = offsetof(struct tss32, io);
    memset(tss.io, 0xff, sizeof tss.io);
    gdt[TSS_MAIN / 8] = descriptor((u32)&tss, sizeof tss - 1, 0x89);
    __asm__ volatile("ltr %w0" : : "r"(TSS_MAIN) : "memory");
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    tests_run();
    printf("END\n");
    power_off();
}
