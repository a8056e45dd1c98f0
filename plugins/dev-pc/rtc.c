/*
 * rtc.c: the MC146818 real-time clock with 128 bytes of CMOS RAM. The time is the host's plus an
 * offset, which changes when the guest sets the clock; registers are made when they are read. The
 * flags of register C are brought up to date when somebody looks, so the chip needs a timer only
 * while one of its interrupts is enabled. Daylight saving and the square wave are not here.
 */
#include "dev-pc.h"
#include "rtc-time.h"

enum { SECONDS = 0, SECONDS_ALARM = 1, MINUTES = 2, MINUTES_ALARM = 3, HOURS = 4, HOURS_ALARM = 5,
       WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9, REG_A = 10, REG_B = 11, REG_C = 12, REG_D = 13,
       CENTURY = 0x32 };
enum { A_UIP = 0x80, A_DIVIDER = 0x70, A_DIVIDER_RUN = 0x20, A_RATE = 0x0f };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_SQWE = 0x08, B_BINARY = 0x04,
       B_24H = 0x02 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };
enum { D_VRT = 0x80 };
enum { UIP_NS = 244000 }; /* UIP is set 244 us before an update (MC146818A, "Register A") */
enum { CRYSTAL = 32768, DAY_SECONDS = 86400, KIB = 1024 };
enum { ALARM_STEPS = 512 }; /* 3 times 60, 60 and 24 are fewer */

struct rtc {
    mobo_obj_t *obj;
    mobo_isa_t bus;
    mobo_irq_t irq;
    mobo_timer_t *timer;
    const char *base;
    uint64_t offset;      /* guest time minus MOBO_CLOCK_REAL, ns, modulo 2^64 */
    uint64_t last_second; /* flags are up to date to this second, */
    uint64_t last_period; /* and to this period of the periodic interrupt */
    uint8_t index;        /* port 70h: bit 7 masks the NMI */
    uint8_t cmos[128];    /* time registers count only while the clock is stopped */
};

static uint64_t guest_ns(struct rtc *s)
{
    return mobo_now(s->obj, MOBO_CLOCK_REAL) + s->offset;
}

static int running(const struct rtc *s)
{
    return !(s->cmos[REG_B] & B_SET) && (s->cmos[REG_A] & A_DIVIDER) == A_DIVIDER_RUN;
}

/* ---- number formats -------------------------------------------------------------------------- */

static uint8_t encode(const struct rtc *s, uint32_t v)
{
    return (uint8_t)(s->cmos[REG_B] & B_BINARY ? v : (v / 10 % 10) << 4 | v % 10);
}

static uint32_t decode(const struct rtc *s, uint8_t v)
{
    return s->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15u);
}

static uint8_t encode_hour(const struct rtc *s, uint32_t hour)
{
    if (s->cmos[REG_B] & B_24H)
        return encode(s, hour);
    uint32_t h = hour % 12 ? hour % 12 : 12;
    return (uint8_t)(encode(s, h) | (hour >= 12 ? 0x80 : 0));
}

static uint32_t decode_hour(const struct rtc *s, uint8_t v)
{
    if (s->cmos[REG_B] & B_24H)
        return decode(s, v);
    return decode(s, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void store_time(struct rtc *s)
{
    struct rtc_time t;
    rtc_split((int64_t)(guest_ns(s) / NS_PER_S), &t);
    s->cmos[SECONDS] = encode(s, t.second);
    s->cmos[MINUTES] = encode(s, t.minute);
    s->cmos[HOURS] = encode_hour(s, t.hour);
    s->cmos[WEEKDAY] = encode(s, t.weekday);
    s->cmos[DAY] = encode(s, t.day);
    s->cmos[MONTH] = encode(s, t.month);
    s->cmos[YEAR] = encode(s, (uint32_t)(t.year % 100));
    s->cmos[CENTURY] = encode(s, (uint32_t)(t.year / 100 % 100));
}

static uint64_t period_now(struct rtc *s, uint64_t *length)
{
    unsigned rate = s->cmos[REG_A] & A_RATE;
    if (!rate)
        return 0;
    if (rate <= 2)
        rate += 7; /* rates 1 and 2 are those of 8 and 9 with a 32 kHz crystal */
    *length = UINT64_C(1) << (rate - 1);
    return mul_div(mobo_now(s->obj, MOBO_CLOCK_VM), CRYSTAL, NS_PER_S) / *length;
}

/* Make the registers the time, at the fraction PHASE of a second. */
static void take_time(struct rtc *s, uint64_t phase)
{
    struct rtc_time t = {
        .year = (int64_t)decode(s, s->cmos[CENTURY]) * 100 + decode(s, s->cmos[YEAR]),
        .month = decode(s, s->cmos[MONTH]), .day = decode(s, s->cmos[DAY]),
        .hour = decode_hour(s, s->cmos[HOURS]), .minute = decode(s, s->cmos[MINUTES]),
        .second = decode(s, s->cmos[SECONDS]),
    };
    if (t.year < 1970)
        t.year = 1970; /* before it nothing that runs on a PC has a clock */
    if (t.month < 1 || t.month > 12)
        t.month = 1;
    int64_t seconds = rtc_seconds(&t);
    if (seconds < 0)
        seconds = 0;
    s->offset = (uint64_t)seconds * NS_PER_S + phase - mobo_now(s->obj, MOBO_CLOCK_REAL);
    s->last_second = (uint64_t)seconds;
}

static int field_matches(uint8_t alarm, uint8_t now)
{
    return (alarm & 0xc0) == 0xc0 || alarm == now; /* two high ones: any */
}

/*
 * The first second from T on at which the alarm goes off; UINT64_MAX: never. Where it does, hours,
 * minutes and seconds are found in fewer steps than ALARM_STEPS, even from behind the last match.
 */
static uint64_t next_alarm(const struct rtc *s, uint64_t t)
{
    for (unsigned i = 0; i < ALARM_STEPS; i++) {
        uint32_t d = (uint32_t)(t % DAY_SECONDS);
        if (!field_matches(s->cmos[HOURS_ALARM], encode_hour(s, d / 3600)))
            t += 3600 - d % 3600;
        else if (!field_matches(s->cmos[MINUTES_ALARM], encode(s, d / 60 % 60)))
            t += 60 - d % 60;
        else if (!field_matches(s->cmos[SECONDS_ALARM], encode(s, d % 60)))
            t++;
        else
            return t;
    }
    return UINT64_MAX;
}

/* Set the flags of all that happened since the last look. */
static void sync_flags(struct rtc *s)
{
    uint64_t length = 0, period = period_now(s, &length);
    if (length && period != s->last_period && (s->cmos[REG_A] & A_DIVIDER) == A_DIVIDER_RUN)
        s->cmos[REG_C] |= C_PF;
    s->last_period = period;
    if (!running(s))
        return;
    uint64_t now = guest_ns(s) / NS_PER_S;
    if (now > s->last_second) {
        s->cmos[REG_C] |= C_UF;
        if (next_alarm(s, s->last_second + 1) <= now)
            s->cmos[REG_C] |= C_AF;
    }
    s->last_second = now; /* the host's clock may have been set back */
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static void earlier(uint64_t *deadline, uint64_t at)
{
    if (at < *deadline)
        *deadline = at;
}

/* When the next enabled flag will be set that is not set yet, on MOBO_CLOCK_VM. */
static uint64_t next_event(struct rtc *s)
{
    uint64_t vm = mobo_now(s->obj, MOBO_CLOCK_VM), at = UINT64_MAX, length = 0;
    unsigned waiting = s->cmos[REG_B] & (unsigned)~s->cmos[REG_C];
    uint64_t period = period_now(s, &length);
    if (waiting & B_PIE && length)
        earlier(&at, mul_div_up((period + 1) * length, NS_PER_S, CRYSTAL));
    if (!running(s))
        return at;
    uint64_t now = guest_ns(s), second = now / NS_PER_S + 1;
    if (waiting & B_UIE)
        earlier(&at, vm + (second * NS_PER_S - now));
    uint64_t alarm = waiting & B_AIE ? next_alarm(s, second) : UINT64_MAX;
    if (alarm != UINT64_MAX)
        earlier(&at, vm + (alarm * NS_PER_S - now));
    return at;
}

static void update(struct rtc *s)
{
    sync_flags(s);
    uint8_t c = s->cmos[REG_C] & (C_PF | C_AF | C_UF);
    uint32_t irq = (c & s->cmos[REG_B]) != 0; /* enables and flags share their bit positions */
    s->cmos[REG_C] = c | (irq ? C_IRQF : 0);
    mobo_irq_set(s->irq, irq);
    uint64_t at = next_event(s);
    if (at == UINT64_MAX)
        mobo_timer_cancel(s->obj, s->timer);
    else
        mobo_timer_set(s->obj, s->timer, at);
}

static void rtc_tick(void *self)
{
    update(self);
}

/* ---- registers ------------------------------------------------------------------------------- */

static int is_time(unsigned reg)
{
    return reg == SECONDS || reg == MINUTES || reg == HOURS || (reg >= WEEKDAY && reg <= YEAR) ||
           reg == CENTURY;
}

static uint8_t read_reg(struct rtc *s, unsigned reg)
{
    uint8_t val;
    switch (reg) {
    case REG_A:
        val = s->cmos[REG_A] & (uint8_t)~A_UIP;
        if (running(s) && guest_ns(s) % NS_PER_S >= NS_PER_S - UIP_NS)
            val |= A_UIP;
        return val;
    case REG_C:
        update(s);
        val = s->cmos[REG_C];
        s->cmos[REG_C] = 0;
        update(s);
        return val;
    default:
        if (is_time(reg) && running(s))
            store_time(s);
        return s->cmos[reg];
    }
}

/* Stopping keeps the time in the registers; starting takes it from there. */
static void write_control(struct rtc *s, unsigned reg, uint8_t val)
{
    int was_running = running(s);
    int was_reset = (s->cmos[REG_A] & A_DIVIDER) != A_DIVIDER_RUN;
    uint64_t phase = guest_ns(s) % NS_PER_S;
    sync_flags(s);
    if (was_running)
        store_time(s);
    uint8_t old_b = s->cmos[REG_B];
    s->cmos[reg] = val;
    if (s->cmos[REG_B] & B_SET)
        s->cmos[REG_B] &= (uint8_t)~B_UIE; /* MC146818A, "SET" */
    if (was_running && running(s) && (old_b ^ val) & (B_BINARY | B_24H) && reg == REG_B)
        store_time(s); /* the time goes on in the new format */
    else if (!was_running && running(s))
        take_time(s, was_reset ? NS_PER_S / 2 : phase); /* the first update is half a second off */
    uint64_t length;
    s->last_period = period_now(s, &length);
}

static void write_reg(struct rtc *s, unsigned reg, uint8_t val)
{
    switch (reg) {
    case REG_A:
        write_control(s, reg, val & (uint8_t)~A_UIP);
        break;
    case REG_B:
        write_control(s, reg, val);
        break;
    case REG_C:
    case REG_D:
        return;
    default:
        sync_flags(s); /* alarms of the past are judged by the old registers */
        if (is_time(reg) && running(s)) {
            store_time(s);
            s->cmos[reg] = val;
            if (reg != WEEKDAY)
                take_time(s, guest_ns(s) % NS_PER_S);
        } else {
            s->cmos[reg] = val;
        }
    }
    update(s);
}

static uint64_t rtc_read(void *self, uint64_t off, unsigned bytes)
{
    struct rtc *s = self;
    (void)bytes;
    return off == 0 ? 0xff : read_reg(s, s->index & 0x7f); /* port 70h is write-only */
}

static void rtc_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct rtc *s = self;
    (void)bytes;
    if (off == 0)
        s->index = (uint8_t)val;
    else
        write_reg(s, s->index & 0x7f, (uint8_t)val);
}

static const mobo_region_t ports = {
    .size = sizeof ports, .name = "rtc", .length = 2, .max_access = 1, .read = rtc_read,
    .write = rtc_write,
};

/* ---- start ----------------------------------------------------------------------------------- */

static void put16(struct rtc *s, unsigned reg, uint64_t v)
{
    v = v > 0xffff ? 0xffff : v;
    s->cmos[reg] = (uint8_t)v;
    s->cmos[reg + 1] = (uint8_t)(v >> 8);
}

/* What a BIOS leaves about the memory: in KiB, in 64 KiB steps, and above 4 GiB. */
static void store_memory(struct rtc *s)
{
    uint64_t low = 0, high = 0;
    mobo_mem_range_t r;
    for (uint32_t i = 0; s->obj->host->fw->memory(s->obj, i, &r) > 0; i++) {
        if (r.kind != MOBO_MEM_RAM)
            continue;
        if (r.base >= UINT64_C(1) << 32)
            high += r.len;
        else if (r.base + r.len > low)
            low = r.base + r.len;
    }
    uint64_t above_1m = low > 1024 * KIB ? low / KIB - 1024 : 0;
    put16(s, 0x15, 640);
    put16(s, 0x17, above_1m);
    put16(s, 0x30, above_1m);
    put16(s, 0x34, low > 16384 * KIB ? (low / KIB - 16384) / 64 : 0);
    uint64_t steps = high / (64 * KIB);
    for (unsigned i = 0; i < 3; i++)
        s->cmos[0x5b + i] = (uint8_t)(steps >> 8 * i);
    uint32_t sum = 0;
    for (unsigned i = 0x10; i <= 0x2d; i++)
        sum += s->cmos[i];
    s->cmos[0x2e] = (uint8_t)(sum >> 8);
    s->cmos[0x2f] = (uint8_t)sum;
}

static int set_base(struct rtc *s)
{
    uint64_t real = mobo_now(s->obj, MOBO_CLOCK_REAL);
    int64_t seconds;
    if (strcmp(s->base, "utc") == 0)
        return 0;
    if (strcmp(s->base, "localtime") == 0) {
        s->offset = (uint64_t)(rtc_local_offset((int64_t)(real / NS_PER_S)) * NS_PER_S);
        return 0;
    }
    if (rtc_parse(s->base, &seconds))
        return mobo_fail(s->obj, "base is '%s'; write utc, localtime, or a date such as "
                         "2026-01-31T12:00:00", s->base);
    s->offset = (uint64_t)seconds * NS_PER_S - real;
    return 0;
}

static int rtc_init(void *self)
{
    struct rtc *s = self;
    const mobo_isa_io_t io = { .base = 0x70, .region = &ports };
    const uint32_t line = 8;
    s->cmos[REG_A] = A_DIVIDER_RUN | 6; /* 32 kHz crystal, 1024 Hz: as every BIOS sets it */
    s->cmos[REG_B] = B_24H;
    s->cmos[REG_D] = D_VRT;
    int rc = set_base(s);
    if (!rc)
        rc = mobo_timer_new(s->obj, rtc_tick, &s->timer);
    if (rc)
        return rc;
    s->last_second = guest_ns(s) / NS_PER_S;
    return mobo_isa_attach(s->bus, s->obj, .io = &io, .io_count = 1, .irq = &s->irq,
                           .irq_count = 1, .irq_line = &line, .acpi_hid = "PNP0B00",
                           .fw_kind = MOBO_FW_RTC, .arg = { CENTURY, 0, 0, 0 });
}

/* The chip runs on its battery: a reset clears enables and flags only (MC146818A, "RESET"). */
static void rtc_reset(void *self)
{
    struct rtc *s = self;
    s->cmos[REG_B] &= (uint8_t)~(B_PIE | B_AIE | B_UIE | B_SQWE);
    s->cmos[REG_C] = 0;
    s->index = 0;
    store_memory(s);
    update(s);
}

static int rtc_loaded(void *self, uint32_t version)
{
    (void)version;
    update(self);
    return 0;
}

static const mobo_prop_t props[] = {
    MOBO_BUS(struct rtc, bus, MOBO_ISA_BUS, "bus the ports are on"),
    MOBO_IRQ(struct rtc, irq, "interrupt line; unset: ISA line 8"),
    MOBO_STR(struct rtc, base, "utc", "time at the start: utc, localtime or 2026-01-31T12:00:00"),
    MOBO_END,
};
static const mobo_field_t state[] = {
    MOBO_STATE(struct rtc, offset), MOBO_STATE(struct rtc, last_second),
    MOBO_STATE(struct rtc, last_period), MOBO_STATE(struct rtc, index),
    MOBO_STATE_ARRAY(struct rtc, cmos), MOBO_END,
};

const mobo_class_t rtc_class = {
    MOBO_CLASS(struct rtc, props, state), .name = "rtc",
    .summary = "MC146818 real-time clock and CMOS RAM", .init = rtc_init, .reset = rtc_reset,
    .loaded = rtc_loaded,
};
