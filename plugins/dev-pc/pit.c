/*
 * pit.c: the 8254 interval timer (Intel 231164) with port 61h: system timer, refresh, speaker.
 * Nothing ticks: a counter is its start, its count and the clock, so values are exact at any time
 * and nothing drifts. OUT of counter 0 is interrupt line 0. In modes 2 and 3 the line is pulsed at
 * each rising edge of OUT only: the low phase is seen by nobody. No sound is made.
 */
#include "dev-pc.h"

enum { HZ = 1193182, PORT_CONTROL = 3 };
enum { RW_LATCH = 0, RW_LSB = 1, RW_MSB = 2, RW_BOTH = 3 };
/* How far ticks may lie behind before the rest is given up. */
enum { MAX_BEHIND = 16 };
/* A guest can ask for an interrupt every 1.7 us, and then sleep: shorter periods become this. */
enum { MIN_PERIOD = 24 }; /* ticks: 20 us */
enum { PORT61_GATE = 0x01, PORT61_SPEAKER = 0x02, PORT61_KEPT = 0x0f, PORT61_REFRESH = 0x10,
       PORT61_OUT2 = 0x20 };

struct pit {
    mobo_obj_t *obj;
    mobo_isa_t bus;
    mobo_irq_t irq;
    mobo_timer_t *timer;
    uint64_t start[3];   /* tick at which `count` began to be counted */
    uint64_t frozen[3];  /* elapsed ticks while the gate holds the counter (modes 0, 4) */
    uint64_t next_at[3]; /* tick at which `next` takes over (modes 2, 3) */
    uint32_t count[3];   /* 1..65536 (10000 in BCD) */
    uint32_t next[3];    /* new count waiting for the end of the period; 0: none */
    uint8_t loaded[3];   /* a count was written since the control word */
    uint8_t running[3];  /* counting: loaded and, in modes 1 and 5, triggered */
    uint8_t mode[3], bcd[3], rw[3];
    uint8_t write_low[3], write_second[3], read_second[3];
    uint8_t latched[3];  /* bytes of `latch` still to be read, as an RW_ value; 0: none */
    uint16_t latch[3];
    uint8_t status_latched[3], status[3];
    uint8_t gate[3];
    uint8_t port61;
    uint64_t edge;       /* tick of the next rising edge of OUT 0; UINT64_MAX: none */
};

static uint64_t tick_now(struct pit *s)
{
    return mul_div(mobo_now(s->obj, MOBO_CLOCK_VM), HZ, NS_PER_S);
}

static int periodic(const struct pit *s, unsigned c)
{
    return s->mode[c] == 2 || s->mode[c] == 3;
}

/* A count written during a period begins at the period's end (231164, "Mode 2"). */
static void take_next(struct pit *s, unsigned c, uint64_t now)
{
    if (!s->next[c] || now < s->next_at[c])
        return;
    s->start[c] = s->next_at[c];
    s->count[c] = s->next[c];
    s->next[c] = 0;
}

static uint64_t elapsed(const struct pit *s, unsigned c, uint64_t now)
{
    if (!s->gate[c] && (s->mode[c] == 0 || s->mode[c] == 4))
        return s->frozen[c];
    return now > s->start[c] ? now - s->start[c] : 0;
}

static unsigned out(const struct pit *s, unsigned c, uint64_t now)
{
    uint64_t t = elapsed(s, c, now), n = s->count[c];
    switch (s->mode[c]) {
    case 0:
        return s->running[c] && t >= n;
    case 1:
        return !(s->running[c] && now >= s->start[c] && t < n);
    case 2:
        return !(s->running[c] && s->gate[c] && t % n == n - 1);
    case 3:
        return !(s->running[c] && s->gate[c] && t % n >= (n + 1) / 2);
    default: /* 4 and 5: low for one tick at the end of the count */
        return !(s->running[c] && t == n);
    }
}

static uint16_t to_bcd(uint32_t v)
{
    return (uint16_t)(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

/* What the counting element holds. */
static uint16_t counter_value(const struct pit *s, unsigned c, uint64_t now)
{
    uint32_t n = s->count[c], wrap = s->bcd[c] ? 10000 : 65536, v;
    uint64_t t = elapsed(s, c, now);
    if (!s->running[c])
        t = 0;
    if (s->mode[c] == 2) {
        v = n - (uint32_t)(t % n);
    } else if (s->mode[c] == 3) {
        /* Counts down by two, twice per period (231164, "Mode 3"). */
        uint32_t phase = (uint32_t)(t % n), half = (n + 1) / 2;
        v = (n & ~1u) - 2 * (phase < half ? phase : phase - half);
    } else {
        v = (uint32_t)((n % wrap + wrap - t % wrap) % wrap);
    }
    return s->bcd[c] ? to_bcd(v % 10000) : (uint16_t)v;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

/* First rising edge of OUT 0 behind tick NOW. */
static uint64_t next_edge(const struct pit *s, uint64_t now)
{
    uint64_t n = s->count[0], t = elapsed(s, 0, now);
    if (!s->running[0])
        return UINT64_MAX;
    if (periodic(s, 0)) {
        if (s->next[0] && s->start[0] + (t / n + 1) * n >= s->next_at[0])
            return s->next_at[0];
        return s->start[0] + (t / n + 1) * n;
    }
    /* Mode 0 rises at the end of the count, mode 4 a tick later; 1 and 5 need a gate. */
    uint64_t at = s->start[0] + n + (s->mode[0] == 4);
    return at > now ? at : UINT64_MAX;
}

static void arm(struct pit *s, uint64_t not_before)
{
    if (s->edge == UINT64_MAX) {
        mobo_timer_cancel(s->obj, s->timer);
        return;
    }
    uint64_t at = mul_div_up(s->edge, NS_PER_S, HZ);
    mobo_timer_set(s->obj, s->timer, at < not_before ? not_before : at);
}

/* Counter 0 was reprogrammed: line 0 follows OUT, and the next edge is found anew. */
static void restart_irq(struct pit *s, uint64_t now)
{
    take_next(s, 0, now);
    mobo_irq_set(s->irq, out(s, 0, now));
    s->edge = next_edge(s, now);
    arm(s, 0);
}

static void pit_tick(void *self)
{
    struct pit *s = self;
    uint64_t now = tick_now(s);
    if (s->edge > now) {
        arm(s, 0);
        return;
    }
    mobo_irq_set(s->irq, 0);
    mobo_irq_set(s->irq, 1);
    uint64_t at = s->edge;
    take_next(s, 0, at);
    /* Missed edges follow one by one, so that time in the guest catches up; not for ever. */
    if (periodic(s, 0) && now - at > (uint64_t)MAX_BEHIND * s->count[0])
        at = now;
    s->edge = next_edge(s, at);
    int flood = periodic(s, 0) && s->count[0] < MIN_PERIOD;
    arm(s, flood ? mul_div_up(now + MIN_PERIOD, NS_PER_S, HZ) : 0);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void load_count(struct pit *s, unsigned c, uint32_t raw)
{
    uint64_t now = tick_now(s);
    uint32_t n = raw;
    if (s->bcd[c])
        n = (raw >> 12 & 15) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15);
    if (!n)
        n = s->bcd[c] ? 10000 : 65536;
    if (n == 1 && periodic(s, c))
        n = 2; /* a count of 1 is illegal there (231164, "Mode 2") */
    take_next(s, c, now);
    if (periodic(s, c) && s->running[c] && s->gate[c]) {
        uint64_t t = elapsed(s, c, now);
        s->next[c] = n;
        s->next_at[c] = s->start[c] + (t / s->count[c] + 1) * s->count[c];
    } else {
        s->count[c] = n;
        s->loaded[c] = 1;
        if (s->mode[c] != 1 && s->mode[c] != 5) { /* those wait for a rising gate */
            s->running[c] = 1;
            s->start[c] = now + 1; /* loaded by the next clock pulse */
            s->frozen[c] = 0;
        }
    }
    if (c == 0)
        restart_irq(s, now);
}

static void write_counter(struct pit *s, unsigned c, uint8_t val)
{
    switch (s->rw[c]) {
    case RW_LSB:
        load_count(s, c, val);
        break;
    case RW_MSB:
        load_count(s, c, (uint32_t)val << 8);
        break;
    default:
        if (s->write_second[c]) {
            s->write_second[c] = 0;
            load_count(s, c, s->write_low[c] | (uint32_t)val << 8);
            break;
        }
        s->write_low[c] = val;
        s->write_second[c] = 1;
        if (s->mode[c] == 0) { /* the first byte stops the count and drops OUT ("Mode 0") */
            s->running[c] = 0;
            if (c == 0)
                restart_irq(s, tick_now(s));
        }
    }
}

static void latch_count(struct pit *s, unsigned c)
{
    if (s->latched[c])
        return; /* a second latch before the first is read is ignored */
    uint64_t now = tick_now(s);
    take_next(s, c, now);
    s->latch[c] = counter_value(s, c, now);
    s->latched[c] = s->rw[c];
}

static void latch_status(struct pit *s, unsigned c)
{
    if (s->status_latched[c])
        return;
    uint64_t now = tick_now(s);
    take_next(s, c, now);
    unsigned null_count = !s->loaded[c] || s->next[c] || (s->running[c] && now < s->start[c]);
    s->status[c] = (uint8_t)(out(s, c, now) << 7 | null_count << 6 | s->rw[c] << 4 |
                             s->mode[c] << 1 | s->bcd[c]);
    s->status_latched[c] = 1;
}

static void write_control(struct pit *s, uint8_t val)
{
    unsigned c = val >> 6, rw = val >> 4 & 3;
    if (c == 3) { /* read-back: bits 5 and 4 are active low */
        for (unsigned i = 0; i < 3; i++) {
            if (!(val & 2u << i))
                continue;
            if (!(val & 0x20))
                latch_count(s, i);
            if (!(val & 0x10))
                latch_status(s, i);
        }
        return;
    }
    if (rw == RW_LATCH) {
        latch_count(s, c);
        return;
    }
    unsigned mode = val >> 1 & 7;
    s->mode[c] = (uint8_t)(mode > 5 ? mode - 4 : mode);
    s->rw[c] = (uint8_t)rw;
    s->bcd[c] = val & 1;
    s->write_second[c] = s->read_second[c] = s->latched[c] = s->status_latched[c] = 0;
    s->loaded[c] = s->running[c] = 0;
    s->next[c] = 0;
    s->frozen[c] = 0;
    if (c == 0)
        restart_irq(s, tick_now(s));
}

static uint8_t read_counter(struct pit *s, unsigned c)
{
    if (s->status_latched[c]) {
        s->status_latched[c] = 0;
        return s->status[c];
    }
    if (s->latched[c]) {
        uint8_t part = s->latched[c];
        if (part == RW_BOTH) {
            s->latched[c] = RW_MSB;
            return (uint8_t)s->latch[c];
        }
        s->latched[c] = 0;
        return (uint8_t)(part == RW_MSB ? s->latch[c] >> 8 : s->latch[c]);
    }
    uint64_t now = tick_now(s);
    take_next(s, c, now);
    uint16_t v = counter_value(s, c, now);
    if (s->rw[c] == RW_BOTH)
        s->read_second[c] ^= 1;
    unsigned high = s->rw[c] == RW_MSB || (s->rw[c] == RW_BOTH && !s->read_second[c]);
    return (uint8_t)(high ? v >> 8 : v);
}

static uint64_t pit_read(void *self, uint64_t off, unsigned bytes)
{
    (void)bytes;
    return off == PORT_CONTROL ? 0xff : read_counter(self, (unsigned)off);
}

static void pit_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    (void)bytes;
    if (off == PORT_CONTROL)
        write_control(self, (uint8_t)val);
    else
        write_counter(self, (unsigned)off, (uint8_t)val);
}

/* ---- port 61h -------------------------------------------------------------------------------- */

static void set_gate2(struct pit *s, uint8_t gate)
{
    const unsigned c = 2;
    uint64_t now = tick_now(s);
    if (gate == s->gate[c])
        return;
    take_next(s, c, now);
    uint64_t t = elapsed(s, c, now);
    s->gate[c] = gate;
    switch (s->mode[c]) {
    case 0:
    case 4:
        if (!gate)
            s->frozen[c] = t;
        else if (s->start[c] <= now) /* otherwise the count is not even loaded yet */
            s->start[c] = now - s->frozen[c];
        break;
    default: /* a rising gate starts modes 1 and 5, and starts modes 2 and 3 over */
        if (!gate || !s->loaded[c])
            break;
        if (s->next[c])
            s->count[c] = s->next[c];
        s->next[c] = 0;
        s->start[c] = now + 1;
        s->running[c] = 1;
    }
}

static uint64_t port61_read(void *self, uint64_t off, unsigned bytes)
{
    struct pit *s = self;
    (void)off;
    (void)bytes;
    uint64_t now = tick_now(s);
    take_next(s, 2, now);
    /* The refresh bit changes with each refresh request, every 18 ticks (15 us). */
    return (s->port61 & PORT61_KEPT) | (now / 18 & 1 ? PORT61_REFRESH : 0) |
           (out(s, 2, now) ? PORT61_OUT2 : 0);
}

static void port61_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct pit *s = self;
    (void)off;
    (void)bytes;
    s->port61 = val & PORT61_KEPT;
    set_gate2(s, val & PORT61_GATE);
}

static const mobo_region_t counters = {
    .size = sizeof counters, .name = "8254", .length = 4, .max_access = 1, .read = pit_read,
    .write = pit_write,
};
static const mobo_region_t port61 = {
    .size = sizeof port61, .name = "port61", .length = 1, .max_access = 1, .read = port61_read,
    .write = port61_write,
};

static int pit_init(void *self)
{
    struct pit *s = self;
    const mobo_isa_io_t io[] = { { .base = 0x40, .region = &counters },
                                 { .base = 0x61, .region = &port61 } };
    const uint32_t line = 0;
    int rc = mobo_timer_new(s->obj, pit_tick, &s->timer);
    if (rc)
        return rc;
    return mobo_isa_attach(s->bus, s->obj, .io = io, .io_count = 2, .irq = &s->irq, .irq_count = 1,
                           .irq_line = &line, .acpi_hid = "PNP0100", .fw_kind = MOBO_FW_PIT8254);
}

/* The 8254 has no reset pin; here it stands still until it is programmed. */
static void pit_reset(void *self)
{
    struct pit *s = self;
    for (unsigned c = 0; c < 3; c++) {
        s->count[c] = 65536;
        s->start[c] = s->frozen[c] = s->next_at[c] = 0;
        s->next[c] = 0;
        s->loaded[c] = s->running[c] = s->mode[c] = s->bcd[c] = 0;
        s->rw[c] = RW_BOTH;
        s->write_low[c] = s->write_second[c] = s->read_second[c] = 0;
        s->latched[c] = s->status_latched[c] = s->status[c] = 0;
        s->latch[c] = 0;
        s->gate[c] = c != 2;
    }
    s->port61 = 0;
    restart_irq(s, tick_now(s));
}

static int pit_loaded(void *self, uint32_t version)
{
    struct pit *s = self;
    (void)version;
    for (unsigned c = 0; c < 3; c++)
        if (s->count[c] < 1 || s->count[c] > 65536 || s->next[c] > 65536 || s->mode[c] > 5 ||
            s->rw[c] > RW_BOTH || s->rw[c] == RW_LATCH || s->latched[c] > RW_BOTH)
            return mobo_fail(s->obj, "the saved state is not one an 8254 can be in");
    arm(s, 0);
    return 0;
}

static const mobo_prop_t props[] = {
    MOBO_BUS(struct pit, bus, MOBO_ISA_BUS, "bus the ports are on"),
    MOBO_IRQ(struct pit, irq, "line of counter 0; unset: ISA line 0"),
    MOBO_END,
};
static const mobo_field_t state[] = {
    MOBO_STATE_ARRAY(struct pit, start), MOBO_STATE_ARRAY(struct pit, frozen),
    MOBO_STATE_ARRAY(struct pit, next_at), MOBO_STATE_ARRAY(struct pit, count),
    MOBO_STATE_ARRAY(struct pit, next), MOBO_STATE_ARRAY(struct pit, loaded),
    MOBO_STATE_ARRAY(struct pit, running), MOBO_STATE_ARRAY(struct pit, mode),
    MOBO_STATE_ARRAY(struct pit, bcd), MOBO_STATE_ARRAY(struct pit, rw),
    MOBO_STATE_ARRAY(struct pit, write_low), MOBO_STATE_ARRAY(struct pit, write_second),
    MOBO_STATE_ARRAY(struct pit, read_second), MOBO_STATE_ARRAY(struct pit, latched),
    MOBO_STATE_ARRAY(struct pit, latch), MOBO_STATE_ARRAY(struct pit, status_latched),
    MOBO_STATE_ARRAY(struct pit, status), MOBO_STATE_ARRAY(struct pit, gate),
    MOBO_STATE(struct pit, port61), MOBO_STATE(struct pit, edge), MOBO_END,
};

const mobo_class_t pit_class = {
    MOBO_CLASS(struct pit, props, state), .name = "pit",
    .summary = "8254 interval timer with port 61h", .init = pit_init, .reset = pit_reset,
    .loaded = pit_loaded,
};
