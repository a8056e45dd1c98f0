/*
 * interp_bits.c: bit tests and scans, counts, CRC32, BMI, and the compare-and-exchange family,
 * executed from x86_insn. Reference: Intel SDM volume 2.
 */
#include "interp_gen.h"

/* b is the bit number within the operand */
static uint64_t do_bt(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    (void)bits;
    flags_set_c(cpu, (a >> b) & 1);
    return a;
}

static uint64_t do_bts(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    return do_bt(cpu, a, b, bits) | UINT64_C(1) << b;
}

static uint64_t do_btr(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    return do_bt(cpu, a, b, bits) & ~(UINT64_C(1) << b);
}

static uint64_t do_btc(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    return do_bt(cpu, a, b, bits) ^ UINT64_C(1) << b;
}

static void gen_bit(struct vcpu *cpu, const struct x86_insn *in)
{
    static const alu_fn fns[] = { do_bt, do_bts, do_btr, do_btc };
    alu_fn fn = fns[in->op - OP_BT];
    unsigned bytes = in->opnd[0].size, bits = bytes * 8;
    uint64_t n = gen_get(cpu, in, 1);

    if (in->opnd[0].kind != OPND_MEM) {
        uint64_t r = fn(cpu, gen_get(cpu, in, 0), n & (bits - 1), bits);
        if (in->op != OP_BT)
            gen_put(cpu, in, 0, r);
        return;
    }
    uint64_t off = gen_offset(cpu, in);
    if (in->opnd[1].kind == OPND_GPR) { /* a signed bit number: the memory is a bit string */
        int64_t s = (int64_t)sign_extend(n, bits);
        unsigned shift = bytes == 8 ? 6 : bytes == 4 ? 5 : 4;
        off = (off + (uint64_t)((s >> shift) * (int64_t)bytes)) & addr_mask(in->addrsize);
    }
    n &= bits - 1;
    uint64_t linear = seg_linear(cpu, in->seg, off, bytes, in->op != OP_BT);
    if (in->op == OP_BT)
        do_bt(cpu, mem_read(cpu, linear, bytes), n, bits);
    else
        gen_update_mem(cpu, linear, bytes, n, fn, in->flags & INSN_LOCK);
}

static void gen_scan(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bits = in->opnd[0].size * 8u;
    uint64_t a = gen_get(cpu, in, 1);
    flags_logic(cpu, a, bits);
    if (a == 0)
        return; /* the destination stays (AMD APM volume 3; Intel processors too) */
    unsigned n = in->op == OP_BSF ? (unsigned)__builtin_ctzll(a)
                                  : 63u - (unsigned)__builtin_clzll(a);
    gen_put(cpu, in, 0, n);
}

static void gen_count(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bits = in->opnd[0].size * 8u;
    uint64_t a = gen_get(cpu, in, 1), n;
    if (in->op == OP_POPCNT) {
        n = (unsigned)__builtin_popcountll(a);
        gen_put(cpu, in, 0, n);
        cpu->cc_res = a ? 1 : 0; /* ZF from the source, all others 0 */
        cpu->cc_src = a ? 0 : 1u << 8;
        return;
    }
    if (a == 0)
        n = bits;
    else
        n = in->op == OP_TZCNT ? (unsigned)__builtin_ctzll(a)
                               : (unsigned)__builtin_clzll(a) - (64 - bits);
    gen_put(cpu, in, 0, n);
    flags_coa(cpu, n, bits, a == 0, false, false);
}

/* CRC-32C, reflected polynomial 0x82f63b78 */
static void gen_crc32(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[1].size;
    uint32_t crc = (uint32_t)gen_get(cpu, in, 0);
    uint64_t data = gen_get(cpu, in, 1);
    for (unsigned i = 0; i < bytes; i++) {
        crc ^= (data >> (i * 8)) & 0xff;
        for (unsigned k = 0; k < 8; k++)
            crc = crc >> 1 ^ ((crc & 1) ? 0x82f63b78 : 0);
    }
    gen_put(cpu, in, 0, crc);
}

static uint64_t deposit(uint64_t a, uint64_t mask)
{
    uint64_t r = 0;
    for (; mask; mask &= mask - 1, a >>= 1)
        if (a & 1)
            r |= mask & -mask;
    return r;
}

static uint64_t extract(uint64_t a, uint64_t mask)
{
    uint64_t r = 0;
    for (unsigned n = 0; mask; mask &= mask - 1, n++)
        if (a & mask & -mask)
            r |= UINT64_C(1) << n;
    return r;
}

static void gen_bmi(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bits = in->opnd[0].size * 8u;
    uint64_t a = gen_get(cpu, in, 1), b = in->operands > 2 ? gen_get(cpu, in, 2) : 0, r = 0;
    switch (in->op) {
    case OP_ANDN:
        r = zero_extend(~a & b, bits);
        flags_logic(cpu, r, bits);
        break;
    case OP_BEXTR: {
        unsigned start = b & 0xff, len = (b >> 8) & 0xff;
        r = start < bits ? a >> start : 0;
        if (len < bits)
            r &= (UINT64_C(1) << len) - 1;
        flags_logic(cpu, r, bits);
        break;
    }
    case OP_BLSI:
        r = a & (0 - a);
        flags_coa(cpu, r, bits, a != 0, false, false);
        break;
    case OP_BLSMSK:
        r = zero_extend(a ^ (a - 1), bits);
        flags_coa(cpu, r, bits, a == 0, false, false);
        break;
    case OP_BLSR:
        r = a & (a - 1);
        flags_coa(cpu, r, bits, a == 0, false, false);
        break;
    case OP_BZHI: {
        unsigned n = b & 0xff;
        r = n < bits ? a & ((UINT64_C(1) << n) - 1) : a;
        flags_coa(cpu, r, bits, n > bits - 1, false, false);
        break;
    }
    case OP_PDEP:
        r = deposit(a, b);
        break;
    default: /* PEXT */
        r = extract(a, b);
        break;
    }
    gen_put(cpu, in, 0, r);
}

/* ---- compare and exchange ---- */

static void gen_cmpxchg(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size, bits = bytes * 8;
    uint64_t acc = gpr_get(cpu, REG_RAX, bytes), src = gen_get(cpu, in, 1), old = 0;

    if (in->opnd[0].kind != OPND_MEM) {
        old = gen_get(cpu, in, 0);
        flags_sub(cpu, acc, old, acc - old, bits);
        if (old == acc) {
            gen_put(cpu, in, 0, src);
        } else {
            /* the destination keeps bits 63:32, as on AMD's processors */
            gpr_set(cpu, REG_RAX, old, bytes);
        }
        return;
    }
    /* memory is written in any case, with what was there if they differ */
    uint64_t linear = gen_linear(cpu, in, bytes, 1);
    if (in->flags & INSN_LOCK) {
        struct locked l;
        locked_begin(cpu, &l, linear, bytes);
        locked_load(cpu, &l, &old);
        while (!locked_cas(cpu, &l, &old, old == acc ? &src : &old))
            ;
        locked_end(cpu, &l);
    } else {
        mem_probe_write(cpu, linear, bytes);
        old = mem_read(cpu, linear, bytes);
        mem_write(cpu, linear, old == acc ? src : old, bytes);
    }
    flags_sub(cpu, acc, old, acc - old, bits);
    if (old != acc)
        gpr_set(cpu, REG_RAX, old, bytes);
}

/* CMPXCHG8B, CMPXCHG16B: EDX:EAX or RDX:RAX with memory, ECX:EBX or RCX:RBX the new value. */
static void gen_cmpxchg_pair(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned half = in->op == OP_CMPXCHG16B ? 8 : 4;
    uint64_t linear = gen_linear(cpu, in, half * 2, 1);
    uint64_t old[2] = { 0, 0 }, want[2], new[2], word;
    struct locked l;

    if (half == 8 && (linear & 15))
        x86_raise_err(cpu, VEC_GP, 0);
    if (half == 8) {
        want[0] = cpu->gpr[REG_RAX];
        want[1] = cpu->gpr[REG_RDX];
        new[0] = cpu->gpr[REG_RBX];
        new[1] = cpu->gpr[REG_RCX];
    } else {
        want[0] = (uint32_t)cpu->gpr[REG_RAX] | cpu->gpr[REG_RDX] << 32;
        new[0] = (uint32_t)cpu->gpr[REG_RBX] | cpu->gpr[REG_RCX] << 32;
        want[1] = new[1] = 0;
    }
    /* without LOCK it may be atomic too */
    locked_begin(cpu, &l, linear, half * 2);
    locked_load(cpu, &l, old);
    bool same;
    do
        same = old[0] == want[0] && old[1] == want[1];
    while (!locked_cas(cpu, &l, old, same ? new : old));
    locked_end(cpu, &l);

    /* ZF alone changes */
    word = flags_arith(cpu);
    flags_load(cpu, same ? word | FL_ZF : word & ~(uint64_t)FL_ZF);
    if (same)
        return;
    if (half == 8) {
        cpu->gpr[REG_RAX] = old[0];
        cpu->gpr[REG_RDX] = old[1];
    } else {
        cpu->gpr[REG_RAX] = (uint32_t)old[0];
        cpu->gpr[REG_RDX] = old[0] >> 32;
    }
}

gen_fn gen_bits(enum x86_op op)
{
    switch (op) {
    case OP_BT:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC:
        return gen_bit;
    case OP_BSF:
    case OP_BSR:
        return gen_scan;
    case OP_TZCNT:
    case OP_LZCNT:
    case OP_POPCNT:
        return gen_count;
    case OP_CRC32:
        return gen_crc32;
    case OP_ANDN:
    case OP_BEXTR:
    case OP_BLSI:
    case OP_BLSMSK:
    case OP_BLSR:
    case OP_BZHI:
    case OP_PDEP:
    case OP_PEXT:
        return gen_bmi;
    case OP_CMPXCHG:
        return gen_cmpxchg;
    case OP_CMPXCHG8B:
    case OP_CMPXCHG16B:
        return gen_cmpxchg_pair;
    default:
        return NULL;
    }
}
