/*
 * pic.c: the pair of 8259A interrupt controllers of a PC, with the edge/level registers (ELCR) of
 * the PCI bridges. Registers and modes are those of Intel 231468 (8259A); 8080 mode and buffered
 * mode, which no PC can use, are not here. An edge stays latched after its line has fallen: devices
 * pulse their lines, and a pulse must not be lost.
 */
#include "dev-pc.h"

#include <pthread.h>

enum { MASTER = 0, SLAVE = 1, CASCADE = 2 };
enum { ICW1_ICW4 = 0x01, ICW1_SINGLE = 0x02, ICW1_SELECT = 0x10 };
enum { ICW4_AEOI = 0x02, ICW4_SFNM = 0x10 };
enum { OCW2_EOI = 0x20, OCW2_SL = 0x40, OCW2_R = 0x80 };
enum { OCW3_RIS = 0x01, OCW3_RR = 0x02, OCW3_POLL = 0x04, OCW3_SELECT = 0x08, OCW3_SMM = 0x20,
       OCW3_ESMM = 0x40 };
enum { WANT_OCW1, WANT_ICW2, WANT_ICW3, WANT_ICW4 };

struct pic {
    mobo_obj_t *obj;
    pthread_mutex_t mutex; /* everything below: lines change on any thread */
    uint8_t irr[2], isr[2], imr[2];
    uint8_t lines[2];      /* levels of the inputs */
    uint8_t elcr[2];       /* 1: level triggered */
    uint8_t base[2];       /* ICW2: vector of input 0 */
    uint8_t icw3[2], icw4[2];
    uint8_t want[2];       /* which word port 1 takes next */
    uint8_t want_icw4[2], single[2];
    uint8_t lowest[2];     /* the input of the lowest priority; 7 unless rotated */
    uint8_t rotate_aeoi[2], special_mask[2], read_isr[2], poll[2];
    uint8_t intr;          /* level of the master's INT pin */
};

/* Inputs 3..7 of the master but not the cascade, 9..12, 14, 15 (PIIX3 data sheet, 2.5.3). */
static const uint8_t elcr_mask[2] = { 0xf8, 0xde };

/* The set bit of the highest priority, as a rank (0 is served first); 8: none is set. */
static unsigned best_rank(const struct pic *s, unsigned c, unsigned mask)
{
    for (unsigned rank = 0; rank < 8; rank++)
        if (mask & 1u << ((s->lowest[c] + 1 + rank) & 7))
            return rank;
    return 8;
}

/* The input chip C asks for service with, or -1 (231468, "Priority resolver"). */
static int wanted(const struct pic *s, unsigned c)
{
    unsigned rank = best_rank(s, c, s->irr[c] & (uint8_t)~s->imr[c]);
    if (rank == 8)
        return -1;
    unsigned served = s->isr[c];
    if (s->special_mask[c])
        served &= (uint8_t)~s->imr[c];
    /* Special fully nested: the slave may ask again while one of its interrupts is in service. */
    if (c == MASTER && s->icw4[c] & ICW4_SFNM)
        served &= ~(1u << CASCADE);
    if (rank >= best_rank(s, c, served))
        return -1;
    return (s->lowest[c] + 1 + (int)rank) & 7;
}

/* The slave's INT pin is input 2 of the master; the master's goes to the CPU. */
static void update(struct pic *s)
{
    if (wanted(s, SLAVE) >= 0)
        s->irr[MASTER] |= 1u << CASCADE;
    else
        s->irr[MASTER] &= (uint8_t)~(1u << CASCADE);
    uint8_t intr = wanted(s, MASTER) >= 0;
    if (intr == s->intr)
        return;
    s->intr = intr;
    s->obj->host->irq->extint(s->obj, intr);
}

static void acknowledge(struct pic *s, unsigned c, unsigned n)
{
    if (!(s->icw4[c] & ICW4_AEOI))
        s->isr[c] |= (uint8_t)(1u << n);
    else if (s->rotate_aeoi[c])
        s->lowest[c] = (uint8_t)n;
    if (!(s->elcr[c] & 1u << n))
        s->irr[c] &= (uint8_t)~(1u << n);
}

/* The INTA cycle. With nothing to serve the chip answers with its input 7 and no ISR bit. */
static int pic_ack(void *self)
{
    struct pic *s = self;
    pthread_mutex_lock(&s->mutex);
    int n = wanted(s, MASTER), vector;
    if (n < 0) {
        vector = s->base[MASTER] + 7;
    } else if (n == CASCADE) {
        int m = wanted(s, SLAVE);
        if (m >= 0)
            acknowledge(s, SLAVE, (unsigned)m);
        vector = s->base[SLAVE] + (m < 0 ? 7 : m);
        acknowledge(s, MASTER, CASCADE);
    } else {
        acknowledge(s, MASTER, (unsigned)n);
        vector = s->base[MASTER] + n;
    }
    update(s);
    pthread_mutex_unlock(&s->mutex);
    return vector;
}

static void line_set(struct pic *s, unsigned c, unsigned n, unsigned level)
{
    uint8_t bit = (uint8_t)(1u << n);
    if (s->elcr[c] & bit) {
        s->irr[c] = level ? s->irr[c] | bit : s->irr[c] & (uint8_t)~bit;
    } else if (level && !(s->lines[c] & bit)) {
        s->irr[c] |= bit;
    }
    s->lines[c] = level ? s->lines[c] | bit : s->lines[c] & (uint8_t)~bit;
}

static uint32_t pic_lines(void *self)
{
    (void)self;
    return 16;
}

static void pic_set(void *self, uint32_t line, uint32_t level)
{
    struct pic *s = self;
    if (line >= 16 || line == CASCADE)
        return;
    pthread_mutex_lock(&s->mutex);
    line_set(s, line >> 3, line & 7, level);
    update(s);
    pthread_mutex_unlock(&s->mutex);
}

static uint32_t pic_gsi(void *self, uint32_t line)
{
    (void)self;
    return line < 16 ? line : ~UINT32_C(0);
}

/* ICW1 starts the initialisation (231468, "ICW1"). Level-triggered inputs show through at once. */
static void write_icw1(struct pic *s, unsigned c, uint8_t val)
{
    s->irr[c] = s->lines[c] & s->elcr[c];
    s->isr[c] = s->imr[c] = 0;
    s->lowest[c] = 7;
    s->special_mask[c] = s->read_isr[c] = s->poll[c] = s->rotate_aeoi[c] = 0;
    s->want_icw4[c] = val & ICW1_ICW4;
    s->single[c] = !!(val & ICW1_SINGLE);
    s->icw4[c] = 0;
    s->want[c] = WANT_ICW2;
}

/* End of interrupt, set priority, and their combinations (231468, "OCW2"). */
static void write_ocw2(struct pic *s, unsigned c, uint8_t val)
{
    unsigned n = val & 7;
    if (!(val & OCW2_EOI)) {
        if ((val & (OCW2_R | OCW2_SL)) == (OCW2_R | OCW2_SL))
            s->lowest[c] = (uint8_t)n;
        else if (!(val & OCW2_SL))
            s->rotate_aeoi[c] = !!(val & OCW2_R);
        return;
    }
    if (!(val & OCW2_SL)) {
        unsigned served = s->isr[c];
        if (s->special_mask[c]) /* masked levels are not cleared by a non-specific EOI */
            served &= (uint8_t)~s->imr[c];
        unsigned rank = best_rank(s, c, served);
        if (rank == 8)
            return;
        n = (s->lowest[c] + 1 + rank) & 7;
    }
    s->isr[c] &= (uint8_t)~(1u << n);
    if (val & OCW2_R)
        s->lowest[c] = (uint8_t)n;
}

static void write_port0(struct pic *s, unsigned c, uint8_t val)
{
    if (val & ICW1_SELECT) {
        write_icw1(s, c, val);
    } else if (val & OCW3_SELECT) {
        if (val & OCW3_POLL)
            s->poll[c] = 1;
        if (val & OCW3_RR)
            s->read_isr[c] = val & OCW3_RIS;
        if (val & OCW3_ESMM)
            s->special_mask[c] = !!(val & OCW3_SMM);
    } else {
        write_ocw2(s, c, val);
    }
}

static void write_port1(struct pic *s, unsigned c, uint8_t val)
{
    switch (s->want[c]) {
    case WANT_ICW2:
        s->base[c] = val & 0xf8;
        s->want[c] = !s->single[c] ? WANT_ICW3 : s->want_icw4[c] ? WANT_ICW4 : WANT_OCW1;
        break;
    case WANT_ICW3:
        s->icw3[c] = val; /* kept only: the wiring of a PC does not change */
        s->want[c] = s->want_icw4[c] ? WANT_ICW4 : WANT_OCW1;
        break;
    case WANT_ICW4:
        s->icw4[c] = val;
        s->want[c] = WANT_OCW1;
        break;
    default:
        s->imr[c] = val;
    }
}

/* Poll: the read is the acknowledge (231468, "Poll command"). */
static uint8_t poll_read(struct pic *s, unsigned c)
{
    int n = wanted(s, c);
    s->poll[c] = 0;
    if (n < 0)
        return 0;
    acknowledge(s, c, (unsigned)n);
    return (uint8_t)(0x80 | n);
}

static uint64_t chip_read(struct pic *s, unsigned c, uint64_t off)
{
    pthread_mutex_lock(&s->mutex);
    uint8_t val;
    if (s->poll[c])
        val = poll_read(s, c);
    else if (off)
        val = s->imr[c];
    else
        val = s->read_isr[c] ? s->isr[c] : s->irr[c];
    update(s);
    pthread_mutex_unlock(&s->mutex);
    return val;
}

static void chip_write(struct pic *s, unsigned c, uint64_t off, uint64_t val)
{
    pthread_mutex_lock(&s->mutex);
    if (off)
        write_port1(s, c, (uint8_t)val);
    else
        write_port0(s, c, (uint8_t)val);
    update(s);
    pthread_mutex_unlock(&s->mutex);
}

static uint64_t master_read(void *self, uint64_t off, unsigned bytes)
{
    (void)bytes;
    return chip_read(self, MASTER, off);
}

static void master_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    (void)bytes;
    chip_write(self, MASTER, off, val);
}

static uint64_t slave_read(void *self, uint64_t off, unsigned bytes)
{
    (void)bytes;
    return chip_read(self, SLAVE, off);
}

static void slave_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    (void)bytes;
    chip_write(self, SLAVE, off, val);
}

static uint64_t elcr_read(void *self, uint64_t off, unsigned bytes)
{
    struct pic *s = self;
    (void)bytes;
    pthread_mutex_lock(&s->mutex);
    uint8_t val = s->elcr[off & 1];
    pthread_mutex_unlock(&s->mutex);
    return val;
}

static void elcr_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct pic *s = self;
    (void)bytes;
    unsigned c = off & 1;
    pthread_mutex_lock(&s->mutex);
    uint8_t now_level = (uint8_t)val & elcr_mask[c] & (uint8_t)~s->elcr[c];
    s->elcr[c] = (uint8_t)val & elcr_mask[c];
    s->irr[c] = (s->irr[c] & (uint8_t)~now_level) | (s->lines[c] & s->elcr[c]);
    update(s);
    pthread_mutex_unlock(&s->mutex);
}

static const mobo_region_t regions[] = {
    { .size = sizeof(mobo_region_t), .name = "master", .length = 2, .max_access = 1,
      .read = master_read, .write = master_write },
    { .size = sizeof(mobo_region_t), .name = "slave", .length = 2, .max_access = 1,
      .read = slave_read, .write = slave_write },
    { .size = sizeof(mobo_region_t), .name = "elcr", .length = 2, .max_access = 1,
      .read = elcr_read, .write = elcr_write },
};
static const uint16_t ports[] = { 0x20, 0xa0, 0x4d0 };

/* The ISA bus links to the 8259, so the 8259 cannot sit on it: it takes its ports itself. */
static int pic_init(void *self)
{
    struct pic *s = self;
    mobo_fw_res_t res[3] = { 0 };
    if (pthread_mutex_init(&s->mutex, NULL))
        return mobo_fail_code(s->obj, MOBO_ENOMEM, "the host has no memory for a mutex");
    for (unsigned i = 0; i < 3; i++) {
        const mobo_place_t place = { .size = sizeof place, .space = MOBO_SPACE_IO,
                                     .base = ports[i], .region = &regions[i] };
        uint32_t handle;
        int rc = mobo_region_add(s->obj, &place, &handle);
        if (rc)
            return rc;
        res[i] = (mobo_fw_res_t){ .kind = MOBO_RES_IO, .base = ports[i], .len = 2 };
    }
    int rc = s->obj->host->irq->extint_attach(s->obj, pic_ack);
    if (rc)
        return rc;
    const mobo_fw_device_t fw = { .size = sizeof fw, .kind = MOBO_FW_PIC8259,
                                  .name = s->obj->name, .acpi_hid = "PNP0000", .res_count = 3,
                                  .res_stride = sizeof res[0], .res = res };
    return s->obj->host->fw->describe(s->obj, &fw);
}

/* Inputs keep their levels: they are driven from outside. All masked, as no vector is known yet. */
static void pic_reset(void *self)
{
    struct pic *s = self;
    pthread_mutex_lock(&s->mutex);
    for (unsigned c = 0; c < 2; c++) {
        s->elcr[c] = 0;
        write_icw1(s, c, ICW1_SELECT);
        s->want[c] = WANT_OCW1;
        s->imr[c] = 0xff;
        s->base[c] = s->icw3[c] = 0;
    }
    update(s);
    pthread_mutex_unlock(&s->mutex);
}

static int pic_loaded(void *self, uint32_t version)
{
    struct pic *s = self;
    (void)version;
    for (unsigned c = 0; c < 2; c++)
        if (s->want[c] > WANT_ICW4 || s->lowest[c] > 7 || s->elcr[c] & (uint8_t)~elcr_mask[c])
            return mobo_fail(s->obj, "the saved state is not one an 8259 can be in");
    pthread_mutex_lock(&s->mutex);
    s->obj->host->irq->extint(s->obj, s->intr != 0);
    update(s);
    pthread_mutex_unlock(&s->mutex);
    return 0;
}

static const mobo_field_t state[] = {
    MOBO_STATE_ARRAY(struct pic, irr), MOBO_STATE_ARRAY(struct pic, isr),
    MOBO_STATE_ARRAY(struct pic, imr), MOBO_STATE_ARRAY(struct pic, lines),
    MOBO_STATE_ARRAY(struct pic, elcr), MOBO_STATE_ARRAY(struct pic, base),
    MOBO_STATE_ARRAY(struct pic, icw3), MOBO_STATE_ARRAY(struct pic, icw4),
    MOBO_STATE_ARRAY(struct pic, want), MOBO_STATE_ARRAY(struct pic, want_icw4),
    MOBO_STATE_ARRAY(struct pic, single), MOBO_STATE_ARRAY(struct pic, lowest),
    MOBO_STATE_ARRAY(struct pic, rotate_aeoi), MOBO_STATE_ARRAY(struct pic, special_mask),
    MOBO_STATE_ARRAY(struct pic, read_isr), MOBO_STATE_ARRAY(struct pic, poll),
    MOBO_STATE(struct pic, intr), MOBO_END,
};

static const mobo_irqchip_ops_t chip_ops = {
    .size = sizeof chip_ops, .lines = pic_lines, .set = pic_set, .gsi = pic_gsi,
};
static const mobo_iface_t ifaces[] = { { MOBO_IRQCHIP, &chip_ops }, { 0 } };

const mobo_class_t pic_class = {
    MOBO_CLASS(struct pic, NULL, state), .flags = MOBO_PARALLEL, .name = "pic",
    .summary = "pair of 8259A interrupt controllers (ports 20h, a0h, 4d0h)", .provides = ifaces,
    .init = pic_init, .reset = pic_reset, .loaded = pic_loaded,
};
