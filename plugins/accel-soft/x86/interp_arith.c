/*
 * interp_arith.c: addition to division and the decimal adjustments, executed from x86_insn.
 * References: Intel SDM volume 2; flags that it leaves undefined are as AMD processors leave them
 * where that costs nothing.
 */
#include "interp_gen.h"
#include "wide.h"

static uint64_t alu_add(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a + b;
    flags_add(cpu, a, b, r, bits);
    return r;
}

static uint64_t alu_adc(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a + b + flag_c(cpu);
    flags_add(cpu, a, b, r, bits);
    return r;
}

static uint64_t alu_sub(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a - b;
    flags_sub(cpu, a, b, r, bits);
    return r;
}

static uint64_t alu_sbb(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t r = a - b - flag_c(cpu);
    flags_sub(cpu, a, b, r, bits);
    return r;
}

static uint64_t alu_and(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a & b, bits);
    return a & b;
}

static uint64_t alu_or(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a | b, bits);
    return a | b;
}

static uint64_t alu_xor(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    flags_logic(cpu, a ^ b, bits);
    return a ^ b;
}

static uint64_t alu_inc(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    (void)b;
    flags_inc(cpu, a + 1, bits);
    return a + 1;
}

static uint64_t alu_dec(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    (void)b;
    flags_dec(cpu, a - 1, bits);
    return a - 1;
}

static uint64_t alu_neg(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    (void)b;
    flags_sub(cpu, 0, a, 0 - a, bits);
    return 0 - a;
}

static uint64_t alu_not(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    (void)cpu;
    (void)b;
    (void)bits;
    return ~a;
}

static uint64_t alu_xadd(struct vcpu *cpu, uint64_t a, uint64_t b, unsigned bits)
{
    cpu->scratch = a;
    return alu_add(cpu, a, b, bits);
}

void gen_update_mem(struct vcpu *cpu, uint64_t linear, unsigned bytes, uint64_t b, alu_fn fn,
                    bool lock)
{
    unsigned bits = bytes * 8;
    if (!lock) {
        mem_probe_write(cpu, linear, bytes);
        mem_write(cpu, linear, fn(cpu, mem_read(cpu, linear, bytes), b, bits), bytes);
        return;
    }
    struct locked l;
    uint64_t old = 0, new, res = cpu->cc_res, src = cpu->cc_src;
    locked_begin(cpu, &l, linear, bytes);
    locked_load(cpu, &l, &old);
    do {
        cpu->cc_res = res; /* ADC and SBB read CF: each try starts from the same flags */
        cpu->cc_src = src;
        new = fn(cpu, old, b, bits);
    } while (!locked_cas(cpu, &l, &old, &new));
    locked_end(cpu, &l);
}

void gen_update(struct vcpu *cpu, const struct x86_insn *in, uint64_t b, alu_fn fn)
{
    unsigned bytes = in->opnd[0].size;
    if (in->opnd[0].kind == OPND_MEM)
        gen_update_mem(cpu, gen_linear(cpu, in, bytes, 1), bytes, b, fn, in->flags & INSN_LOCK);
    else
        gen_put(cpu, in, 0, fn(cpu, gen_get(cpu, in, 0), b, bytes * 8));
}

static void gen_binary(struct vcpu *cpu, const struct x86_insn *in)
{
    static const alu_fn fns[] = {
        [OP_ADD - OP_ADD] = alu_add, [OP_OR - OP_ADD] = alu_or,   [OP_ADC - OP_ADD] = alu_adc,
        [OP_SBB - OP_ADD] = alu_sbb, [OP_AND - OP_ADD] = alu_and, [OP_SUB - OP_ADD] = alu_sub,
        [OP_XOR - OP_ADD] = alu_xor,
    };
    gen_update(cpu, in, gen_get(cpu, in, 1), fns[in->op - OP_ADD]);
}

static void gen_cmp(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t a = gen_get(cpu, in, 0), b = gen_get(cpu, in, 1);
    flags_sub(cpu, a, b, a - b, in->opnd[0].size * 8u);
}

static void gen_test(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t a = gen_get(cpu, in, 0);
    flags_logic(cpu, a & gen_get(cpu, in, 1), in->opnd[0].size * 8u);
}

static void gen_unary(struct vcpu *cpu, const struct x86_insn *in)
{
    alu_fn fn = in->op == OP_INC   ? alu_inc
                : in->op == OP_DEC ? alu_dec
                : in->op == OP_NEG ? alu_neg
                                   : alu_not;
    gen_update(cpu, in, 0, fn);
}

static void gen_xadd(struct vcpu *cpu, const struct x86_insn *in)
{
    uint64_t b = gen_get(cpu, in, 1);
    if (in->opnd[0].kind == OPND_MEM) {
        gen_update(cpu, in, b, alu_xadd);
        gen_put(cpu, in, 1, cpu->scratch);
        return;
    }
    uint64_t a = gen_get(cpu, in, 0), r = alu_add(cpu, a, b, in->opnd[0].size * 8u);
    gen_put(cpu, in, 1, a); /* the same register twice: the sum stays (SDM: SRC, then DEST) */
    gen_put(cpu, in, 0, r);
}

/* ---- multiply and divide ---- */

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

/* RDX:RAX (or AX) = a product of 2 * BYTES. */
static void wide_put(struct vcpu *cpu, u128 r, unsigned bytes)
{
    if (bytes == 1) {
        gpr_set(cpu, REG_RAX, (uint64_t)r, 2);
        return;
    }
    gpr_set(cpu, REG_RAX, (uint64_t)r, bytes);
    gpr_set(cpu, REG_RDX, (uint64_t)(r >> (bytes * 8)), bytes);
}

static void gen_mul(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size, bits = bytes * 8;
    u128 r = (u128)gpr_get(cpu, REG_RAX, bytes) * gen_get(cpu, in, 0);
    wide_put(cpu, r, bytes);
    bool over = (r >> bits) != 0;
    flags_coa(cpu, (uint64_t)r, bits, over, over, false);
}

static void gen_imul1(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size, bits = bytes * 8;
    int64_t a = (int64_t)sign_extend(gpr_get(cpu, REG_RAX, bytes), bits);
    int64_t b = (int64_t)sign_extend(gen_get(cpu, in, 0), bits);
    s128 r = (s128)a * b;
    wide_put(cpu, (u128)r, bytes);
    bool over = r != (s128)(int64_t)sign_extend((uint64_t)r, bits);
    flags_coa(cpu, (uint64_t)r, bits, over, over, false);
}

static void gen_imul2(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bits = in->opnd[0].size * 8u, first = in->operands == 3 ? 1 : 0;
    int64_t a = (int64_t)sign_extend(gen_get(cpu, in, first), bits);
    int64_t b = (int64_t)sign_extend(gen_get(cpu, in, first + 1), bits);
    s128 r = (s128)a * b;
    bool over = r != (s128)(int64_t)sign_extend((uint64_t)r, bits);
    gen_put(cpu, in, 0, (uint64_t)r);
    flags_coa(cpu, (uint64_t)r, bits, over, over, false);
}

/* Flags after DIV and IDIV are undefined; they stay as they are. */
static void gen_div(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size, bits = bytes * 8;
    uint64_t d = gen_get(cpu, in, 0);
    u128 n = bytes == 1 ? gpr_get(cpu, REG_RAX, 2)
                        : (u128)gpr_get(cpu, REG_RDX, bytes) << bits |
                              gpr_get(cpu, REG_RAX, bytes);
    if (d == 0 || (n >> bits) >= d)
        x86_raise(cpu, VEC_DE);
    uint64_t r, q = div_wide((uint64_t)(n >> 64), (uint64_t)n, d, &r);
    if (bytes == 1) {
        gpr_set(cpu, REG_RAX, (q & 0xff) | r << 8, 2);
        return;
    }
    gpr_set(cpu, REG_RAX, q, bytes);
    gpr_set(cpu, REG_RDX, r, bytes);
}

static void gen_idiv(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size, bits = bytes * 8;
    int64_t d = (int64_t)sign_extend(gen_get(cpu, in, 0), bits);
    s128 n = bytes == 1 ? (s128)(int16_t)gpr_get(cpu, REG_RAX, 2)
                        : (s128)((u128)sign_extend(gpr_get(cpu, REG_RDX, bytes), bits) << bits |
                                 gpr_get(cpu, REG_RAX, bytes));
    if (bytes == 2 || bytes == 4)
        n = (int64_t)(uint64_t)n;
    if (bytes == 2)
        n = (int32_t)(uint32_t)(uint64_t)n;
    u128 size = n < 0 ? 0 - (u128)n : (u128)n;
    uint64_t by = d < 0 ? 0 - (uint64_t)d : (uint64_t)d;
    if ((uint64_t)(size >> 64) >= by)
        x86_raise(cpu, VEC_DE);
    uint64_t r, q = div_wide((uint64_t)(size >> 64), (uint64_t)size, by, &r);
    bool minus = (n < 0) != (d < 0);
    if (q > (UINT64_C(1) << (bits - 1)) - !minus)
        x86_raise(cpu, VEC_DE);
    q = minus ? 0 - q : q;
    r = n < 0 ? 0 - r : r; /* as the dividend */
    if (bytes == 1) {
        gpr_set(cpu, REG_RAX, (q & 0xff) | (r & 0xff) << 8, 2);
        return;
    }
    gpr_set(cpu, REG_RAX, q, bytes);
    gpr_set(cpu, REG_RDX, r, bytes);
}

static void gen_mulx(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bytes = in->opnd[0].size;
    u128 r = (u128)gpr_get(cpu, REG_RDX, bytes) * gen_get(cpu, in, 2);
    gen_put(cpu, in, 1, (uint64_t)r); /* low half first: the same register keeps the high half */
    gen_put(cpu, in, 0, (uint64_t)(r >> (bytes * 8)));
}

static void gen_adx(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned bits = in->opnd[0].size * 8u;
    bool o = flag_o(cpu), c = flag_c(cpu);
    u128 r = (u128)gen_get(cpu, in, 0) + gen_get(cpu, in, 1) + (in->op == OP_ADCX ? c : o);
    bool carry = (r >> bits) & 1;
    gen_put(cpu, in, 0, (uint64_t)r);
    if (in->op == OP_ADCX)
        flags_set_co(cpu, carry, o);
    else
        flags_set_co(cpu, c, carry);
}

/* ---- decimal ---- */

static void al_set(struct vcpu *cpu, unsigned al)
{
    gpr_set(cpu, REG_RAX, al, 1);
}

static void gen_decimal(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned al = cpu->gpr[REG_RAX] & 0xff, ah = (cpu->gpr[REG_RAX] >> 8) & 0xff;
    bool a = flag_a(cpu), c = flag_c(cpu);
    unsigned old = al;
    switch (in->op) {
    case OP_DAA:
    case OP_DAS: {
        bool low = (al & 15) > 9 || a, high = old > 0x99 || c, sub = in->op == OP_DAS;
        bool carry = false;
        if (low) {
            carry = c || (sub ? al < 6 : al > 0xf9);
            al = sub ? al - 6 : al + 6;
        }
        if (high) {
            al = sub ? al - 0x60 : al + 0x60;
            carry = true;
        }
        al_set(cpu, al);
        flags_coa(cpu, al, 8, carry, false, low);
        return;
    }
    case OP_AAA:
    case OP_AAS: {
        bool adjust = (al & 15) > 9 || a;
        unsigned ax = (unsigned)cpu->gpr[REG_RAX] & 0xffff;
        if (adjust)
            ax = in->op == OP_AAA ? ax + 0x106 : ax - 0x106;
        ax &= 0xff0f;
        gpr_set(cpu, REG_RAX, ax, 2);
        flags_coa(cpu, ax, 8, adjust, false, adjust);
        return;
    }
    case OP_AAM: {
        unsigned base = in->imm & 0xff;
        if (base == 0)
            x86_raise(cpu, VEC_DE);
        gpr_set(cpu, REG_RAX, (al / base) << 8 | al % base, 2);
        flags_logic(cpu, al % base, 8);
        return;
    }
    case OP_AAD:
        al = (al + ah * (in->imm & 0xff)) & 0xff;
        gpr_set(cpu, REG_RAX, al, 2);
        flags_logic(cpu, al, 8);
        return;
    default: /* SALC */
        al_set(cpu, c ? 0xff : 0);
        return;
    }
}

gen_fn gen_arith(enum x86_op op)
{
    switch (op) {
    case OP_ADD:
    case OP_OR:
    case OP_ADC:
    case OP_SBB:
    case OP_AND:
    case OP_SUB:
    case OP_XOR:
        return gen_binary;
    case OP_CMP:
        return gen_cmp;
    case OP_TEST:
        return gen_test;
    case OP_INC:
    case OP_DEC:
    case OP_NEG:
    case OP_NOT:
        return gen_unary;
    case OP_XADD:
        return gen_xadd;
    case OP_MUL:
        return gen_mul;
    case OP_IMUL1:
        return gen_imul1;
    case OP_IMUL2:
        return gen_imul2;
    case OP_DIV:
        return gen_div;
    case OP_IDIV:
        return gen_idiv;
    case OP_MULX:
        return gen_mulx;
    case OP_ADCX:
    case OP_ADOX:
        return gen_adx;
    case OP_AAA:
    case OP_AAS:
    case OP_AAM:
    case OP_AAD:
    case OP_DAA:
    case OP_DAS:
    case OP_SALC:
        return gen_decimal;
    default:
        return NULL;
    }
}
