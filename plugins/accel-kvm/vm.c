/*
 * vm.c: the virtual machine of KVM as mobo.accel/1 sees it: opening /dev/kvm, guest RAM, messages
 * from devices, doorbells. Running a CPU is vcpu.c's.
 * Reference: Linux Documentation/virt/kvm/api.rst.
 */
#include "kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* One page and three that Intel CPUs need for real mode, below the firmware's place. */
static const uint32_t identity_map = 0xfffbc000, tss_pages = 0xfffbd000;
enum { MIPS_ENOUGH = 50, SLOW_OK = 1 };

/* ---- RAM ------------------------------------------------------------------------------------- */

static int error_of(int err)
{
    switch (err) {
    case EEXIST:
        return MOBO_EEXIST;
    case EINVAL:
        return MOBO_EINVAL;
    case ENOMEM:
    case ENOSPC:
        return MOBO_ENOMEM;
    case EFAULT:
        return MOBO_EFAULT;
    default:
        return MOBO_EFAIL;
    }
}

static int slot_set(struct kvm *k, uint32_t slot, uint64_t gpa, void *host, uint64_t len,
                    uint32_t flags)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = flags & MOBO_MAP_READONLY ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = gpa,
        .memory_size = len,
        .userspace_addr = (uintptr_t)host,
    };
    return ioctl(k->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? error_of(errno) : MOBO_OK;
}

static int ram_map(void *self, uint64_t gpa, void *host, uint64_t len, uint32_t flags)
{
    struct kvm *k = self;
    if (((gpa | len | (uintptr_t)host) & 0xfff) || !len || gpa + len < gpa || !host)
        return MOBO_EINVAL;
    int rc = MOBO_ENOMEM;
    pthread_mutex_lock(&k->lock);
    for (uint32_t i = 0; i < KVM_SLOTS_MAX; i++) {
        if (k->slot[i].len)
            continue;
        rc = slot_set(k, i, gpa, host, len, flags);
        if (rc == MOBO_OK)
            k->slot[i] = (struct kvm_slot){ .gpa = gpa, .len = len };
        break;
    }
    pthread_mutex_unlock(&k->lock);
    return rc;
}

static int ram_unmap(void *self, uint64_t gpa, uint64_t len)
{
    struct kvm *k = self;
    int rc = MOBO_ENOENT;
    pthread_mutex_lock(&k->lock);
    for (uint32_t i = 0; i < KVM_SLOTS_MAX; i++) {
        if (!len || k->slot[i].len != len || k->slot[i].gpa != gpa)
            continue;
        rc = slot_set(k, i, gpa, NULL, 0, 0);
        if (rc == MOBO_OK)
            k->slot[i].len = 0;
        break;
    }
    pthread_mutex_unlock(&k->lock);
    return rc;
}

static int ram_dirty(void *self, uint64_t gpa, uint64_t len, uint64_t *bitmap)
{
    (void)self, (void)gpa, (void)len, (void)bitmap;
    return MOBO_ENOTSUP;
}

/* ---- messages -------------------------------------------------------------------------------- */

static int routes_write(struct kvm *k)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entry[KVM_PINS];
    } t;
    memset(&t, 0, sizeof t);
    for (uint32_t i = 0; i < KVM_PINS; i++) {
        const struct kvm_level_route *r = &k->route[i];
        if (!r->used)
            continue;
        struct kvm_irq_routing_entry *e = &t.entry[t.head.nr++];
        e->gsi = i;
        e->type = KVM_IRQ_ROUTING_MSI;
        e->u.msi.address_lo = (uint32_t)r->addr;
        e->u.msi.address_hi = (uint32_t)(r->addr >> 32);
        e->u.msi.data = r->data;
    }
    atomic_fetch_add_explicit(&k->routings, 1, memory_order_relaxed);
    return ioctl(k->fd, KVM_SET_GSI_ROUTING, &t) < 0 ? error_of(errno) : MOBO_OK;
}

/*
 * With a split irqchip an EOI leaves KVM only for vectors that routes of the first KVM_PINS GSIs
 * name. An IOAPIC has that many pins, so the most recently used messages are all that count.
 */
static int route_level(struct kvm *k, uint64_t addr, uint32_t data)
{
    int rc = MOBO_OK;
    pthread_mutex_lock(&k->lock);
    struct kvm_level_route *oldest = &k->route[0], *found = NULL;
    for (uint32_t i = 0; i < KVM_PINS && !found; i++) {
        struct kvm_level_route *r = &k->route[i];
        if (r->used && r->addr == addr && r->data == data)
            found = r;
        else if (r->used < oldest->used)
            oldest = r;
    }
    if (!found) {
        oldest->addr = addr;
        oldest->data = data;
    }
    (found ? found : oldest)->used = ++k->route_clock;
    if (!found)
        rc = routes_write(k);
    pthread_mutex_unlock(&k->lock);
    return rc;
}

enum { DATA_LEVEL = 1u << 15 }; /* SDM volume 3A, 10.11.2: trigger mode */

static int msi(void *self, uint64_t addr, uint32_t data, uint32_t requester)
{
    struct kvm *k = self;
    (void)requester;
    if (data & DATA_LEVEL) {
        int rc = route_level(k, addr, data);
        if (rc != MOBO_OK)
            return rc;
    }
    struct kvm_msi m = { .address_lo = (uint32_t)addr,
                         .address_hi = (uint32_t)(addr >> 32),
                         .data = data };
    atomic_fetch_add_explicit(&k->msis, 1, memory_order_relaxed);
    /* 0: the guest blocks it, as hardware does without a word. */
    return ioctl(k->fd, KVM_SIGNAL_MSI, &m) < 0 ? error_of(errno) : MOBO_OK;
}

/* The 8259 is wired to the boot processor. */
static void extint(void *self, uint32_t level)
{
    struct kvm *k = self;
    atomic_store(&k->extint, level);
    if (level && atomic_load(&k->vcpu_ready))
        kvm_vcpu_nudge(k->vcpu[0]);
}

static int nmi(void *self, uint32_t index)
{
    struct kvm *k = self;
    if (index >= atomic_load(&k->vcpu_ready))
        return MOBO_ENOENT;
    return ioctl(k->vcpu[index]->fd, KVM_NMI, 0) < 0 ? error_of(errno) : MOBO_OK;
}

static int irq(void *self, uint32_t line, uint32_t level)
{
    (void)self, (void)line, (void)level;
    return MOBO_ENOTSUP; /* arm64's */
}

static int doorbell(void *self, uint32_t space, uint64_t addr, uint32_t len, uint64_t value,
                    uint32_t any_value, int fd, uint32_t add)
{
    struct kvm *k = self;
    struct kvm_ioeventfd e = {
        .datamatch = any_value ? 0 : value,
        .addr = addr,
        .len = len,
        .fd = fd,
        .flags = (any_value ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH) |
                 (space == MOBO_SPACE_IO ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                 (add ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
    };
    return ioctl(k->fd, KVM_IOEVENTFD, &e) < 0 ? error_of(errno) : MOBO_OK;
}

static uint64_t caps(void *self)
{
    (void)self;
    return MOBO_ACCEL_DOORBELL;
}

/* ---- the object ------------------------------------------------------------------------------ */

static const struct {
    int cap;
    const char *name;
} needed[] = {
    { KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
    { KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
    { KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR" },
    { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
    { KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
    { KVM_CAP_USER_NMI, "KVM_CAP_USER_NMI" },
    { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
    { KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
    { KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
    { KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
    { KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
    { KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
    { KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
    { KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

static int has(const struct kvm *k, int cap)
{
    return ioctl(k->dev, KVM_CHECK_EXTENSION, cap);
}

static int device_open(struct kvm *k)
{
    k->dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (k->dev < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
        return mobo_fail_code(k->obj, MOBO_ENOENT,
                              "no /dev/kvm: this kernel or processor has no KVM, or its module "
                              "(kvm-intel, kvm-amd) is not loaded");
    if (k->dev < 0 && (errno == EACCES || errno == EPERM))
        return mobo_fail_code(k->obj, MOBO_EACCES,
                              "/dev/kvm: no permission; add the user to its group");
    if (k->dev < 0)
        return mobo_fail_code(k->obj, MOBO_EIO, "/dev/kvm: %s", strerror(errno));
    k->opened = true;
    int version = ioctl(k->dev, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return mobo_fail_code(k->obj, MOBO_ENOTSUP, "/dev/kvm speaks API %d; %d is needed",
                              version, KVM_API_VERSION);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (has(k, needed[i].cap) <= 0)
            return mobo_fail_code(k->obj, MOBO_ENOTSUP, "/dev/kvm lacks %s; a newer kernel has it",
                                  needed[i].name);
    k->has_xcrs = has(k, KVM_CAP_XCRS) > 0;
    k->has_deadline = has(k, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    return MOBO_OK;
}

static int speed_check(struct kvm *k)
{
    char why[160] = "";
    if (k->slow_prop == SLOW_OK)
        return MOBO_OK;
    k->mips = kvm_calibrate(k->dev, MIPS_ENOUGH, why, sizeof why);
    if (k->mips < 0)
        return mobo_fail_code(k->obj, MOBO_EFAIL, "/dev/kvm does not run a test guest: %s", why);
    if (k->mips < MIPS_ENOUGH)
        return mobo_fail_code(k->obj, MOBO_ENOTSUP,
                              "/dev/kvm runs %.2f million instructions a second (MIPS): it is "
                              "emulated; slow = ok uses it all the same",
                              k->mips);
    mobo_log(k->obj, MOBO_DEBUG, "/dev/kvm runs at %.0f MIPS", k->mips);
    return MOBO_OK;
}

static int enable(struct kvm *k, uint32_t cap, uint64_t arg)
{
    struct kvm_enable_cap e = { .cap = cap, .args = { arg } };
    return ioctl(k->fd, KVM_ENABLE_CAP, &e);
}

static int machine_make(struct kvm *k)
{
    do
        k->fd = ioctl(k->dev, KVM_CREATE_VM, 0);
    while (k->fd < 0 && errno == EINTR);
    if (k->fd < 0)
        return mobo_fail_code(k->obj, MOBO_EFAIL, "KVM makes no machine: %s", strerror(errno));
    k->made = true;
    uint64_t map = identity_map;
    if (ioctl(k->fd, KVM_SET_IDENTITY_MAP_ADDR, &map) < 0 ||
        ioctl(k->fd, KVM_SET_TSS_ADDR, (unsigned long)tss_pages) < 0)
        return mobo_fail_code(k->obj, MOBO_EFAIL, "KVM refuses pages at 0x%x: %s",
                              identity_map, strerror(errno));
    if (enable(k, KVM_CAP_SPLIT_IRQCHIP, KVM_PINS) < 0)
        return mobo_fail_code(k->obj, MOBO_EFAIL, "KVM refuses local APICs of its own: %s",
                              strerror(errno));
    /* The APIC block holds whole x2APIC ids then, as accel-soft writes them. Old kernels lack it. */
    if (has(k, KVM_CAP_X2APIC_API) & KVM_X2APIC_API_USE_32BIT_IDS)
        (void)enable(k, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS);
    return MOBO_OK;
}

int kvm_init(void *self)
{
    struct kvm *k = self;
    pthread_mutex_init(&k->lock, NULL);
    k->locked = true;
    kvm_signal_install();
    int rc = device_open(k);
    if (rc == MOBO_OK)
        rc = speed_check(k);
    if (rc == MOBO_OK)
        rc = machine_make(k);
    return rc == MOBO_OK ? kvm_cpuid_load(k) : rc;
}

void kvm_fini(void *self)
{
    struct kvm *k = self;
    uint32_t n = atomic_exchange(&k->vcpu_ready, 0);
    for (uint32_t i = 0; i < n; i++)
        kvm_vcpu_free(k->vcpu[i]);
    if (k->made)
        close(k->fd);
    if (k->opened)
        close(k->dev);
    if (k->locked)
        pthread_mutex_destroy(&k->lock);
    k->made = k->opened = k->locked = false;
}

const mobo_accel_ops_t kvm_accel_ops = {
    .size = sizeof kvm_accel_ops,
    .caps = caps,
    .ram_map = ram_map,
    .ram_unmap = ram_unmap,
    .ram_dirty = ram_dirty,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_reset = kvm_vcpu_reset,
    .run = kvm_vcpu_run,
    .kick = kvm_vcpu_kick,
    .get = kvm_vcpu_get,
    .set = kvm_vcpu_set,
    .msi = msi,
    .extint = extint,
    .nmi = nmi,
    .irq = irq,
    .doorbell = doorbell,
    .stats = kvm_stats,
};
