/*
 * uart.c: the 16550A serial port (National Semiconductor PC16550D). Characters travel at once,
 * whatever the divisor says; only the receive time-out uses it. Output that the backend does not
 * take waits in the transmit FIFO, and THRE stays clear until the backend has room again. Parity,
 * framing and break are not generated.
 */
#include "dev-pc.h"

#include <mobo/char.h>

enum { FIFO = 16 };
enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RDA = 0x01, IER_THRE = 0x02, IER_LSR = 0x04, IER_MSR = 0x08 };
enum { IIR_NONE = 0x01, IIR_MSR = 0x00, IIR_THRE = 0x02, IIR_RDA = 0x04, IIR_LSR = 0x06,
       IIR_TIMEOUT = 0x0c, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FCR_CLEAR_TX = 0x04 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 0x01, MCR_RTS = 0x02, MCR_OUT1 = 0x04, MCR_OUT2 = 0x08, MCR_LOOP = 0x10,
       MCR_BITS = 0x1f };
enum { LSR_DR = 0x01, LSR_OE = 0x02, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_TERI = 0x04 };
enum { BAUD_BASE = 115200, BITS_PER_CHAR = 10, TIMEOUT_CHARS = 4, MAX_TIMEOUT_NS = 2000000 };

struct uart {
    mobo_obj_t *obj;
    mobo_isa_t bus;
    mobo_irq_t irq;
    mobo_char_t chr;
    mobo_timer_t *timer;
    uint8_t rx[FIFO], tx[FIFO];
    uint32_t rx_pos, rx_count, tx_count;
    uint32_t divisor;
    uint8_t ier, fcr, lcr, mcr, msr, scr;
    uint8_t overrun;
    uint8_t thre_pending;    /* THRE interrupt not yet seen in IIR */
    uint8_t timeout_pending; /* received characters lie there for four character times */
    uint8_t connected;       /* the other end is there (DCD) */
    uint64_t timeout_at;     /* MOBO_CLOCK_VM; 0: not armed */
};

/* ---- interrupts ------------------------------------------------------------------------------ */

static uint32_t rx_size(const struct uart *s)
{
    return s->fcr & FCR_ENABLE ? FIFO : 1;
}

static uint32_t rx_trigger(const struct uart *s)
{
    static const uint8_t levels[] = { 1, 4, 8, 14 };
    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* Table 4 of the data sheet, highest priority first. */
static uint8_t cause(const struct uart *s)
{
    if (s->ier & IER_LSR && s->overrun)
        return IIR_LSR;
    if (s->ier & IER_RDA && s->rx_count >= rx_trigger(s))
        return IIR_RDA;
    if (s->ier & IER_RDA && s->timeout_pending)
        return IIR_TIMEOUT;
    if (s->ier & IER_THRE && s->thre_pending)
        return IIR_THRE;
    if (s->ier & IER_MSR && s->msr & 0x0f)
        return IIR_MSR;
    return IIR_NONE;
}

/* On a PC the OUT2 pin connects the interrupt to the bus. */
static void update(struct uart *s)
{
    mobo_irq_set(s->irq, s->mcr & MCR_OUT2 && cause(s) != IIR_NONE);
}

static void arm_timeout(struct uart *s)
{
    s->timeout_pending = 0;
    s->timeout_at = 0;
    if (!(s->fcr & FCR_ENABLE) || s->rx_count == 0 || s->rx_count >= rx_trigger(s)) {
        mobo_timer_cancel(s->obj, s->timer);
        return;
    }
    uint64_t div = s->divisor ? s->divisor : 1;
    uint64_t ns = mul_div(div * TIMEOUT_CHARS * BITS_PER_CHAR, NS_PER_S, BAUD_BASE);
    if (ns > MAX_TIMEOUT_NS)
        ns = MAX_TIMEOUT_NS; /* nobody gains by waiting for a slow line that is not there */
    s->timeout_at = mobo_now(s->obj, MOBO_CLOCK_VM) + ns;
    mobo_timer_set(s->obj, s->timer, s->timeout_at);
}

static void uart_timeout(void *self)
{
    struct uart *s = self;
    s->timeout_at = 0;
    s->timeout_pending = s->rx_count > 0;
    update(s);
}

/* ---- receive --------------------------------------------------------------------------------- */

static void receive(struct uart *s, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (s->rx_count == rx_size(s)) {
            s->overrun = 1; /* only looped-back output comes faster than it is read */
            continue;
        }
        s->rx[(s->rx_pos + s->rx_count++) % FIFO] = bytes[i];
    }
    arm_timeout(s);
}

/* Take what fits; the backend keeps the rest until there is room. */
static void pull(struct uart *s)
{
    uint8_t buf[FIFO];
    if (!s->chr.ops || s->mcr & MCR_LOOP)
        return;
    while (s->rx_count < rx_size(s)) {
        uint32_t n = mobo_char_read(s->chr, buf, rx_size(s) - s->rx_count);
        if (n == 0 || n > sizeof buf)
            return;
        receive(s, buf, n);
    }
}

static uint8_t read_rbr(struct uart *s)
{
    if (s->rx_count == 0)
        return 0;
    uint8_t c = s->rx[s->rx_pos];
    s->rx_pos = (s->rx_pos + 1) % FIFO;
    s->rx_count--;
    arm_timeout(s);
    pull(s);
    return c;
}

/* ---- transmit -------------------------------------------------------------------------------- */

static void flush(struct uart *s)
{
    if (s->tx_count == 0)
        return;
    uint32_t n = s->chr.ops ? mobo_char_write(s->chr, s->tx, s->tx_count) : s->tx_count;
    n = n < s->tx_count ? n : s->tx_count;
    memmove(s->tx, s->tx + n, s->tx_count - n);
    s->tx_count -= n;
    if (s->tx_count == 0)
        s->thre_pending = 1;
}

static void write_thr(struct uart *s, uint8_t c)
{
    s->thre_pending = 0;
    if (s->mcr & MCR_LOOP) {
        receive(s, &c, 1);
        s->thre_pending = 1;
        return;
    }
    uint32_t size = s->fcr & FCR_ENABLE ? FIFO : 1;
    if (s->tx_count >= size)
        return; /* written although THRE was clear: lost, as on the chip */
    s->tx[s->tx_count++] = c;
    /* Anything older still waiting means the backend is full and will say when it is not. */
    if (s->tx_count == 1)
        flush(s);
}

/* ---- modem lines ----------------------------------------------------------------------------- */

static void update_msr(struct uart *s)
{
    uint8_t now;
    if (s->mcr & MCR_LOOP)
        now = (uint8_t)((s->mcr & MCR_DTR ? MSR_DSR : 0) | (s->mcr & MCR_RTS ? MSR_CTS : 0) |
                        (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
    else
        now = (uint8_t)(MSR_CTS | MSR_DSR | (s->connected ? MSR_DCD : 0));
    uint8_t changed = (now ^ s->msr) & 0xf0;
    uint8_t delta = (changed >> 4) & (uint8_t)~MSR_TERI;
    if (changed & MSR_RI && !(now & MSR_RI))
        delta |= MSR_TERI; /* RI counts when it ends */
    s->msr = now | (s->msr & 0x0f) | delta;
}

static void uart_event(void *self, uint32_t events)
{
    struct uart *s = self;
    if (events & MOBO_CHAR_OPENED)
        s->connected = 1;
    if (events & MOBO_CHAR_CLOSED)
        s->connected = 0;
    if (events & (MOBO_CHAR_OPENED | MOBO_CHAR_CLOSED))
        update_msr(s);
    if (events & (MOBO_CHAR_WRITABLE | MOBO_CHAR_CLOSED))
        flush(s);
    if (events & MOBO_CHAR_READABLE)
        pull(s);
    update(s);
}

/* ---- registers ------------------------------------------------------------------------------- */

static void write_fcr(struct uart *s, uint8_t val)
{
    if ((val ^ s->fcr) & FCR_ENABLE)
        val |= FCR_CLEAR_RX | FCR_CLEAR_TX; /* switching the FIFOs on or off empties them */
    if (!(val & FCR_ENABLE) && !(s->fcr & FCR_ENABLE))
        return; /* the other bits count only together with the enable bit */
    if (val & FCR_CLEAR_RX)
        s->rx_pos = s->rx_count = 0;
    if (val & FCR_CLEAR_TX && s->tx_count) {
        s->tx_count = 0;
        s->thre_pending = 1;
    }
    s->fcr = val & (FCR_ENABLE | 0xc0);
    arm_timeout(s);
    pull(s);
}

static void write_ier(struct uart *s, uint8_t val)
{
    uint8_t risen = val & (uint8_t)~s->ier;
    s->ier = val & 0x0f;
    if (risen & IER_THRE && s->tx_count == 0)
        s->thre_pending = 1; /* enabling it with an empty register interrupts at once */
}

static void write_mcr(struct uart *s, uint8_t val)
{
    uint8_t left_loop = s->mcr & MCR_LOOP && !(val & MCR_LOOP);
    s->mcr = val & MCR_BITS;
    update_msr(s);
    if (left_loop)
        pull(s);
}

static uint64_t uart_read(void *self, uint64_t off, unsigned bytes)
{
    struct uart *s = self;
    uint8_t val = 0;
    (void)bytes;
    switch (off) {
    case RBR:
        val = s->lcr & LCR_DLAB ? (uint8_t)s->divisor : read_rbr(s);
        break;
    case IER:
        val = s->lcr & LCR_DLAB ? (uint8_t)(s->divisor >> 8) : s->ier;
        break;
    case IIR:
        val = cause(s);
        if (val == IIR_THRE)
            s->thre_pending = 0;
        val |= s->fcr & FCR_ENABLE ? IIR_FIFO : 0;
        break;
    case LCR:
        val = s->lcr;
        break;
    case MCR:
        val = s->mcr;
        break;
    case LSR:
        val = (uint8_t)((s->rx_count ? LSR_DR : 0) | (s->overrun ? LSR_OE : 0) |
                        (s->tx_count ? 0 : LSR_THRE | LSR_TEMT));
        s->overrun = 0;
        break;
    case MSR:
        val = s->msr;
        s->msr &= 0xf0;
        break;
    case SCR:
        val = s->scr;
        break;
    }
    update(s);
    return val;
}

static void uart_write(void *self, uint64_t off, uint64_t v, unsigned bytes)
{
    struct uart *s = self;
    uint8_t val = (uint8_t)v;
    (void)bytes;
    switch (off) {
    case RBR:
        if (s->lcr & LCR_DLAB)
            s->divisor = (s->divisor & 0xff00) | val;
        else
            write_thr(s, val);
        break;
    case IER:
        if (s->lcr & LCR_DLAB)
            s->divisor = (s->divisor & 0x00ff) | (uint32_t)val << 8;
        else
            write_ier(s, val);
        break;
    case IIR: /* write: FCR */
        write_fcr(s, val);
        break;
    case LCR:
        s->lcr = val;
        break;
    case MCR:
        write_mcr(s, val);
        break;
    case SCR:
        s->scr = val;
        break;
    default: /* LSR and MSR are for the factory only */
        break;
    }
    update(s);
}

static const mobo_region_t ports = {
    .size = sizeof ports, .name = "16550", .length = 8, .max_access = 1, .read = uart_read,
    .write = uart_write,
};

static int uart_init(void *self)
{
    struct uart *s = self;
    const mobo_isa_io_t io = { .base = 0x3f8, .region = &ports };
    const uint32_t line = 4;
    int rc = mobo_timer_new(s->obj, uart_timeout, &s->timer);
    if (!rc && s->chr.ops)
        rc = mobo_char_open(s->chr, s->obj, uart_event);
    if (rc)
        return rc;
    return mobo_isa_attach(s->bus, s->obj, .io = &io, .io_count = 1, .irq = &s->irq,
                           .irq_count = 1, .irq_line = &line, .acpi_hid = "PNP0501",
                           .fw_kind = MOBO_FW_UART);
}

/* Table 2 of the data sheet. */
static void uart_reset(void *self)
{
    struct uart *s = self;
    s->rx_pos = s->rx_count = s->tx_count = 0;
    s->divisor = 12; /* 9600 baud; undefined on the chip */
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
    s->overrun = s->thre_pending = 0;
    if (!s->chr.ops)
        s->connected = 1; /* an open end must not make a guest wait for a carrier */
    s->msr = 0;
    update_msr(s);
    s->msr &= 0xf0;
    arm_timeout(s);
    pull(s);
    update(s);
}

static int uart_loaded(void *self, uint32_t version)
{
    struct uart *s = self;
    (void)version;
    if (s->rx_pos >= FIFO || s->rx_count > FIFO || s->tx_count > FIFO || s->divisor > 0xffff)
        return mobo_fail(s->obj, "the saved state is not one a 16550 can be in");
    if (s->timeout_at)
        mobo_timer_set(s->obj, s->timer, s->timeout_at);
    flush(s);
    pull(s);
    update(s);
    return 0;
}

static const mobo_prop_t props[] = {
    MOBO_BUS(struct uart, bus, MOBO_ISA_BUS, "bus the ports are on"),
    MOBO_IRQ(struct uart, irq, "interrupt line; unset: the bus's key `line`, or ISA line 4"),
    { .name = "char", .type = MOBO_T_LINK, .flags = MOBO_P_OPTIONAL, .arg = MOBO_CHAR,
      .offset = (uint32_t)offsetof(struct uart, chr), .def = "", /* never taken by itself */
      .doc = "where the characters go; without one they are swallowed" },
    MOBO_END,
};
static const mobo_field_t state[] = {
    MOBO_STATE_ARRAY(struct uart, rx), MOBO_STATE_ARRAY(struct uart, tx),
    MOBO_STATE(struct uart, rx_pos), MOBO_STATE(struct uart, rx_count),
    MOBO_STATE(struct uart, tx_count), MOBO_STATE(struct uart, divisor),
    MOBO_STATE(struct uart, ier), MOBO_STATE(struct uart, fcr), MOBO_STATE(struct uart, lcr),
    MOBO_STATE(struct uart, mcr), MOBO_STATE(struct uart, msr), MOBO_STATE(struct uart, scr),
    MOBO_STATE(struct uart, overrun), MOBO_STATE(struct uart, thre_pending),
    MOBO_STATE(struct uart, timeout_pending), MOBO_STATE(struct uart, timeout_at), MOBO_END,
};

const mobo_class_t uart_class = {
    MOBO_CLASS(struct uart, props, state), .name = "uart",
    .summary = "16550A serial port", .init = uart_init, .reset = uart_reset,
    .loaded = uart_loaded,
};
