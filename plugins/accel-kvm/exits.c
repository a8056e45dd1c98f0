/*
 * exits.c: why KVM_RUN came back, what the monitor is told, and the figures about it. An exit that
 * nobody knows ends the machine with a dump of the CPU, never the process.
 */
#include "kvm.h"

#include <inttypes.h>

static void stop(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx, uint32_t why)
{
    cpu->stopped = true;
    up->stop(ctx, why, 0);
}

/* A string instruction's items come together; each is an access of its own. */
static void exit_io(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx)
{
    struct kvm_run *run = cpu->run;
    uint32_t size = run->io.size, count = run->io.count, port = run->io.port;
    uint64_t off = run->io.data_offset;
    bool write = run->io.direction == KVM_EXIT_IO_OUT;
    uint8_t *data = (uint8_t *)run + off;
    if (off > cpu->run_len || (uint64_t)size * count > cpu->run_len - off)
        return;
    for (uint32_t i = 0; i < count; i++)
        up->pio(ctx, port, data + (size_t)i * size, size, write);
}

static void exit_mmio(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx)
{
    struct kvm_run *run = cpu->run;
    if (run->mmio.len && run->mmio.len <= sizeof run->mmio.data)
        up->mmio(ctx, run->mmio.phys_addr, run->mmio.data, run->mmio.len, run->mmio.is_write != 0);
}

static void exit_broken(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx)
{
    const struct kvm_run *run = cpu->run;
    char why[120];
    switch (run->exit_reason) {
    case KVM_EXIT_FAIL_ENTRY:
        (void)snprintf(why, sizeof why, "the processor refuses to enter the guest (0x%" PRIx64 ")",
                       (uint64_t)run->fail_entry.hardware_entry_failure_reason);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        (void)snprintf(why, sizeof why, "KVM cannot go on (suberror %u%s)", run->internal.suberror,
                       run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
                           ? ": an instruction it does not emulate"
                           : "");
        break;
    default:
        (void)snprintf(why, sizeof why, "unknown exit reason %u (0x%" PRIx64 ")", run->exit_reason,
                       (uint64_t)run->hw.hardware_exit_reason);
        break;
    }
    kvm_dump(cpu, why);
    stop(cpu, up, ctx, MOBO_STOP_FAIL);
}

void kvm_exit(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx)
{
    const struct kvm_run *run = cpu->run;
    uint32_t why = run->exit_reason;
    uint32_t slot = why < KVM_EXITS_COUNTED ? why : KVM_EXITS_COUNTED - 1;
    atomic_fetch_add_explicit(&cpu->exits[slot], 1, memory_order_relaxed);
    switch (why) {
    case KVM_EXIT_IO:
        exit_io(cpu, up, ctx);
        break;
    case KVM_EXIT_MMIO:
        exit_mmio(cpu, up, ctx);
        break;
    case KVM_EXIT_IOAPIC_EOI:
        if (up->eoi)
            up->eoi(ctx, run->eoi.vector);
        break;
    case KVM_EXIT_IRQ_WINDOW_OPEN: /* the run loop offers the interrupt */
    case KVM_EXIT_INTR:
    case KVM_EXIT_SET_TPR:
    case KVM_EXIT_HLT: /* halts stay in the kernel; one that comes out goes back in */
        break;
    case KVM_EXIT_SHUTDOWN:
        stop(cpu, up, ctx, MOBO_STOP_TRIPLE_FAULT);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        stop(cpu, up, ctx,
             run->system_event.type == KVM_SYSTEM_EVENT_RESET ? MOBO_STOP_RESET
                                                              : MOBO_STOP_TRIPLE_FAULT);
        break;
    default:
        exit_broken(cpu, up, ctx);
        break;
    }
}

/* ---- the dump -------------------------------------------------------------------------------- */

void kvm_dump(struct kvm_cpu *cpu, const char *why)
{
    mobo_obj_t *obj = cpu->vm->obj;
    struct kvm_regs r = { 0 };
    struct kvm_sregs s = { 0 };
    (void)ioctl(cpu->fd, KVM_GET_REGS, &r);
    (void)ioctl(cpu->fd, KVM_GET_SREGS, &s);
    mobo_log(obj, MOBO_ERROR, "CPU %u: %s", cpu->index, why);
    const __u64 *gpr[] = { &r.rax, &r.rbx, &r.rcx, &r.rdx, &r.rsi, &r.rdi, &r.rsp, &r.rbp,
                              &r.r8,  &r.r9,  &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15 };
    static const char name[][4] = { "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
    for (unsigned i = 0; i < 16; i += 4)
        mobo_log(obj, MOBO_ERROR,
                 "  %s %016" PRIx64 " %s %016" PRIx64 " %s %016" PRIx64 " %s %016" PRIx64, name[i],
                 (uint64_t)*gpr[i], name[i + 1], (uint64_t)*gpr[i + 1], name[i + 2],
                 (uint64_t)*gpr[i + 2], name[i + 3], (uint64_t)*gpr[i + 3]);
    mobo_log(obj, MOBO_ERROR, "  rip %016" PRIx64 " rflags %08" PRIx64 " cs %04x ss %04x",
             (uint64_t)r.rip, (uint64_t)r.rflags, s.cs.selector, s.ss.selector);
    mobo_log(obj, MOBO_ERROR,
             "  cr0 %08" PRIx64 " cr2 %016" PRIx64 " cr3 %016" PRIx64 " cr4 %08" PRIx64
             " efer %04" PRIx64,
             (uint64_t)s.cr0, (uint64_t)s.cr2, (uint64_t)s.cr3, (uint64_t)s.cr4, (uint64_t)s.efer);
}

/* ---- figures --------------------------------------------------------------------------------- */

static const struct {
    unsigned reason;
    const char *name;
} counted[] = {
    { KVM_EXIT_IO, "port" },
    { KVM_EXIT_MMIO, "memory" },
    { KVM_EXIT_IRQ_WINDOW_OPEN, "interrupt window" },
    { KVM_EXIT_IOAPIC_EOI, "EOI" },
    { KVM_EXIT_HLT, "halt" },
    { KVM_EXIT_SHUTDOWN, "shutdown" },
    { KVM_EXIT_SYSTEM_EVENT, "system event" },
};

static unsigned long long figure(const _Atomic uint64_t *p)
{
    return (unsigned long long)atomic_load_explicit(p, memory_order_relaxed);
}

__attribute__((format(printf, 4, 5))) static uint32_t put(char *buf, uint32_t len, uint32_t used,
                                                          const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(buf + used, len - used, format, ap);
    va_end(ap);
    return n < 0 || (uint32_t)n >= len - used ? used : used + (uint32_t)n;
}

uint32_t kvm_stats(void *self, char *buf, uint32_t len)
{
    struct kvm *k = self;
    uint32_t used = 0, n = atomic_load(&k->vcpu_ready);
    if (!len)
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct kvm_cpu *c = k->vcpu[i];
        uint64_t sum = 0, named = 0;
        for (unsigned e = 0; e < KVM_EXITS_COUNTED; e++)
            sum += figure(&c->exits[e]);
        used = put(buf, len, used, "cpu%u: %llu entries, exits:", (unsigned)i, figure(&c->runs));
        for (unsigned e = 0; e < sizeof counted / sizeof counted[0]; e++) {
            used = put(buf, len, used, " %llu %s,", figure(&c->exits[counted[e].reason]),
                       counted[e].name);
            named += figure(&c->exits[counted[e].reason]);
        }
        used = put(buf, len, used, " %llu others; %llu interrupts of the 8259\n",
                   (unsigned long long)(sum - named), figure(&c->injected));
    }
    return put(buf, len, used, "kvm: %llu messages, %llu changes of routes\n", figure(&k->msis),
               figure(&k->routings));
}
