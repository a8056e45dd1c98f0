/*
 * vcpu.c: one virtual CPU: making it, its power-on state, running it, and calling it back.
 *
 * No kick gets lost: who wants the CPU out sets immediate_exit and then looks at in_kvm; the CPU
 * sets in_kvm and then enters KVM_RUN, which looks at immediate_exit. A signal is sent only where
 * KVM_RUN may be under way; its handler does nothing.
 */
#include "kvm.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- calling back ---------------------------------------------------------------------------- */

int kvm_signal(void)
{
    return SIGRTMIN + 3;
}

static void on_kick(int sig)
{
    (void)sig;
}

/* Process-wide, and the same for every machine in it. Without SA_RESTART. */
void kvm_signal_install(void)
{
    struct sigaction act = { .sa_handler = on_kick };
    sigemptyset(&act.sa_mask);
    (void)sigaction(kvm_signal(), &act, NULL);
}

static void immediate_exit(struct kvm_cpu *cpu, uint8_t on)
{
    __atomic_store_n(&cpu->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

void kvm_vcpu_nudge(struct kvm_cpu *cpu)
{
    immediate_exit(cpu, 1);
    if (atomic_load(&cpu->in_kvm))
        (void)syscall(SYS_tgkill, getpid(), atomic_load(&cpu->tid), kvm_signal());
}

void kvm_vcpu_kick(void *vcpu)
{
    struct kvm_cpu *cpu = vcpu;
    atomic_store(&cpu->kicked, 1);
    kvm_vcpu_nudge(cpu);
}

/* ---- running --------------------------------------------------------------------------------- */

/* The 8259's interrupt goes in when the guest takes one; until then KVM is to tell. */
static void extint_offer(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx)
{
    struct kvm_run *run = cpu->run;
    run->request_interrupt_window = 0;
    if (cpu->index != 0 || !atomic_load(&cpu->vm->extint))
        return;
    if (run->ready_for_interrupt_injection && !atomic_load(&cpu->kicked)) {
        int vector = up->intack ? up->intack(ctx) : -1;
        struct kvm_interrupt irq = { .irq = (uint32_t)vector };
        if (vector >= 0 && vector <= 255 && ioctl(cpu->fd, KVM_INTERRUPT, &irq) == 0)
            atomic_fetch_add_explicit(&cpu->injected, 1, memory_order_relaxed);
        run->ready_for_interrupt_injection = 0;
    }
    run->request_interrupt_window = atomic_load(&cpu->vm->extint) != 0;
}

static void thread_take(struct kvm_cpu *cpu)
{
    int tid = (int)syscall(SYS_gettid);
    if (tid == atomic_load(&cpu->tid))
        return;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kvm_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    atomic_store(&cpu->tid, tid);
}

static void failed(struct kvm_cpu *cpu, const mobo_exits_t *up, void *ctx, int err)
{
    char why[80];
    (void)snprintf(why, sizeof why, "KVM_RUN: %s", strerror(err));
    kvm_dump(cpu, why);
    cpu->stopped = true;
    up->stop(ctx, MOBO_STOP_FAIL, 0);
}

int kvm_vcpu_run(void *vcpu, const mobo_exits_t *up, void *ctx)
{
    struct kvm_cpu *cpu = vcpu;
    thread_take(cpu);
    cpu->stopped = false;
    while (!cpu->stopped) {
        extint_offer(cpu, up, ctx);
        atomic_store(&cpu->in_kvm, 1);
        int rc = ioctl(cpu->fd, KVM_RUN, 0);
        int err = errno;
        atomic_store(&cpu->in_kvm, 0);
        atomic_fetch_add_explicit(&cpu->runs, 1, memory_order_relaxed);
        if (rc == 0) {
            kvm_exit(cpu, up, ctx);
        } else if (err == EINTR || err == EAGAIN) {
            /* Cleared before the flags are read: who comes later sets it again. */
            immediate_exit(cpu, 0);
            if (atomic_exchange(&cpu->kicked, 0))
                return MOBO_OK;
        } else {
            failed(cpu, up, ctx, err);
        }
    }
    return MOBO_OK;
}

/* ---- power-on state -------------------------------------------------------------------------- */

static int state_get(struct kvm_cpu *cpu, struct kvm_state *s)
{
    int fd = cpu->fd;
    bool ok = ioctl(fd, KVM_GET_REGS, &s->regs) == 0 && ioctl(fd, KVM_GET_SREGS, &s->sregs) == 0 &&
              ioctl(fd, KVM_GET_XSAVE, &s->xsave) == 0 &&
              ioctl(fd, KVM_GET_VCPU_EVENTS, &s->events) == 0 &&
              ioctl(fd, KVM_GET_MP_STATE, &s->mp) == 0 &&
              ioctl(fd, KVM_GET_DEBUGREGS, &s->debug) == 0 &&
              ioctl(fd, KVM_GET_LAPIC, &s->lapic) == 0;
    if (ok && cpu->vm->has_xcrs)
        ok = ioctl(fd, KVM_GET_XCRS, &s->xcrs) == 0;
    return ok ? kvm_msrs_read(cpu, &s->msrs) : MOBO_EFAIL;
}

/* System registers first: the others are checked against them; the APIC's base before the APIC. */
static const char *state_set(struct kvm_cpu *cpu, const struct kvm_state *s)
{
    int fd = cpu->fd;
    if (ioctl(fd, KVM_SET_SREGS, &s->sregs) < 0)
        return "KVM_SET_SREGS";
    if (ioctl(fd, KVM_SET_REGS, &s->regs) < 0)
        return "KVM_SET_REGS";
    if (cpu->vm->has_xcrs && ioctl(fd, KVM_SET_XCRS, &s->xcrs) < 0)
        return "KVM_SET_XCRS";
    if (ioctl(fd, KVM_SET_XSAVE, &s->xsave) < 0)
        return "KVM_SET_XSAVE";
    if (kvm_msrs_write(cpu, &s->msrs) != MOBO_OK)
        return "KVM_SET_MSRS";
    if (ioctl(fd, KVM_SET_LAPIC, &s->lapic) < 0)
        return "KVM_SET_LAPIC";
    (void)kvm_msr_set(cpu, 0x6e0, 0); /* the APIC's deadline */
    if (ioctl(fd, KVM_SET_DEBUGREGS, &s->debug) < 0)
        return "KVM_SET_DEBUGREGS";
    if (ioctl(fd, KVM_SET_VCPU_EVENTS, &s->events) < 0)
        return "KVM_SET_VCPU_EVENTS";
    if (ioctl(fd, KVM_SET_MP_STATE, &s->mp) < 0)
        return "KVM_SET_MP_STATE";
    return NULL;
}

/* What KVM gave at the start, but for the TSC: it runs on, the same on all CPUs. */
void kvm_vcpu_reset(void *vcpu)
{
    struct kvm_cpu *cpu = vcpu;
    const char *wrong = state_set(cpu, &cpu->power_on);
    if (wrong)
        mobo_log(cpu->vm->obj, MOBO_ERROR, "CPU %u: KVM refuses its power-on state (%s: %s)",
                 cpu->index, wrong, strerror(errno));
    cpu->run->request_interrupt_window = 0;
    cpu->run->ready_for_interrupt_injection = 0;
}

/* ---- making ---------------------------------------------------------------------------------- */

void kvm_vcpu_free(struct kvm_cpu *cpu)
{
    if (cpu->run)
        munmap(cpu->run, cpu->run_len);
    if (cpu->fd >= 0)
        close(cpu->fd);
    free(cpu);
}

/* What did not work, or NULL. CPUID comes before anything that depends on it. */
static const char *cpu_make(struct kvm_cpu *cpu)
{
    struct kvm *k = cpu->vm;
    cpu->fd = ioctl(k->fd, KVM_CREATE_VCPU, (unsigned long)cpu->index);
    if (cpu->fd < 0)
        return "KVM_CREATE_VCPU";
    int len = ioctl(k->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (len < (int)sizeof *cpu->run)
        return "KVM_GET_VCPU_MMAP_SIZE";
    void *map = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
    if (map == MAP_FAILED)
        return "mmap";
    cpu->run = map;
    cpu->run_len = (uint32_t)len;
    if (kvm_cpuid_set(cpu) != MOBO_OK)
        return "KVM_SET_CPUID2";
    if (cpu->index == 0 && kvm_msrs_list(cpu) != MOBO_OK)
        return "KVM_GET_MSR_INDEX_LIST";
    if (state_get(cpu, &cpu->power_on) != MOBO_OK)
        return "its registers";
    cpu->power_on.regs.rdx = kvm_cpuid_signature(k);
    cpu->power_on.events.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
    return state_set(cpu, &cpu->power_on);
}

int kvm_vcpu_new(void *self, uint32_t index, void **out)
{
    struct kvm *k = self;
    if (index != atomic_load(&k->vcpu_ready) || index >= KVM_VCPUS_MAX)
        return mobo_fail(k->obj, "CPU %u: at most %d CPUs, made in order", (unsigned)index,
                         KVM_VCPUS_MAX);
    if (index == 0) {
        mobo_vm_info_t info;
        mobo_vm_info(k->obj, &info);
        k->vcpu_count = info.vcpus ? info.vcpus : 1;
        if (k->vcpu_count > KVM_VCPUS_MAX)
            return mobo_fail(k->obj, "%u CPUs: at most %d", k->vcpu_count, KVM_VCPUS_MAX);
    }
    struct kvm_cpu *cpu = calloc(1, sizeof *cpu);
    if (!cpu)
        return mobo_fail_code(k->obj, MOBO_ENOMEM, "no memory for CPU %u", (unsigned)index);
    cpu->vm = k;
    cpu->index = index;
    cpu->fd = -1;
    const char *wrong = cpu_make(cpu);
    if (wrong) {
        int err = errno;
        kvm_vcpu_free(cpu);
        return mobo_fail_code(k->obj, MOBO_EFAIL, "KVM gives no CPU %u (%s: %s)", (unsigned)index,
                              wrong, strerror(err));
    }
    k->vcpu[index] = cpu;
    atomic_store(&k->vcpu_ready, index + 1);
    *out = cpu;
    return MOBO_OK;
}
