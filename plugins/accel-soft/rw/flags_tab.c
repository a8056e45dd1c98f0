/*
 * flags_tab.c: which arithmetic flags an instruction reads, certainly writes, may write. What is
 * not known reads all of them and writes none. Flags that an instruction leaves undefined count as
 * written, except where processors are known to leave them alone (BT).
 * Reference: Intel SDM volume 1, appendix A; volume 2, the instructions' pages.
 */
#include "rw.h"

enum {
    C = FL_BIT_C, P = FL_BIT_P, A = FL_BIT_A, Z = FL_BIT_Z, S = FL_BIT_S, O = FL_BIT_O,
    ALL = FL_BIT_ALL,
};

/* Of the conditions in pairs: O B Z BE S P L LE. SDM volume 1, appendix B */
static uint8_t condition(unsigned cc)
{
    static const uint8_t reads[8] = { O, C, Z, C | Z, S, P, S | O, Z | S | O };
    return reads[cc >> 1 & 7];
}

static void set(struct rw_fl *fl, unsigned reads, unsigned kills, unsigned may)
{
    fl->reads = (uint8_t)reads;
    fl->kills = (uint8_t)kills;
    fl->may = (uint8_t)(may | kills);
}

/* A count of 0 leaves all flags; a register's value is not known. */
static void shift(const struct x86_insn *in, struct rw_fl *fl)
{
    unsigned last = in->operands - 1u;
    bool rotate = in->op == OP_ROL || in->op == OP_ROR;
    bool carry = in->op == OP_RCL || in->op == OP_RCR;
    unsigned writes = rotate || carry ? C | O : ALL, reads = carry ? C : 0;
    if (in->opnd[last].kind != OPND_IMM) {
        set(fl, reads, 0, writes);
        return;
    }
    if ((in->imm & (in->opsize == 8 ? 63 : 31)) == 0)
        set(fl, 0, 0, 0);
    else if (carry && in->opsize < 4) /* modulo 9 or 17 */
        set(fl, reads, 0, writes);
    else
        set(fl, reads, writes, writes);
}

static void x87(const struct x86_insn *in, struct rw_fl *fl)
{
    unsigned group = in->modrm >> 3 & 7;
    bool reg = in->modrm >= 0xc0;
    set(fl, 0, 0, 0);
    if (reg && (in->opcode == 0xda || in->opcode == 0xdb) && group < 4) { /* FCMOVcc */
        static const uint8_t reads[4] = { C, Z, C | Z, P };
        set(fl, reads[group], 0, 0);
    } else if (reg && (in->opcode == 0xdb || in->opcode == 0xdf) && (group == 5 || group == 6)) {
        set(fl, 0, Z | P | C, ALL); /* FCOMI FUCOMI FCOMIP FUCOMIP */
    }
}

void rw_flags_of(const struct x86_insn *in, struct rw_fl *fl)
{
    switch (in->op) {
    /* moves, and what else has nothing to do with them */
    case OP_MOV: case OP_MOVZX: case OP_MOVSX: case OP_LEA: case OP_XCHG: case OP_PUSH: case OP_POP:
    case OP_BSWAP: case OP_XLAT: case OP_CBW: case OP_CWD: case OP_MOVBE: case OP_MOVNTI:
    case OP_MOV_FROM_SEG: case OP_MOV_TO_SEG: case OP_LOADFAR: case OP_PUSH_SEG: case OP_POP_SEG:
    case OP_NOT: case OP_CRC32: case OP_MULX: case OP_PDEP: case OP_PEXT: case OP_RORX:
    case OP_SARX: case OP_SHLX: case OP_SHRX:
    case OP_MOVS: case OP_LODS: case OP_STOS: case OP_INS: case OP_OUTS:
    case OP_JMP_REL: case OP_CALL_REL: case OP_RET: case OP_JMP_IND: case OP_CALL_IND:
    case OP_JMP_FAR: case OP_CALL_FAR: case OP_RETF: case OP_LOOP: case OP_JCXZ: case OP_ENTER:
    case OP_LEAVE: case OP_CLD: case OP_STD: case OP_CLI: case OP_STI: case OP_IN: case OP_OUT:
    case OP_HLT: case OP_CLTS: case OP_LGDT: case OP_SGDT: case OP_LIDT: case OP_SIDT: case OP_LLDT:
    case OP_SLDT: case OP_LTR: case OP_STR: case OP_LMSW: case OP_SMSW: case OP_INVLPG:
    case OP_INVPCID: case OP_INVD: case OP_WBINVD: case OP_MOV_FROM_CR: case OP_MOV_TO_CR:
    case OP_MOV_FROM_DR: case OP_MOV_TO_DR: case OP_RDMSR: case OP_WRMSR: case OP_RDTSC:
    case OP_RDTSCP: case OP_RDPMC: case OP_CPUID: case OP_SWAPGS: case OP_CLAC: case OP_STAC:
    case OP_MONITOR: case OP_MWAIT: case OP_XGETBV: case OP_XSETBV: case OP_RDFSBASE:
    case OP_RDGSBASE: case OP_WRFSBASE: case OP_WRGSBASE: case OP_RDPID:
    case OP_NOP: case OP_PAUSE: case OP_PREFETCH: case OP_CLFLUSH: case OP_CLFLUSHOPT: case OP_CLWB:
    case OP_LFENCE: case OP_MFENCE: case OP_SFENCE:
    case OP_FXSAVE: case OP_FXRSTOR: case OP_XSAVE: case OP_XSAVEOPT: case OP_XSAVEC:
    case OP_XRSTOR: case OP_LDMXCSR: case OP_STMXCSR: case OP_FWAIT: case OP_MMX: case OP_VZERO:
    case OP_VMASKMOV: case OP_MASKMOV: case OP_VGATHER:
        set(fl, 0, 0, 0);
        return;
    case OP_VEC: set(fl, 0, in->flags & INSN_WRITES_FLAGS ? ALL : 0, 0); return;
    case OP_X87: x87(in, fl); return;

    /* arithmetic */
    case OP_ADD: case OP_OR: case OP_AND: case OP_SUB: case OP_XOR: case OP_CMP: case OP_TEST:
    case OP_NEG: case OP_MUL: case OP_IMUL1: case OP_IMUL2: case OP_DIV: case OP_IDIV:
    case OP_BSF: case OP_BSR: case OP_TZCNT: case OP_LZCNT: case OP_POPCNT: case OP_CMPXCHG:
    case OP_XADD: case OP_ANDN: case OP_BEXTR: case OP_BLSI: case OP_BLSMSK: case OP_BLSR:
    case OP_BZHI: case OP_RDRAND: case OP_RDSEED:
        set(fl, 0, ALL, 0);
        return;
    case OP_ADC: case OP_SBB: set(fl, C, ALL, 0); return;
    case OP_INC: case OP_DEC: set(fl, 0, ALL & ~C, 0); return;
    case OP_ROL: case OP_ROR: case OP_RCL: case OP_RCR: case OP_SHL: case OP_SHR: case OP_SAR:
    case OP_SHLD: case OP_SHRD:
        shift(in, fl);
        return;
    case OP_BT: case OP_BTS: case OP_BTR: case OP_BTC: set(fl, 0, C, 0); return;
    case OP_CMPXCHG8B: case OP_CMPXCHG16B: set(fl, 0, Z, 0); return;
    case OP_ADCX: set(fl, C, C, 0); return;
    case OP_ADOX: set(fl, O, O, 0); return;
    case OP_CMPS: case OP_SCAS: /* repeated no times they compare nothing */
        set(fl, 0, in->rep == REP_NONE ? ALL : 0, ALL);
        return;

    /* flags as such */
    case OP_CMOV: case OP_SETCC: case OP_JCC: set(fl, condition(in->cc), 0, 0); return;
    case OP_LOOPE: case OP_LOOPNE: set(fl, Z, 0, 0); return;
    case OP_LAHF: set(fl, ALL & ~O, 0, 0); return;
    case OP_SAHF: set(fl, 0, ALL & ~O, 0); return;
    case OP_CLC: case OP_STC: set(fl, 0, C, 0); return;
    case OP_CMC: set(fl, C, C, 0); return;
    case OP_PUSHF: set(fl, ALL, 0, 0); return;
    case OP_POPF: case OP_IRET: case OP_SYSRET: set(fl, 0, ALL, 0); return;
    case OP_SYSCALL: set(fl, ALL, ALL, 0); return; /* R11 gets them, FMASK clears them */

    case OP_LAR: case OP_LSL: case OP_VERR: case OP_VERW: set(fl, 0, Z, 0); return;
    default: set(fl, ALL, 0, ALL); return; /* INT and the like push them */
    }
}
