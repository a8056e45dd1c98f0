/*
 * calibrate.c: how fast /dev/kvm runs guest code. Some hosts offer one that emulates instruction
 * by instruction. A loop of 20 instructions runs for some milliseconds in a machine of its own, on
 * a thread that is called back; a kernel that does not give it back keeps it, and we go on.
 */
#include "kvm.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_NS = 5000000, ROUNDS = 3, GIVE_UP_NS = 800000000, PAGE = 4096, CODE_AT = 0x1000 };

/* inc ecx (32-bit operand); 18 times add ax, bx; jmp to the start: 20 instructions. */
enum { LOOP_INSNS = 20 };

struct trial {
    int vm, cpu;
    struct kvm_run *run;
    size_t run_len;
    uint8_t *page;
    uint64_t guest_ns;
    int error; /* errno of KVM_RUN, or 0 */
    _Atomic int state, owners;
    pthread_t thread;
};
enum { STATE_NEW = 0, STATE_RUNNING = 1, STATE_DONE = 2 };

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void trial_drop(struct trial *t)
{
    if (atomic_fetch_sub(&t->owners, 1) != 1)
        return;
    if (t->run)
        munmap(t->run, t->run_len);
    if (t->cpu >= 0)
        close(t->cpu);
    if (t->vm >= 0)
        close(t->vm);
    if (t->page)
        munmap(t->page, PAGE);
    free(t);
}

static void code_write(uint8_t *p)
{
    static const uint8_t inc_ecx[] = { 0x66, 0x41 }, add[] = { 0x01, 0xd8 };
    size_t n = 0;
    memcpy(p, inc_ecx, sizeof inc_ecx);
    for (n = sizeof inc_ecx; n < sizeof inc_ecx + 18 * sizeof add; n += sizeof add)
        memcpy(p + n, add, sizeof add);
    p[n] = 0xeb;
    p[n + 1] = (uint8_t)(0u - (n + 2));
}

/* What did not work, or NULL. */
static const char *trial_make(struct trial *t, int dev)
{
    t->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->page == MAP_FAILED) {
        t->page = NULL;
        return "mmap";
    }
    code_write(t->page);
    do
        t->vm = ioctl(dev, KVM_CREATE_VM, 0);
    while (t->vm < 0 && errno == EINTR);
    if (t->vm < 0)
        return "KVM_CREATE_VM";
    (void)ioctl(t->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
    struct kvm_userspace_memory_region r = { .guest_phys_addr = CODE_AT,
                                             .memory_size = PAGE,
                                             .userspace_addr = (uintptr_t)t->page };
    if (ioctl(t->vm, KVM_SET_USER_MEMORY_REGION, &r) < 0)
        return "KVM_SET_USER_MEMORY_REGION";
    t->cpu = ioctl(t->vm, KVM_CREATE_VCPU, 0);
    int len = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (t->cpu < 0 || len < (int)sizeof *t->run)
        return "KVM_CREATE_VCPU";
    t->run_len = (size_t)len;
    t->run = mmap(NULL, t->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, t->cpu, 0);
    if (t->run == MAP_FAILED) {
        t->run = NULL;
        return "mmap of the CPU";
    }
    struct kvm_sregs s;
    struct kvm_regs regs = { .rip = CODE_AT, .rflags = 2 };
    if (ioctl(t->cpu, KVM_GET_SREGS, &s) < 0)
        return "KVM_GET_SREGS";
    s.cs.base = 0;
    s.cs.selector = 0;
    if (ioctl(t->cpu, KVM_SET_SREGS, &s) < 0 || ioctl(t->cpu, KVM_SET_REGS, &regs) < 0)
        return "KVM_SET_REGS";
    return NULL;
}

static void *trial_run(void *arg)
{
    struct trial *t = arg;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kvm_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    atomic_store(&t->state, STATE_RUNNING);
    int rc = ioctl(t->cpu, KVM_RUN, 0);
    int err = errno;
    t->guest_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
    t->error = rc < 0 && err == EINTR ? 0 : rc < 0 ? err : EPROTO;
    atomic_store(&t->state, STATE_DONE);
    trial_drop(t);
    return NULL;
}

static void wait_ns(uint64_t ns)
{
    struct timespec t = { .tv_nsec = (long)ns };
    (void)nanosleep(&t, NULL);
}

/* One slice; false: it did not come back, and the trial is the thread's now. */
static bool trial_slice(struct trial *t, const char **wrong, uint64_t give_up)
{
    atomic_store(&t->state, STATE_NEW);
    t->run->immediate_exit = 0;
    atomic_fetch_add(&t->owners, 1);
    if (pthread_create(&t->thread, NULL, trial_run, t) != 0) {
        atomic_fetch_sub(&t->owners, 1);
        *wrong = "the host gives no thread";
        return true;
    }
    while (atomic_load(&t->state) == STATE_NEW && clock_ns(CLOCK_MONOTONIC) < give_up)
        wait_ns(100000);
    wait_ns(SLICE_NS);
    while (atomic_load(&t->state) != STATE_DONE) {
        if (clock_ns(CLOCK_MONOTONIC) >= give_up) {
            pthread_detach(t->thread);
            *wrong = "its CPU does not come back";
            return false;
        }
        *(volatile uint8_t *)&t->run->immediate_exit = 1;
        (void)pthread_kill(t->thread, kvm_signal());
        wait_ns(500000);
    }
    pthread_join(t->thread, NULL);
    if (t->error)
        *wrong = t->error == EPROTO ? "an exit nobody asked for" : strerror(t->error);
    return true;
}

/* Instructions since the last look, by the loop's counter. */
static double trial_count(const struct trial *t, uint32_t *last)
{
    struct kvm_regs r;
    if (ioctl(t->cpu, KVM_GET_REGS, &r) < 0)
        return 0;
    uint32_t now = (uint32_t)r.rcx, turns = now - *last;
    *last = now;
    return (double)turns * LOOP_INSNS;
}

double kvm_calibrate(int dev, double enough, char *why, size_t len)
{
    struct trial *t = calloc(1, sizeof *t);
    if (!t) {
        (void)snprintf(why, len, "no memory");
        return -1;
    }
    t->vm = t->cpu = -1;
    atomic_store(&t->owners, 1);
    uint64_t give_up = clock_ns(CLOCK_MONOTONIC) + GIVE_UP_NS;
    double best = -1;
    uint32_t last = 0;
    errno = 0;
    const char *wrong = trial_make(t, dev);
    int err = wrong ? errno : 0;
    /* A loaded host steals time from a slice: the best of some is the answer. */
    for (int i = 0; !wrong && i < ROUNDS && best < enough; i++) {
        if (!trial_slice(t, &wrong, give_up) || wrong)
            break;
        double mips = trial_count(t, &last) * 1e3 / (double)(t->guest_ns ? t->guest_ns : 1);
        if (mips > best)
            best = mips;
    }
    if (wrong)
        (void)snprintf(why, len, "%s%s%s", wrong, err ? ": " : "", err ? strerror(err) : "");
    trial_drop(t);
    return wrong ? -1 : best;
}
