/*
 * pm.c: ACPI fixed hardware (ACPI 6.5, 4.8): PM1 event and control block, PM timer, the reset
 * control register of the PC chip sets at cf9h. There is no SMI command port, so the machine is
 * always in ACPI mode. S5 powers off; sleeping states are refused. No general-purpose events yet.
 */
#include "dev-pc.h"

enum { HZ = 3579545 };
enum { PM1_STS = 0, PM1_EN = 2, PM1_CNT = 4, PM_TMR = 8, BLOCK = 16 };
enum { TMR_STS = 1 << 0, GBL_STS = 1 << 5, PWRBTN_STS = 1 << 8, RTC_STS = 1 << 10,
       WAK_STS = 1 << 15 };
enum { STS_BITS = TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS | WAK_STS,
       EN_BITS = TMR_STS | GBL_STS | PWRBTN_STS | RTC_STS };
enum { SCI_EN = 1 << 0, BM_RLD = 1 << 1, SLP_TYP = 7 << 10, SLP_EN = 1 << 13,
       CNT_KEPT = BM_RLD | SLP_TYP };
enum { TYP_S5 = 5 };
enum { RESET_PORT = 0xcf9, RESET_SYS = 0x02, RESET_CPU = 0x04, RESET_FULL = 0x08,
       RESET_VALUE = RESET_SYS | RESET_CPU };

struct pm {
    mobo_obj_t *obj;
    mobo_irqchip_t chip;
    mobo_irq_t sci;
    uint32_t base, sci_line, timer_bits;
    mobo_timer_t *timer;
    uint16_t sts, en, cnt;
    uint8_t reset_control;
    uint64_t next_toggle; /* tick at which the timer's top bit changes next */
};

static uint64_t tick_now(struct pm *s)
{
    return mul_div(mobo_now(s->obj, MOBO_CLOCK_VM), HZ, NS_PER_S);
}

/* TMR_STS is set when the top bit of the timer changes (ACPI 6.5, 4.8.3.3). */
static void sync_timer(struct pm *s)
{
    uint64_t now = tick_now(s), half = UINT64_C(1) << (s->timer_bits - 1);
    if (now < s->next_toggle)
        return;
    s->sts |= TMR_STS;
    s->next_toggle = (now / half + 1) * half;
}

static void update(struct pm *s)
{
    sync_timer(s);
    mobo_irq_set(s->sci, (s->sts & s->en & EN_BITS) != 0);
    if (s->en & TMR_STS && !(s->sts & TMR_STS))
        mobo_timer_set(s->obj, s->timer, mul_div_up(s->next_toggle, NS_PER_S, HZ));
    else
        mobo_timer_cancel(s->obj, s->timer);
}

static void write_cnt(struct pm *s, uint16_t val)
{
    s->cnt = val & CNT_KEPT;
    if (!(val & SLP_EN))
        return;
    unsigned typ = (val & SLP_TYP) >> 10;
    if (typ == TYP_S5)
        mobo_vm_request(s->obj, MOBO_VM_OFF);
    else
        mobo_log(s->obj, MOBO_WARN, "the guest asks for sleep type %u; only 5 (off) is there", typ);
}

/* One byte of the block; the 32-bit timer is latched by the caller so that it cannot tear. */
static uint8_t byte_of(const struct pm *s, uint64_t off, uint32_t timer)
{
    switch (off & ~UINT64_C(1)) {
    case PM1_STS:
        return (uint8_t)(s->sts >> 8 * (off & 1));
    case PM1_EN:
        return (uint8_t)(s->en >> 8 * (off & 1));
    case PM1_CNT:
        return (uint8_t)((s->cnt | SCI_EN) >> 8 * (off & 1));
    case PM_TMR:
    case PM_TMR + 2:
        return (uint8_t)(timer >> 8 * (off & 3));
    default:
        return 0;
    }
}

static uint64_t pm_read(void *self, uint64_t off, unsigned bytes)
{
    struct pm *s = self;
    uint64_t val = 0;
    if (off < PM1_EN)
        update(s);
    uint32_t timer = (uint32_t)(tick_now(s) & ((UINT64_C(1) << s->timer_bits) - 1));
    for (unsigned i = 0; i < bytes; i++)
        val |= (uint64_t)byte_of(s, off + i, timer) << 8 * i;
    return val;
}

/* VAL and MASK of the bits of the register at REG that an access writes; 0: it is not touched. */
static uint16_t part(uint64_t off, uint64_t val, unsigned bytes, unsigned reg, uint16_t *mask)
{
    uint16_t v = 0;
    *mask = 0;
    for (unsigned i = 0; i < bytes; i++) {
        if (((off + i) & ~UINT64_C(1)) != reg)
            continue;
        unsigned shift = 8 * ((off + i) & 1);
        v |= (uint16_t)((val >> 8 * i & 0xff) << shift);
        *mask |= (uint16_t)(0xff << shift);
    }
    return v;
}

static void pm_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct pm *s = self;
    uint16_t mask, v = part(off, val, bytes, PM1_STS, &mask);
    sync_timer(s);
    if (mask)
        s->sts &= (uint16_t)~v; /* write one to clear */
    v = part(off, val, bytes, PM1_EN, &mask);
    if (mask)
        s->en = ((s->en & (uint16_t)~mask) | v) & EN_BITS;
    v = part(off, val, bytes, PM1_CNT, &mask);
    if (mask)
        write_cnt(s, (uint16_t)((s->cnt & (uint16_t)~mask) | v));
    update(s);
}

static uint64_t reset_read(void *self, uint64_t off, unsigned bytes)
{
    (void)off;
    (void)bytes;
    return ((struct pm *)self)->reset_control;
}

/* A rising RST_CPU resets: the CPU alone or all, which is the same here (PIIX3, 2.5.4). */
static void reset_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct pm *s = self;
    (void)off;
    (void)bytes;
    uint8_t old = s->reset_control;
    s->reset_control = val & (RESET_SYS | RESET_CPU | RESET_FULL);
    if (s->reset_control & ~old & RESET_CPU)
        mobo_vm_request(s->obj, MOBO_VM_RESET);
}

static void pm_tick(void *self)
{
    update(self);
}

static const mobo_region_t block = {
    .size = sizeof block, .name = "pm1", .length = BLOCK, .max_access = 4, .read = pm_read,
    .write = pm_write,
};
static const mobo_region_t reset_port = {
    .size = sizeof reset_port, .name = "reset", .length = 1, .max_access = 1, .read = reset_read,
    .write = reset_write,
};

static int describe(struct pm *s)
{
    const mobo_fw_res_t res[] = {
        { .kind = MOBO_RES_IO, .role = MOBO_ROLE_PM1_EVT, .base = s->base, .len = 4 },
        { .kind = MOBO_RES_IO, .role = MOBO_ROLE_PM1_CNT, .base = s->base + PM1_CNT, .len = 2 },
        { .kind = MOBO_RES_IO, .role = MOBO_ROLE_PM_TMR, .base = s->base + PM_TMR, .len = 4 },
        { .kind = MOBO_RES_IO, .role = MOBO_ROLE_RESET, .base = RESET_PORT, .len = 1 },
        { .kind = MOBO_RES_IRQ, .role = MOBO_ROLE_SCI, .flags = MOBO_IRQ_LEVEL, .len = 1,
          .base = s->chip.ops->gsi(s->chip.self, s->sci_line) },
    };
    const mobo_fw_device_t fw = { .size = sizeof fw, .kind = MOBO_FW_ACPI_PM,
                                  .name = s->obj->name, .res_count = sizeof res / sizeof res[0],
                                  .res_stride = sizeof res[0], .res = res,
                                  .arg = { RESET_VALUE, TYP_S5, s->timer_bits, 0 } };
    return s->obj->host->fw->describe(s->obj, &fw);
}

/* The block's place is in the FADT: this device keeps it itself, not leaving it to a bus. */
static int pm_init(void *self)
{
    struct pm *s = self;
    if (s->base & (BLOCK - 1) || s->base > 0x10000 - BLOCK)
        return mobo_fail(s->obj, "base 0x%x is not a multiple of 16 below 0x10000", s->base);
    if (s->timer_bits != 24 && s->timer_bits != 32)
        return mobo_fail(s->obj, "timer-bits is %u; ACPI knows 24 and 32", s->timer_bits);
    const mobo_place_t places[] = {
        { .size = sizeof(mobo_place_t), .space = MOBO_SPACE_IO, .base = s->base, .region = &block },
        /* Above the PCI configuration ports cf8h-cffh, which it lies among. */
        { .size = sizeof(mobo_place_t), .space = MOBO_SPACE_IO, .base = RESET_PORT, .priority = 1,
          .region = &reset_port },
    };
    uint32_t handle;
    int rc = mobo_region_add(s->obj, &places[0], &handle);
    if (!rc)
        rc = mobo_region_add(s->obj, &places[1], &handle);
    if (!rc)
        rc = mobo_wire(s->obj, s->chip.self, s->sci_line, &s->sci);
    if (!rc)
        rc = mobo_timer_new(s->obj, pm_tick, &s->timer);
    return rc ? rc : describe(s);
}

static void pm_reset(void *self)
{
    struct pm *s = self;
    uint64_t half = UINT64_C(1) << (s->timer_bits - 1);
    s->sts = s->en = s->cnt = 0;
    s->reset_control = 0;
    s->next_toggle = (tick_now(s) / half + 1) * half;
    update(s);
}

static int pm_loaded(void *self, uint32_t version)
{
    struct pm *s = self;
    (void)version;
    s->sts &= STS_BITS;
    s->en &= EN_BITS;
    s->cnt &= CNT_KEPT;
    update(s);
    return 0;
}

static const mobo_prop_t props[] = {
    MOBO_LINK(struct pm, chip, MOBO_IRQCHIP, "interrupt controller the SCI goes to"),
    MOBO_U32(struct pm, base, "0x600", "first port of the PM1 and PM timer block"),
    MOBO_NAMED(struct pm, sci_line, "sci", MOBO_T_U32, "9", "line of the SCI on that controller"),
    MOBO_NAMED(struct pm, timer_bits, "timer-bits", MOBO_T_U32, "32",
               "width of the PM timer: 24 or 32"),
    MOBO_END,
};
static const mobo_field_t state[] = {
    MOBO_STATE(struct pm, sts), MOBO_STATE(struct pm, en), MOBO_STATE(struct pm, cnt),
    MOBO_STATE(struct pm, reset_control), MOBO_STATE(struct pm, next_toggle), MOBO_END,
};

const mobo_class_t pm_class = {
    MOBO_CLASS(struct pm, props, state), .name = "pm",
    .summary = "ACPI power management: events, PM timer, power-off, reset (port cf9h)",
    .init = pm_init, .reset = pm_reset, .loaded = pm_loaded,
};
