/*
 * interp_string.c: MOVS STOS LODS CMPS SCAS with their repetitions. A repetition commits its
 * registers after every chunk, so that a fault or an interrupt leaves a restartable instruction;
 * chunks inside a page are done at once.
 *
 * rip moves to the next instruction only when the instruction is done.
 * Reference: Intel SDM volume 2, REP.
 */
#include "interp_gen.h"
#include "repeat.h"

struct strings {
    unsigned bytes, addr;   /* of the element, of an address */
    uint64_t mask;
    bool rep, plain;        /* plain: no segment limits to look at, DF = 0 */
    uint64_t count;
    int64_t step;
};

static void strings_begin(const struct vcpu *cpu, const struct x86_insn *in, struct strings *s)
{
    s->bytes = in->opsize;
    s->addr = in->addrsize;
    s->mask = addr_mask(in->addrsize);
    s->rep = in->rep != REP_NONE;
    s->count = s->rep ? cpu->gpr[REG_RCX] & s->mask : 1;
    s->step = (cpu->fl & FL_DF) ? -(int64_t)s->bytes : (int64_t)s->bytes;
    s->plain = !(cpu->fl & FL_DF) && !(cpu->fl & FL_TF) && in->addrsize != 2 && cpu->flat &&
               (in->seg <= SEG_DS || cpu->code_bits == 64);
}

static uint64_t source(struct vcpu *cpu, const struct x86_insn *in, const struct strings *s)
{
    return seg_linear(cpu, in->seg, cpu->gpr[REG_RSI] & s->mask, s->bytes, 0);
}

static uint64_t dest(struct vcpu *cpu, const struct strings *s, unsigned write)
{
    return seg_linear(cpu, SEG_ES, cpu->gpr[REG_RDI] & s->mask, s->bytes, write);
}

static void advance(struct vcpu *cpu, const struct strings *s, unsigned reg, uint64_t elements)
{
    gpr_set(cpu, reg, cpu->gpr[reg] + elements * (uint64_t)s->step, s->addr);
}

/* N elements are done. */
static void consume(struct vcpu *cpu, struct strings *s, uint64_t n)
{
    if (!s->rep)
        return;
    s->count -= n;
    gpr_set(cpu, REG_RCX, s->count, s->addr);
}

/* True: go on with the next chunk; false: done (rip is moved) or interrupted (it is not). */
static bool more(struct vcpu *cpu, const struct x86_insn *in, const struct strings *s)
{
    if (!s->rep || s->count == 0) {
        cpu->rip = next_rip(cpu, in);
        return false;
    }
    if (cpu->fl & FL_TF)
        return false; /* a trap after each iteration */
    if (!atomic_load_explicit(&cpu->exit_req, memory_order_relaxed))
        return true;
    cpu->rep_midway = 1;
    return false;
}

/* How many of COUNT elements at LINEAR lie in its page. */
static uint64_t in_page(const struct strings *s, uint64_t linear)
{
    uint64_t n = (PAGE_BYTES - (linear & (PAGE_BYTES - 1))) / s->bytes;
    return n < s->count ? n : s->count;
}

static void gen_movs(struct vcpu *cpu, const struct x86_insn *in)
{
    struct strings s;
    strings_begin(cpu, in, &s);
    if (s.count == 0) {
        cpu->rip = next_rip(cpu, in);
        return;
    }
    do {
        uint64_t from = source(cpu, in, &s), to = dest(cpu, &s, 1), n = 1;
        const uint8_t *src = s.plain ? tlb_host_r(cpu, from, s.bytes) : NULL;
        uint8_t *dst = s.plain ? tlb_host_w(cpu, to, s.bytes) : NULL;
        if (src && dst) {
            n = in_page(&s, from);
            uint64_t m = in_page(&s, to);
            n = m < n ? m : n;
            repeat_movs(dst, src, n, s.bytes);
        } else {
            mem_write(cpu, to, mem_read(cpu, from, s.bytes), s.bytes);
        }
        advance(cpu, &s, REG_RSI, n);
        advance(cpu, &s, REG_RDI, n);
        consume(cpu, &s, n);
    } while (more(cpu, in, &s));
}

static void gen_stos(struct vcpu *cpu, const struct x86_insn *in)
{
    struct strings s;
    strings_begin(cpu, in, &s);
    uint64_t val = gpr_get(cpu, REG_RAX, s.bytes);
    if (s.count == 0) {
        cpu->rip = next_rip(cpu, in);
        return;
    }
    do {
        uint64_t to = dest(cpu, &s, 1), n = 1;
        uint8_t *dst = s.plain ? tlb_host_w(cpu, to, s.bytes) : NULL;
        if (dst) {
            n = in_page(&s, to);
            repeat_stos(dst, val, n, s.bytes);
        } else {
            mem_write(cpu, to, val, s.bytes);
        }
        advance(cpu, &s, REG_RDI, n);
        consume(cpu, &s, n);
    } while (more(cpu, in, &s));
}

static void gen_lods(struct vcpu *cpu, const struct x86_insn *in)
{
    struct strings s;
    strings_begin(cpu, in, &s);
    if (s.count == 0) {
        cpu->rip = next_rip(cpu, in);
        return;
    }
    do {
        uint64_t val = mem_read(cpu, source(cpu, in, &s), s.bytes);
        gpr_set(cpu, REG_RAX, val, s.bytes);
        advance(cpu, &s, REG_RSI, 1);
        consume(cpu, &s, 1);
    } while (more(cpu, in, &s));
}

/*
 * CMPS and SCAS: REPE goes on while equal, REPNE while not. At most N elements with A (SCAS: NULL)
 * and B on hand: the number compared, the last of them in *x and *y.
 */
static uint64_t compare(const struct strings *s, bool equal, const uint8_t *a, const uint8_t *b,
                        uint64_t n, uint64_t *x, uint64_t *y)
{
    uint64_t i = 0;
    do {
        if (a)
            *x = host_load(a + i * s->bytes, s->bytes);
        *y = host_load(b + i * s->bytes, s->bytes);
        i++;
    } while (i < n && (*x == *y) == equal);
    return i;
}

static void gen_compare(struct vcpu *cpu, const struct x86_insn *in)
{
    struct strings s;
    bool cmps = in->op == OP_CMPS, again, equal = in->rep == REP_REP;
    strings_begin(cpu, in, &s);
    uint64_t x = gpr_get(cpu, REG_RAX, s.bytes), y, n, m;
    if (s.count == 0) {
        cpu->rip = next_rip(cpu, in);
        return;
    }
    do {
        uint64_t first = cmps ? source(cpu, in, &s) : 0, second = dest(cpu, &s, 0);
        const uint8_t *a = s.plain && cmps ? tlb_host_r(cpu, first, s.bytes) : NULL;
        const uint8_t *b = s.plain ? tlb_host_r(cpu, second, s.bytes) : NULL;
        if (b && (a || !cmps)) {
            n = in_page(&s, second);
            m = cmps ? in_page(&s, first) : n;
            n = compare(&s, equal, a, b, m < n ? m : n, &x, &y);
        } else {
            if (cmps)
                x = mem_read(cpu, first, s.bytes);
            y = mem_read(cpu, second, s.bytes);
            n = 1;
        }
        flags_sub(cpu, x, y, x - y, s.bytes * 8);
        if (cmps)
            advance(cpu, &s, REG_RSI, n);
        advance(cpu, &s, REG_RDI, n);
        consume(cpu, &s, n);
        again = s.rep && (x == y) == equal;
        if (!again)
            cpu->rip = next_rip(cpu, in);
    } while (again && more(cpu, in, &s));
}

gen_fn gen_string(enum x86_op op)
{
    switch (op) {
    case OP_MOVS:
        return gen_movs;
    case OP_STOS:
        return gen_stos;
    case OP_LODS:
        return gen_lods;
    case OP_CMPS:
    case OP_SCAS:
        return gen_compare;
    default:
        return NULL;
    }
}
