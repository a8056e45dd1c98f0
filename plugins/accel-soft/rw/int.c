/*
 * int.c: integer instructions, by operation. Most are the same instruction on the host with other
 * registers (int_form.c); what deserves its own code is in int_alu.c, int_mov.c, int_bits.c and
 * int_bmi.c. Stack, flow, strings and system instructions are not here.
 *
 * Undefined results and flags are what the host makes of them, as the interpreter's are what it
 * makes of them.
 */
#include "int.h"

/* One byte (with 0F: two) and nothing else. */
static bool plain(struct rw_tr *t, unsigned size, unsigned opcode)
{
    rw_flags_before_op(t);
    e_op(t, size, 0, opcode, 0, 0, 0, false);
    return true;
}

static bool fence(struct rw_tr *t, unsigned modrm)
{
    e1(t, 0x0f);
    e1(t, 0xae);
    e1(t, modrm);
    return true;
}

static bool form(struct rw_tr *t, const struct x86_insn *in, unsigned prefix)
{
    struct int_form f = int_form_of(in);
    f.prefix = (uint8_t)prefix;
    int_form(t, in, &f);
    return true;
}

static bool setcc(struct rw_tr *t, const struct x86_insn *in)
{
    struct int_form f = int_form_of(in);
    f.ext = 0; /* the field is ignored */
    int_form(t, in, &f);
    return true;
}

static bool shift(struct rw_tr *t, const struct x86_insn *in)
{
    struct int_form f = int_form_of(in);
    f.reg.kind = OPND_NONE; /* CL */
    if (in->op == OP_SHL)
        f.ext = 4; /* 6 is its alias */
    int_form(t, in, &f);
    return true;
}

/* 32 bits are enough to zero the upper half. */
static bool movzx(struct rw_tr *t, const struct x86_insn *in)
{
    struct int_form f = int_form_of(in);
    if (f.size == 8)
        f.size = 4;
    int_form(t, in, &f);
    return true;
}

/* The operand size is the source's, but REX.W counts for F0 too. */
static bool crc32(struct rw_tr *t, const struct x86_insn *in)
{
    struct int_form f = int_form_of(in);
    f.prefix = 0xf2;
    f.size = in->opnd[1].size == 1 ? in->opnd[0].size : in->opnd[1].size;
    int_form(t, in, &f);
    return true;
}

/* TZCNT and LZCNT where the model lacks them: the scans they were before. */
static bool scan(struct rw_tr *t, const struct x86_insn *in)
{
    struct int_form f = int_form_of(in);
    f.reg.rw = OPND_READ | OPND_WRITE; /* stays if the source is 0 */
    int_form(t, in, &f);
    return true;
}

static bool emit(struct rw_tr *t, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_MOV: return int_mov(t, in);
    case OP_LEA: return int_lea(t, in);
    case OP_XCHG: return int_xchg(t, in);
    case OP_BSWAP: return int_bswap(t, in);
    case OP_MOVZX: return movzx(t, in);
    case OP_MOVSX: case OP_MOVBE: case OP_MOVNTI: case OP_CMOV: return form(t, in, 0);
    case OP_SETCC: return setcc(t, in);
    case OP_CBW: case OP_CWD: return plain(t, in->opsize, in->opcode);
    case OP_LAHF: case OP_SAHF: case OP_CLC: case OP_STC: case OP_CMC:
        return plain(t, 4, in->opcode);

    case OP_ADD: case OP_OR: case OP_ADC: case OP_SBB: case OP_AND: case OP_SUB: case OP_XOR:
    case OP_CMP: case OP_TEST:
        return int_alu(t, in);
    case OP_INC: case OP_DEC: case OP_NEG: case OP_NOT: return form(t, in, 0);
    case OP_MUL: case OP_IMUL1: case OP_IMUL2: case OP_DIV: case OP_IDIV: return form(t, in, 0);
    case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHL: case OP_SHR: case OP_SAR:
        return shift(t, in);
    case OP_SHLD: case OP_SHRD: return form(t, in, 0);

    case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC: return int_bit(t, in);
    case OP_BSF: case OP_BSR: return scan(t, in);
    case OP_TZCNT: case OP_LZCNT: case OP_POPCNT: return form(t, in, 0xf3);
    case OP_CRC32: return crc32(t, in);
    case OP_ADCX: case OP_ADOX: return form(t, in, in->pp);
    case OP_CMPXCHG: case OP_CMPXCHG8B: case OP_CMPXCHG16B: case OP_XADD: return form(t, in, 0);
    case OP_ANDN: case OP_BEXTR: case OP_BLSI: case OP_BLSMSK: case OP_BLSR: case OP_BZHI:
    case OP_MULX: case OP_PDEP: case OP_PEXT: case OP_RORX: case OP_SARX: case OP_SHLX:
    case OP_SHRX:
        return int_bmi(t, in);

    case OP_NOP: case OP_PREFETCH: return true;
    case OP_LFENCE: return fence(t, 0xe8);
    case OP_MFENCE: return fence(t, 0xf0);
    case OP_SFENCE: return fence(t, 0xf8);
    default: return false;
    }
}

bool rw_emit_int(struct rw_tr *t, const struct x86_insn *in)
{
    if (in->feature == FEAT_BASE || cpu_has(t->cpu, in->feature))
        return emit(t, in);
    /* as interp_select.c has it */
    if (in->op == OP_TZCNT || in->op == OP_LZCNT)
        return scan(t, in);
    return in->op == OP_PREFETCH && in->feature == FEAT_PREFETCHW;
}
