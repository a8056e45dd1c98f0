/*
 * pv.c: the KVM paravirtual interface: kvm-clock, wall clock, PV EOI, hypercalls. Steal time and
 * asynchronous page faults are not offered.
 * Reference: Linux Documentation/virt/kvm/x86/{msr,cpuid,hypercalls}.rst.
 */
#include "sys.h"

enum {
    MSR_WALL_OLD = 0x11,
    MSR_SYSTEM_OLD = 0x12,
    MSR_WALL = 0x4b564d00,
    MSR_SYSTEM = 0x4b564d01,
    MSR_PV_EOI = 0x4b564d04,
    MSR_POLL = 0x4b564d05,
};
enum { KVM_ENOSYS = 1000, KVM_EPERM = 1, KVM_EINVAL = 22 };
enum { HC_KICK_CPU = 5, HC_SEND_IPI = 10, HC_SCHED_YIELD = 11 };
enum { PVCLOCK_STABLE = 1 };
/* Bits of CPUID 40000001h EAX. */
enum {
    F_CLOCK = 1 << 0,
    F_CLOCK2 = 1 << 3,
    F_EOI = 1 << 6,
    F_UNHALT = 1 << 7,
    F_IPI = 1 << 11,
    F_POLL = 1 << 12,
    F_YIELD = 1 << 13
};

struct pv {
    uint32_t version; /* of the clock page: odd while it is being written */
    bool eoi_offered;
    _Atomic uint32_t kick;
};

int pv_init(struct vcpu *cpu)
{
    cpu->pv = calloc(1, sizeof *cpu->pv);
    return cpu->pv ? MOBO_OK : MOBO_ENOMEM;
}

void pv_fini(struct vcpu *cpu)
{
    free(cpu->pv);
    cpu->pv = NULL;
}

void pv_reset(struct vcpu *cpu)
{
    cpu->kvm_wall_clock = cpu->kvm_system_time = cpu->kvm_eoi = cpu->kvm_steal = 0;
    cpu->kvm_poll = 1;
    cpu->pv->eoi_offered = false;
    atomic_store(&cpu->pv->kick, 0);
}

/* ns = (ticks << shift) * mult >> 32, with mult in [2^31, 2^32) for the best precision. */
void pv_scale(struct soft *s)
{
    int shift = 0;
    u128 mult = ((u128)1000000000 << 32) / s->model.tsc_hz;
    while (mult >> 32) {
        shift++;
        mult = ((u128)1000000000 << 32 >> shift) / s->model.tsc_hz;
    }
    while (mult < (1u << 31)) {
        shift--;
        mult = ((u128)1000000000 << (32 - shift)) / s->model.tsc_hz;
    }
    s->pv_mult = (uint32_t)mult;
    s->pv_shift = shift;
}

static bool in_ram(struct vcpu *cpu, uint64_t gpa, uint64_t len)
{
    uint64_t left = 0;
    uint32_t flags = 0;
    return soft_ram(cpu->soft, gpa, &left, &flags) && left >= len && !(flags & MOBO_MAP_READONLY);
}

/*
 * One line that never changes: system time 0 is the moment at which the machine's TSC was 0. Since
 * all CPUs use the same line the clock is stable across them.
 */
static void clock_write(struct vcpu *cpu)
{
    uint64_t gpa = cpu->kvm_system_time & ~1ull;
    if (!(cpu->kvm_system_time & 1) || !in_ram(cpu, gpa, 32))
        return;
    uint32_t version = cpu->pv->version = (cpu->pv->version & ~1u) + 2;
    /* tsc_to_system_mul, tsc_shift, flags */
    uint64_t tail = cpu->soft->pv_mult | (uint64_t)(uint8_t)cpu->soft->pv_shift << 32 |
                    (uint64_t)PVCLOCK_STABLE << 40;
    phys_write(cpu, gpa, version - 1, 4);
    atomic_thread_fence(memory_order_seq_cst);
    phys_write(cpu, gpa + 8, cpu->tsc_offset - cpu->soft->tsc_offset, 8);
    phys_write(cpu, gpa + 16, 0, 8);
    phys_write(cpu, gpa + 24, tail, 8);
    atomic_thread_fence(memory_order_seq_cst);
    phys_write(cpu, gpa, version, 4);
}

static void wall_write(struct vcpu *cpu)
{
    uint64_t gpa = cpu->kvm_wall_clock, ns = cpu->soft->boot_real_ns;
    if (!in_ram(cpu, gpa, 12))
        return;
    uint32_t version = ((uint32_t)phys_read(cpu, gpa, 4) | 1) + 1;
    phys_write(cpu, gpa, version - 1, 4);
    phys_write(cpu, gpa + 4, ns / 1000000000u, 4);
    phys_write(cpu, gpa + 8, ns % 1000000000u, 4);
    phys_write(cpu, gpa, version, 4);
}

void pv_tsc_changed(struct vcpu *cpu)
{
    clock_write(cpu);
}

static uint32_t msr_feature(uint32_t index)
{
    switch (index) {
    case MSR_WALL_OLD:
    case MSR_SYSTEM_OLD:
        return F_CLOCK;
    case MSR_WALL:
    case MSR_SYSTEM:
        return F_CLOCK2;
    case MSR_PV_EOI:
        return F_EOI;
    case MSR_POLL:
        return F_POLL;
    default:
        return 0;
    }
}

bool pv_msr_known(uint32_t index)
{
    return msr_feature(index) != 0;
}

bool pv_msr(struct vcpu *cpu, uint32_t index, uint64_t *val, bool write)
{
    if (!(cpu->soft->model.kvm_eax & msr_feature(index)))
        return false;
    uint64_t *reg = index == MSR_PV_EOI                          ? &cpu->kvm_eoi
                    : index == MSR_POLL                          ? &cpu->kvm_poll
                    : index == MSR_WALL || index == MSR_WALL_OLD ? &cpu->kvm_wall_clock
                                                                 : &cpu->kvm_system_time;
    if (!write) {
        *val = *reg;
        return true;
    }
    if (index == MSR_PV_EOI && (*val & 2))
        return false;
    if (index == MSR_POLL && *val > 1)
        return false;
    if (index == MSR_PV_EOI && pv_eoi_taken(cpu, true))
        lapic_eoi(cpu); /* ended through the old word just before: must not stay in service */
    *reg = *val;
    if (reg == &cpu->kvm_system_time)
        clock_write(cpu);
    else if (reg == &cpu->kvm_wall_clock)
        wall_write(cpu);
    return true;
}

/* ---- PV EOI: bit 0 of a word in guest memory ------------------------------------------------- */

static _Atomic uint8_t *eoi_byte(struct vcpu *cpu)
{
    uint64_t left = 0;
    uint32_t flags = 0;
    uint8_t *p = soft_ram(cpu->soft, cpu->kvm_eoi & ~3ull, &left, &flags);
    return p && left >= 4 && !(flags & MOBO_MAP_READONLY) ? (_Atomic uint8_t *)p : NULL;
}

void pv_eoi_offer(struct vcpu *cpu)
{
    _Atomic uint8_t *p;
    int vector = lapic_in_service(cpu);
    if (!(cpu->kvm_eoi & 1) || vector < 0 || lapic_more_pending(cpu) ||
        lapic_is_level(cpu, (unsigned)vector) || !(p = eoi_byte(cpu)))
        return;
    atomic_fetch_or(p, 1);
    cpu->pv->eoi_offered = true;
}

bool pv_eoi_taken(struct vcpu *cpu, bool withdraw)
{
    if (!cpu->pv->eoi_offered)
        return false;
    _Atomic uint8_t *p = eoi_byte(cpu);
    if (p && (atomic_load(p) & 1)) {
        if (withdraw) {
            atomic_fetch_and(p, 0xfe);
            cpu->pv->eoi_offered = false;
        }
        return false;
    }
    cpu->pv->eoi_offered = false;
    return p != NULL;
}

/* ---- hypercalls ------------------------------------------------------------------------------ */

bool pv_kicked(struct vcpu *cpu)
{
    return atomic_load_explicit(&cpu->pv->kick, memory_order_relaxed) &&
           atomic_exchange(&cpu->pv->kick, 0);
}

static struct vcpu *by_apic_id(struct vcpu *cpu, uint64_t id)
{
    unsigned n = atomic_load(&cpu->soft->vcpu_ready);
    return id < n ? cpu->soft->vcpu[id] : NULL; /* APIC ids are indices */
}

static uint64_t send_ipi(struct vcpu *cpu, const uint64_t arg[4], bool wide)
{
    unsigned bits = wide ? 64 : 32;
    uint32_t icr = (uint32_t)arg[3];
    struct apic_msg msg = { .mode = (icr >> 8) & 7, .vector = icr & 0xff };
    if (msg.mode != APIC_FIXED && msg.mode != APIC_NMI)
        return (uint64_t)-KVM_EINVAL;
    uint64_t sent = 0;
    for (unsigned i = 0; i < 2 * bits; i++) {
        if (!((arg[i / bits] >> (i % bits)) & 1) || !by_apic_id(cpu, arg[2] + i))
            continue;
        msg.dest = (uint32_t)(arg[2] + i);
        sent += lapic_deliver(cpu->soft, &msg);
    }
    return sent;
}

uint64_t pv_hypercall(struct vcpu *cpu)
{
    bool wide = cpu->code_bits == 64;
    uint64_t mask = wide ? ~0ull : 0xffffffff, nr = cpu->gpr[REG_RAX] & mask;
    uint64_t arg[4] = { cpu->gpr[REG_RBX] & mask, cpu->gpr[REG_RCX] & mask,
                        cpu->gpr[REG_RDX] & mask, cpu->gpr[REG_RSI] & mask };
    uint32_t features = cpu->soft->model.kvm_eax;
    if (cpu->cpl != 0)
        return (uint64_t)-KVM_EPERM & mask;
    if (nr == HC_KICK_CPU && (features & F_UNHALT)) {
        struct vcpu *other = by_apic_id(cpu, arg[1]);
        if (other) {
            atomic_store(&other->pv->kick, 1);
            soft_request(other, REQ_EVENT);
        }
        return 0;
    }
    if (nr == HC_SEND_IPI && (features & F_IPI))
        return send_ipi(cpu, arg, wide) & mask;
    if (nr == HC_SCHED_YIELD && (features & F_YIELD)) {
        atomic_fetch_or(&cpu->exit_req, REQ_YIELD);
        return 0;
    }
    return (uint64_t)-KVM_ENOSYS & mask;
}
