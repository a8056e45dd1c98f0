/*
 * interp_shift.c: shifts and rotates with exact flags, executed from x86_insn.
 * Reference: Intel SDM volume 2. OF after counts above 1 is undefined; it is made as for count 1.
 */
#include "interp_gen.h"

static bool bit(uint64_t v, unsigned n)
{
    return (v >> n) & 1;
}

static uint64_t ones(unsigned bits)
{
    return bits == 64 ? ~(uint64_t)0 : (UINT64_C(1) << bits) - 1;
}

static uint64_t rotate_carry(struct vcpu *cpu, enum x86_op op, uint64_t a, unsigned count,
                             unsigned bits)
{
    bool c = flag_c(cpu);
    count %= bits + 1;
    if (count == 0)
        return a;
    for (unsigned i = 0; i < count; i++) {
        if (op == OP_RCL) {
            bool out = bit(a, bits - 1);
            a = (a << 1 | c) & ones(bits);
            c = out;
        } else {
            bool out = a & 1;
            a = a >> 1 | (uint64_t)c << (bits - 1);
            c = out;
        }
    }
    bool top = bit(a, bits - 1);
    flags_set_co(cpu, c, top != (op == OP_RCL ? c : bit(a, bits - 2)));
    return a;
}

uint64_t alu_shift(struct vcpu *cpu, enum x86_op op, uint64_t a, unsigned count, unsigned bits)
{
    uint64_t r = zero_extend(a, bits);
    bool c;

    count &= bits == 64 ? 63 : 31;
    if (count == 0)
        return r;
    a = r;
    switch (op) {
    case OP_ROL:
        count %= bits;
        if (count)
            r = (a << count | a >> (bits - count)) & ones(bits);
        flags_set_co(cpu, r & 1, bit(r, bits - 1) != (r & 1));
        return r;
    case OP_ROR:
        count %= bits;
        if (count)
            r = (a >> count | a << (bits - count)) & ones(bits);
        flags_set_co(cpu, bit(r, bits - 1), bit(r, bits - 1) != bit(r, bits - 2));
        return r;
    case OP_RCL:
    case OP_RCR:
        return rotate_carry(cpu, op, a, count, bits);
    case OP_SHL:
        c = count <= bits && bit(a, bits - count);
        r = (a << count) & ones(bits);
        flags_coa(cpu, r, bits, c, bit(r, bits - 1) != c, false);
        return r;
    case OP_SHR:
        c = bit(a, count - 1);
        r = a >> count;
        flags_coa(cpu, r, bits, c, count == 1 ? bit(a, bits - 1) : bit(r, bits - 2), false);
        return r;
    default: { /* OP_SAR */
        int64_t s = (int64_t)sign_extend(a, bits);
        c = (s >> (count - 1)) & 1;
        r = (uint64_t)(s >> count) & ones(bits);
        flags_coa(cpu, r, bits, c, false, false);
        return r;
    }
    }
}

#define SHIFT_FN(name, op)                                                                         \
    static uint64_t name(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)                  \
    {                                                                                              \
        return alu_shift(cpu, op, a, (unsigned)(b & 0xff), bits);                                  \
    }
SHIFT_FN(do_rol, OP_ROL)
SHIFT_FN(do_ror, OP_ROR)
SHIFT_FN(do_rcl, OP_RCL)
SHIFT_FN(do_rcr, OP_RCR)
SHIFT_FN(do_shl, OP_SHL)
SHIFT_FN(do_shr, OP_SHR)
SHIFT_FN(do_sar, OP_SAR)

static void gen_shifts(struct vcpu *cpu, const struct x86_insn *in)
{
    static const alu_fn fns[] = { do_rol, do_ror, do_rcl, do_rcr, do_shl, do_shr, do_sar };
    gen_update(cpu, in, gen_get(cpu, in, 1), fns[in->op - OP_ROL]);
}

/*
 * SHLD, SHRD. With 16 bits and a count above 16 the result is undefined; AMD's processors shift the
 * source in twice, and so does this (Intel's shift in the destination behind the source).
 */
static uint64_t double_shift(struct vcpu *cpu, bool left, uint64_t a, uint64_t b, unsigned count,
                             unsigned bits)
{
    uint64_t r;
    bool c;
    count &= bits == 64 ? 63 : 31;
    a = zero_extend(a, bits);
    b = zero_extend(b, bits);
    if (count == 0)
        return a;
    if (bits == 16) {
        uint64_t v = left ? a << 32 | b << 16 | b : b << 32 | b << 16 | a;
        r = (left ? v << count >> 32 : v >> count) & 0xffff;
        c = left ? bit(v, 48 - count) : bit(v, count - 1);
    } else if (left) {
        r = (a << count | b >> (bits - count)) & ones(bits);
        c = bit(a, bits - count);
    } else {
        r = (a >> count | b << (bits - count)) & ones(bits);
        c = bit(a, count - 1);
    }
    flags_coa(cpu, r, bits, c, bit(r, bits - 1) != bit(a, bits - 1), false);
    return r;
}

static void gen_double(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size, count = gen_get(cpu, in, 2) & 0xff;
    uint64_t b = gen_get(cpu, in, 1), linear = 0, a;
    bool mem = in->opnd[0].kind == OPND_MEM;
    if (mem) {
        linear = gen_linear(cpu, in, bytes, 1);
        mem_probe_write(cpu, linear, bytes);
        a = mem_read(cpu, linear, bytes);
    } else {
        a = gen_get(cpu, in, 0);
    }
    uint64_t r = double_shift(cpu, in->op == OP_SHLD, a, b, count, bytes * 8);
    if (mem)
        mem_write(cpu, linear, r, bytes);
    else
        gen_put(cpu, in, 0, r);
}

/* BMI2: no flags. */
static void gen_shiftx(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bits = in->opnd[0].size * 8u;
    uint64_t a = gen_get(cpu, in, 1), count = gen_get(cpu, in, 2) & (bits - 1), r;
    switch (in->op) {
    case OP_RORX:
        r = count ? (a >> count | a << (bits - count)) : a;
        break;
    case OP_SARX:
        r = (uint64_t)((int64_t)sign_extend(a, bits) >> count);
        break;
    case OP_SHLX:
        r = a << count;
        break;
    default:
        r = a >> count;
        break;
    }
    gen_put(cpu, in, 0, r);
}

gen_fn gen_shift(enum x86_op op)
{
    switch (op) {
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
        return gen_shifts;
    case OP_SHLD:
    case OP_SHRD:
        return gen_double;
    case OP_RORX:
    case OP_SARX:
    case OP_SHLX:
    case OP_SHRX:
        return gen_shiftx;
    default:
        return NULL;
    }
}
