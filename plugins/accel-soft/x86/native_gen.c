/*
 * native_gen.c: writes the thunks: load the registers that one instruction names from struct vcpu,
 * execute it with its memory operand at [rsi], store the results, return 0. The instruction itself
 * is vecenc.c's. It does not decide whether the instruction may run, and touches no guest memory.
 *
 * A thunk is called as enter(cpu = rdi, mem = rsi). A guest's vector register keeps its number. A
 * guest's general register becomes rax. Nothing lies on the stack while the instruction runs, so a
 * host fault may return from the thunk at once (native_sig.c).
 */
#include "native_int.h"
#include "vecenc.h"

#include <stddef.h>
#include <string.h>

enum { RAX = 0, RCX = 1, RDX = 2, RSI = 6, RDI = 7 };
enum { OFF_MXCSR = offsetof(struct vcpu, mxcsr), OFF_X87 = offsetof(struct vcpu, x87) };
enum { OFF_MXCSR_HOST = OFF_X87 + offsetof(struct x87_image, mxcsr) }; /* always MXCSR_INIT */
enum { OFF_SCRATCH = OFF_X87 + THUNK_SCRATCH };

struct code {
    uint8_t *p;
};

static void put1(struct code *c, unsigned byte)
{
    *c->p++ = (uint8_t)byte;
}

static void put_bytes(struct code *c, const uint8_t *bytes, size_t n)
{
    memcpy(c->p, bytes, n);
    c->p += n;
}

/* modrm and disp32 of [rdi + off] */
static void put_state(struct code *c, unsigned reg, unsigned off)
{
    uint32_t disp = off;
    put1(c, 0x80 | (reg & 7) << 3 | RDI);
    put_bytes(c, (const uint8_t *)&disp, 4);
}

/* mov reg, [rdi + off] (opcode 8b) or the other way round (89), 64 bits */
static void put_gpr(struct code *c, unsigned opcode, unsigned reg, unsigned off)
{
    put1(c, 0x48);
    put1(c, opcode);
    put_state(c, reg, off);
}

/* movups (vmovups if vex) of a vector register from (10) or to (11) the state */
static void put_vec(struct code *c, unsigned opcode, unsigned reg, bool vex, bool l)
{
    if (vex) {
        put1(c, 0xc5);
        put1(c, (reg & 8 ? 0 : 0x80) | 0x78 | (l ? 4 : 0));
    } else {
        if (reg & 8)
            put1(c, 0x44);
        put1(c, 0x0f);
    }
    put1(c, opcode);
    put_state(c, reg, (unsigned)offsetof(struct vcpu, ymm) + reg * 32);
}

/* movq of an MM register from (6f) or to (7f) the x87 image */
static void put_mm(struct code *c, unsigned opcode, unsigned reg)
{
    put1(c, 0x0f);
    put1(c, opcode);
    put_state(c, reg, (unsigned)(OFF_X87 + offsetof(struct x87_image, st)) + (reg & 7) * 16);
}

/*
 * Streaming stores become plain ones: their order against others is the guest's to care for, and
 * the bounce buffer should stay in the cache.
 */
static uint8_t plain_opcode(const struct x86_insn *in)
{
    if (in->map == 1 && in->opcode == 0x2b)
        return 0x11;
    if (in->map == 1 && in->opcode == 0xe7 && in->pp != 0xf3 && in->pp != 0xf2)
        return 0x7f;
    return in->opcode;
}

/* The instruction with its operands where thunks have them. Returns its length. */
static size_t put_insn(const struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes,
                       uint8_t *out)
{
    const struct vec_place place = { .gpr = RAX, .base = RSI, .index = VEC_NO_INDEX,
                                     .opcode = plain_opcode(in), .bits = cpu->code_bits };
    return vec_encode(in, bytes, &place, out);
}

/* Whether MXCSR matters: rounding, or exceptions and their flags. */
static bool needs_mxcsr(const struct x86_insn *in)
{
    if (in->flags & INSN_FP)
        return true;
    unsigned op = in->opcode;
    if (in->map == 1)
        return (op >= 0x2a && op <= 0x2f && op != 0x2b) || op == 0x51 ||
               (op >= 0x58 && op <= 0x5f) || op == 0x7c || op == 0x7d || op == 0xc2 ||
               op == 0xd0 || op == 0xe6;
    if (in->map == 2)
        return op == 0x13 || (op >= 0x96 && op <= 0x9f) || (op >= 0xa6 && op <= 0xaf) ||
               (op >= 0xb6 && op <= 0xbf);
    return in->map == 3 && ((op >= 0x08 && op <= 0x0b) || op == 0x1d || op == 0x40 || op == 0x41);
}

bool thunk_key(const struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes,
               struct native_thunk *t)
{
    const struct x86_operand *gpr = vec_gpr(in);
    uint8_t *k = t->key;
    k[0] = (uint8_t)in->op;
    k[1] = gpr ? gpr->reg : 0xff;
    k[2] = in->opcode; /* streaming stores keep their own alignment rule */
    t->key_len = (uint8_t)(3 + put_insn(cpu, in, bytes, k + 3));
    return true;
}

/* x87: the whole state through FXRSTOR64 and FXSAVE64, the host's control word by FNINIT. */
static void build_x87(const struct x86_insn *in, struct native_thunk *t, struct code *c,
                      const uint8_t *insn, size_t insn_len)
{
    unsigned op = in->opcode, m = in->modrm;
    bool fcmov = (op == 0xda || op == 0xdb) && m >= 0xc0 && m <= 0xdf;
    bool fcomi = (op == 0xdb || op == 0xdf) && m >= 0xe8 && m <= 0xf7;
    t->flags |= THUNK_X87 | (fcmov || fcomi ? THUNK_FLAGS_IN : 0) | (fcomi ? THUNK_FLAGS_OUT : 0);
    if (t->mem_rw & OPND_WRITE)
        t->flags |= THUNK_PROBE;
    put_bytes(c, (const uint8_t[]){ 0x48, 0x0f, 0xae }, 3);
    put_state(c, 1, OFF_X87); /* fxrstor64 */
    if (fcmov || fcomi) {
        put1(c, 0xff); /* push qword [scratch]; popfq */
        put_state(c, 6, OFF_SCRATCH);
        put1(c, 0x9d);
    }
    put_bytes(c, insn, insn_len);
    put_bytes(c, (const uint8_t[]){ 0x9c, 0x48, 0x0f, 0xae }, 4); /* pushfq */
    put_state(c, 0, OFF_X87); /* fxsave64 */
    put1(c, 0x8f);            /* pop qword [scratch] */
    put_state(c, 0, OFF_SCRATCH);
    put_bytes(c, (const uint8_t[]){ 0xdb, 0xe3, 0x31, 0xc0, 0xc3 }, 5); /* fninit; return 0 */
}

static void put_loads(const struct x86_insn *in, struct code *c, const struct x86_operand *gpr)
{
    bool vex = in->flags & INSN_VEX;
    if (gpr)
        put_gpr(c, 0x8b, RAX, gpr->reg * 8u);
    if (vec_is_pcmpstr(in)) {
        put_gpr(c, 0x8b, RAX, REG_RAX * 8);
        put_gpr(c, 0x8b, RDX, REG_RDX * 8);
    }
    /* Destinations too: many instructions merge, and the decoder need not know which. */
    for (unsigned i = 0; i < in->operands && i < 4; i++) {
        const struct x86_operand *o = &in->opnd[i];
        if (o->kind == OPND_XMM)
            put_vec(c, 0x10, o->reg, vex, vex && in->vex_l);
        else if (o->kind == OPND_MM)
            put_mm(c, 0x6f, o->reg);
    }
    if (in->flags & INSN_IMPLICIT_XMM0)
        put_vec(c, 0x10, 0, vex, vex && in->vex_l);
}

static void put_stores(const struct x86_insn *in, struct code *c, const struct x86_operand *gpr)
{
    bool vex = in->flags & INSN_VEX; /* a VEX destination is written up to the top */
    for (unsigned i = 0; i < in->operands && i < 4; i++) {
        const struct x86_operand *o = &in->opnd[i];
        if (o->kind == OPND_XMM && (o->rw & OPND_WRITE)) {
            put_vec(c, 0x11, o->reg, vex, vex);
        } else if (o->kind == OPND_MM && (o->rw & OPND_WRITE)) {
            put_mm(c, 0x7f, o->reg);
            put_bytes(c, (const uint8_t[]){ 0x66, 0xc7 }, 2); /* exponent and sign all ones */
            put_state(c, 0, (unsigned)(OFF_X87 + offsetof(struct x87_image, st)) +
                                (o->reg & 7) * 16u + 8);
            put_bytes(c, (const uint8_t[]){ 0xff, 0xff }, 2);
        }
    }
    if (vec_is_pcmpstr(in) && (in->opcode & 1)) /* PCMPxSTRI */
        put_gpr(c, 0x89, RCX, REG_RCX * 8);
    else if (vec_is_pcmpstr(in)) /* PCMPxSTRM */
        put_vec(c, 0x11, 0, vex, vex);
    if (gpr && (gpr->rw & OPND_WRITE))
        put_gpr(c, 0x89, RAX, gpr->reg * 8u);
}

static void build_vec(const struct x86_insn *in, struct native_thunk *t, struct code *c,
                      const uint8_t *insn, size_t insn_len)
{
    const struct x86_operand *gpr = vec_gpr(in);
    bool fp = needs_mxcsr(in);
    t->flags |= (in->flags & INSN_VEX ? THUNK_VEX : 0) | (in->op == OP_MMX ? THUNK_MMX : 0) |
                (in->flags & INSN_WRITES_FLAGS ? THUNK_FLAGS_OUT : 0) | (fp ? THUNK_FP : 0);
    if ((fp || in->op == OP_MMX) && (t->mem_rw & OPND_WRITE))
        t->flags |= THUNK_PROBE;
    bool mm = false;
    for (unsigned i = 0; i < in->operands && i < 4; i++) {
        mm |= in->opnd[i].kind == OPND_MM;
        if (in->op == OP_MMX && in->opnd[i].kind == OPND_XMM)
            t->flags |= THUNK_XMM;
    }
    if (!mm)
        t->flags |= THUNK_NO_MM;
    put_loads(in, c, gpr);
    if (fp) {
        put_bytes(c, (const uint8_t[]){ 0x0f, 0xae }, 2);
        put_state(c, 2, OFF_MXCSR); /* ldmxcsr */
    }
    put_bytes(c, insn, insn_len);
    if (t->flags & THUNK_FLAGS_OUT) {
        put_bytes(c, (const uint8_t[]){ 0x9c, 0x8f }, 2); /* pushfq; pop [scratch] */
        put_state(c, 0, OFF_SCRATCH);
    }
    if (fp) {
        put_bytes(c, (const uint8_t[]){ 0x0f, 0xae }, 2);
        put_state(c, 3, OFF_MXCSR); /* stmxcsr */
        put_bytes(c, (const uint8_t[]){ 0x0f, 0xae }, 2);
        put_state(c, 2, OFF_MXCSR_HOST);
    }
    put_stores(in, c, gpr);
    if (in->op == OP_MMX)
        put_bytes(c, (const uint8_t[]){ 0x0f, 0x77 }, 2); /* emms */
    if (in->flags & INSN_VEX)
        put_bytes(c, (const uint8_t[]){ 0xc5, 0xf8, 0x77 }, 3); /* vzeroupper */
    put_bytes(c, (const uint8_t[]){ 0x31, 0xc0, 0xc3 }, 3);
}

/* Whole-register moves are done in C: LOAD, STORE and COPY of 16 or, with VEX.L, 32 bytes. */
static enum thunk_kind move_kind(const struct x86_insn *in)
{
    unsigned op = plain_opcode(in);
    bool ps = in->pp == 0 || in->pp == 0x66, dq = in->pp == 0x66 || in->pp == 0xf3;
    if (in->op != OP_VEC || in->map != 1 || in->operands != 2)
        return THUNK_RUN;
    bool load = ((op == 0x10 || op == 0x28) && ps) || (op == 0x6f && dq);
    bool store = ((op == 0x11 || op == 0x29) && ps) || (op == 0x7f && dq);
    if (!load && !store)
        return THUNK_RUN;
    if (in->modrm >= 0xc0)
        return THUNK_COPY;
    return load ? THUNK_LOAD : THUNK_STORE;
}

size_t thunk_build(const struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes,
                   struct native_thunk *t, uint8_t *at)
{
    uint8_t insn[32];
    size_t insn_len = put_insn(cpu, in, bytes, insn);
    struct code c = { at };
    const struct x86_operand *mem = vec_mem(in);
    t->kind = (uint8_t)move_kind(in);
    t->flags = in->flags & INSN_ALIGNED ? THUNK_ALIGNED : 0;
    t->mem_size = mem ? mem->size : 0;
    t->mem_rw = mem ? mem->rw : 0;
    if (t->kind != THUNK_RUN) {
        t->reg = in->opnd[0].kind == OPND_MEM ? in->opnd[1].reg : in->opnd[0].reg;
        t->reg2 = in->opnd[1].reg;
        t->mem_size = in->flags & INSN_VEX && in->vex_l ? 32 : 16;
    }
    if (in->op == OP_X87)
        build_x87(in, t, &c, insn, insn_len);
    else
        build_vec(in, t, &c, insn, insn_len);
    return (size_t)(c.p - at);
}
