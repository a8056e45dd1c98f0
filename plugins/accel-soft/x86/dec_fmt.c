/*
 * dec_fmt.c: a decoded instruction as text in Intel syntax, for traces and test messages. Vector,
 * MMX and x87 instructions are named by their encoding (vec.66.0f38.1c): a full mnemonic table
 * would be longer than the decoder.
 */
#include "dec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static const char *const op_names[OP_COUNT] = {
    [OP_UD] = "(undefined)", [OP_MOV] = "mov", [OP_MOVZX] = "movzx", [OP_MOVSX] = "movsx",
    [OP_LEA] = "lea", [OP_XCHG] = "xchg", [OP_PUSH] = "push", [OP_POP] = "pop",
    [OP_PUSHA] = "pusha", [OP_POPA] = "popa", [OP_PUSHF] = "pushf", [OP_POPF] = "popf",
    [OP_LAHF] = "lahf", [OP_SAHF] = "sahf", [OP_BSWAP] = "bswap", [OP_CMOV] = "cmov",
    [OP_SETCC] = "set", [OP_XLAT] = "xlat", [OP_CBW] = "cbw", [OP_CWD] = "cwd",
    [OP_MOVBE] = "movbe", [OP_MOVNTI] = "movnti", [OP_MOV_FROM_SEG] = "mov",
    [OP_MOV_TO_SEG] = "mov", [OP_LOADFAR] = "l", [OP_PUSH_SEG] = "push", [OP_POP_SEG] = "pop",
    [OP_ADD] = "add", [OP_OR] = "or", [OP_ADC] = "adc", [OP_SBB] = "sbb", [OP_AND] = "and",
    [OP_SUB] = "sub", [OP_XOR] = "xor", [OP_CMP] = "cmp", [OP_TEST] = "test", [OP_INC] = "inc",
    [OP_DEC] = "dec", [OP_NEG] = "neg", [OP_NOT] = "not", [OP_MUL] = "mul", [OP_IMUL1] = "imul",
    [OP_IMUL2] = "imul", [OP_DIV] = "div", [OP_IDIV] = "idiv", [OP_AAA] = "aaa", [OP_AAS] = "aas",
    [OP_AAM] = "aam", [OP_AAD] = "aad", [OP_DAA] = "daa", [OP_DAS] = "das", [OP_SALC] = "salc",
    [OP_ROL] = "rol", [OP_ROR] = "ror", [OP_RCL] = "rcl", [OP_RCR] = "rcr", [OP_SHL] = "shl",
    [OP_SHR] = "shr", [OP_SAR] = "sar", [OP_SHLD] = "shld", [OP_SHRD] = "shrd", [OP_BT] = "bt",
    [OP_BTS] = "bts", [OP_BTR] = "btr", [OP_BTC] = "btc", [OP_BSF] = "bsf", [OP_BSR] = "bsr",
    [OP_TZCNT] = "tzcnt", [OP_LZCNT] = "lzcnt", [OP_POPCNT] = "popcnt", [OP_CRC32] = "crc32",
    [OP_CMPXCHG] = "cmpxchg", [OP_CMPXCHG8B] = "cmpxchg8b", [OP_CMPXCHG16B] = "cmpxchg16b",
    [OP_XADD] = "xadd", [OP_ANDN] = "andn", [OP_BEXTR] = "bextr", [OP_BLSI] = "blsi",
    [OP_BLSMSK] = "blsmsk", [OP_BLSR] = "blsr", [OP_BZHI] = "bzhi", [OP_MULX] = "mulx",
    [OP_PDEP] = "pdep", [OP_PEXT] = "pext", [OP_RORX] = "rorx", [OP_SARX] = "sarx",
    [OP_SHLX] = "shlx", [OP_SHRX] = "shrx", [OP_ADCX] = "adcx", [OP_ADOX] = "adox",
    [OP_MOVS] = "movs", [OP_CMPS] = "cmps", [OP_SCAS] = "scas", [OP_LODS] = "lods",
    [OP_STOS] = "stos", [OP_INS] = "ins", [OP_OUTS] = "outs", [OP_JMP_REL] = "jmp", [OP_JCC] = "j",
    [OP_CALL_REL] = "call", [OP_RET] = "ret", [OP_JMP_IND] = "jmp", [OP_CALL_IND] = "call",
    [OP_JMP_FAR] = "jmp far", [OP_CALL_FAR] = "call far", [OP_RETF] = "retf", [OP_LOOP] = "loop",
    [OP_LOOPE] = "loope", [OP_LOOPNE] = "loopne", [OP_JCXZ] = "jcxz", [OP_INT] = "int",
    [OP_INT3] = "int3", [OP_INT1] = "int1", [OP_INTO] = "into", [OP_IRET] = "iret",
    [OP_BOUND] = "bound", [OP_ENTER] = "enter", [OP_LEAVE] = "leave", [OP_CLC] = "clc",
    [OP_STC] = "stc", [OP_CMC] = "cmc", [OP_CLD] = "cld", [OP_STD] = "std", [OP_CLI] = "cli",
    [OP_STI] = "sti", [OP_IN] = "in", [OP_OUT] = "out", [OP_HLT] = "hlt", [OP_CLTS] = "clts",
    [OP_LGDT] = "lgdt", [OP_SGDT] = "sgdt", [OP_LIDT] = "lidt", [OP_SIDT] = "sidt",
    [OP_LLDT] = "lldt", [OP_SLDT] = "sldt", [OP_LTR] = "ltr", [OP_STR] = "str", [OP_LMSW] = "lmsw",
    [OP_SMSW] = "smsw", [OP_LAR] = "lar", [OP_LSL] = "lsl", [OP_VERR] = "verr", [OP_VERW] = "verw",
    [OP_ARPL] = "arpl", [OP_INVLPG] = "invlpg", [OP_INVPCID] = "invpcid", [OP_INVD] = "invd",
    [OP_WBINVD] = "wbinvd", [OP_MOV_FROM_CR] = "mov", [OP_MOV_TO_CR] = "mov",
    [OP_MOV_FROM_DR] = "mov", [OP_MOV_TO_DR] = "mov", [OP_RDMSR] = "rdmsr", [OP_WRMSR] = "wrmsr",
    [OP_RDTSC] = "rdtsc", [OP_RDTSCP] = "rdtscp", [OP_RDPMC] = "rdpmc", [OP_CPUID] = "cpuid",
    [OP_SYSCALL] = "syscall", [OP_SYSRET] = "sysret", [OP_SYSENTER] = "sysenter",
    [OP_SYSEXIT] = "sysexit", [OP_SWAPGS] = "swapgs", [OP_CLAC] = "clac", [OP_STAC] = "stac",
    [OP_MONITOR] = "monitor", [OP_MWAIT] = "mwait", [OP_XGETBV] = "xgetbv", [OP_XSETBV] = "xsetbv",
    [OP_RDFSBASE] = "rdfsbase", [OP_RDGSBASE] = "rdgsbase", [OP_WRFSBASE] = "wrfsbase",
    [OP_WRGSBASE] = "wrgsbase", [OP_RDPID] = "rdpid", [OP_RDRAND] = "rdrand",
    [OP_RDSEED] = "rdseed", [OP_VMCALL] = "vmcall", [OP_VMMCALL] = "vmmcall", [OP_RSM] = "rsm",
    [OP_NOP] = "nop", [OP_PAUSE] = "pause", [OP_PREFETCH] = "prefetch", [OP_CLFLUSH] = "clflush",
    [OP_CLFLUSHOPT] = "clflushopt", [OP_CLWB] = "clwb", [OP_LFENCE] = "lfence",
    [OP_MFENCE] = "mfence", [OP_SFENCE] = "sfence", [OP_FXSAVE] = "fxsave",
    [OP_FXRSTOR] = "fxrstor", [OP_XSAVE] = "xsave", [OP_XSAVEOPT] = "xsaveopt",
    [OP_XSAVEC] = "xsavec", [OP_XRSTOR] = "xrstor", [OP_LDMXCSR] = "ldmxcsr",
    [OP_STMXCSR] = "stmxcsr", [OP_FWAIT] = "fwait", [OP_X87] = "x87", [OP_MMX] = "mmx",
    [OP_VEC] = "vec", [OP_VZERO] = "vzero", [OP_VMASKMOV] = "vmaskmov", [OP_MASKMOV] = "maskmov",
    [OP_VGATHER] = "vgather",
};

struct text {
    char *buf;
    unsigned len, used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (t->used >= t->len)
        return;
    va_start(ap, fmt);
    n = vsnprintf(t->buf + t->used, t->len - t->used, fmt, ap);
    va_end(ap);
    t->used = n < 0 || (unsigned)n >= t->len - t->used ? t->len : t->used + (unsigned)n;
}

static void put_gpr(struct text *t, unsigned reg, unsigned size, bool high)
{
    static const char names[8][3] = { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di" };
    static const char low[8][4] = { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil" };

    if (reg >= 8)
        put(t, "r%u%s", reg, size == 8 ? "" : size == 4 ? "d" : size == 2 ? "w" : "b");
    else if (size == 1 && high)
        put(t, "%ch", "acdb"[reg & 3]);
    else if (size == 1)
        put(t, "%s", low[reg]);
    else
        put(t, "%s%s", size == 8 ? "r" : size == 4 ? "e" : "", names[reg]);
}

static void put_hex(struct text *t, int64_t val, bool sign)
{
    if (val < 0)
        put(t, "-0x%" PRIx64, 0 - (uint64_t)val);
    else
        put(t, "%s0x%" PRIx64, sign ? "+" : "", (uint64_t)val);
}

static const char seg_names[8][4] = { "es", "cs", "ss", "ds", "fs", "gs", "?6", "?7" };

static void put_memory(struct text *t, const struct x86_insn *in, const struct x86_operand *o,
                       uint64_t next)
{
    bool first = true;

    switch (o->size) {
    case 1: put(t, "byte "); break;
    case 2: put(t, "word "); break;
    case 4: put(t, "dword "); break;
    case 6: put(t, "fword "); break;
    case 8: put(t, "qword "); break;
    case 10: put(t, "tbyte "); break;
    case 16: put(t, "xmmword "); break;
    case 32: put(t, "ymmword "); break;
    default: break;
    }
    if (in->flags & INSN_SEG_PREFIX)
        put(t, "%s:", seg_names[in->seg & 7]);
    put(t, "[");
    if (in->base == REG_RIP) {
        put(t, "0x%" PRIx64 "]", next + (uint64_t)in->disp);
        return;
    }
    if (in->base != REG_NONE) {
        put_gpr(t, in->base, in->addrsize, false);
        first = false;
    }
    if (in->index != REG_NONE) {
        put(t, "%s", first ? "" : "+");
        if (in->op == OP_VGATHER)
            put(t, "xmm%u", in->index);
        else
            put_gpr(t, in->index, in->addrsize, false);
        if (in->scale > 1)
            put(t, "*%u", in->scale);
        first = false;
    }
    if (first || in->disp)
        put_hex(t, in->disp, !first);
    put(t, "]");
}

static void put_operand(struct text *t, const struct x86_insn *in, const struct x86_operand *o,
                        uint64_t next)
{
    switch (o->kind) {
    case OPND_GPR: put_gpr(t, o->reg, o->size, o->high); break;
    case OPND_MEM: put_memory(t, in, o, next); break;
    case OPND_IMM:
        if (in->op == OP_JMP_FAR || in->op == OP_CALL_FAR)
            put(t, "0x%" PRIx64 ":0x%" PRIx64, in->imm2, in->imm);
        else if (in->op == OP_JMP_REL || in->op == OP_CALL_REL || in->op == OP_JCC ||
                 (in->op >= OP_LOOP && in->op <= OP_JCXZ))
            put(t, "0x%" PRIx64, next + in->imm);
        else
            put_hex(t, (int64_t)in->imm, false);
        break;
    case OPND_SEG: put(t, "%s", seg_names[o->reg & 7]); break;
    case OPND_CR: put(t, "cr%u", o->reg); break;
    case OPND_DR: put(t, "dr%u", o->reg); break;
    case OPND_ST: put(t, "st%u", o->reg); break;
    case OPND_MM: put(t, "mm%u", o->reg); break;
    case OPND_XMM: put(t, "%cmm%u", o->size == 32 ? 'y' : 'x', o->reg); break;
    default: put(t, "?"); break;
    }
}

static void put_name(struct text *t, const struct x86_insn *in)
{
    static const char cc[16][4] = { "o", "no", "b", "ae", "e", "ne", "be", "a",
                                    "s", "ns", "p", "np", "l", "ge", "le", "g" };
    static const char map[4][5] = { "", "0f.", "0f38", "0f3a" };

    if (in->flags & INSN_LOCK)
        put(t, "lock ");
    if (in->rep)
        put(t, in->rep == REP_REPNE ? "repne " : "rep ");
    put(t, "%s", x86_op_name((enum x86_op)in->op));
    switch (in->op) {
    case OP_JCC: case OP_SETCC: case OP_CMOV: put(t, "%s", cc[in->cc & 15]); break;
    case OP_LOADFAR: put(t, "%s", seg_names[in->opnd[2].reg & 7]); break;
    case OP_MOVS: case OP_CMPS: case OP_SCAS: case OP_LODS: case OP_STOS: case OP_INS: case OP_OUTS:
        put(t, "%c", in->opsize == 1 ? 'b' : in->opsize == 2 ? 'w' : in->opsize == 4 ? 'd' : 'q');
        break;
    case OP_X87: put(t, ".%02x.%02x", in->opcode, in->modrm); break;
    case OP_VEC: case OP_MMX: case OP_VZERO: case OP_VMASKMOV: case OP_MASKMOV: case OP_VGATHER:
        put(t, "%s", in->flags & INSN_VEX ? ".vex" : "");
        if (in->pp)
            put(t, ".%02x", in->pp);
        put(t, ".%.4s%s%02x", map[in->map & 3], in->map >= 2 ? "." : "", in->opcode);
        break;
    default: break;
    }
}

const char *x86_format(const struct x86_insn *in, uint64_t rip, char *buf, unsigned len)
{
    struct text t = { .buf = buf, .len = len };

    if (len)
        buf[0] = 0;
    put_name(&t, in);
    /* the segment register of LDS and its like is in the name */
    for (unsigned i = 0; i < (in->op == OP_LOADFAR ? 2u : in->operands) && i < 4; i++) {
        put(&t, i ? ", " : " ");
        put_operand(&t, in, &in->opnd[i], rip + in->len);
    }
    if (in->op == OP_ENTER)
        put(&t, ", 0x%" PRIx64, in->imm2);
    return buf;
}

const char *x86_op_name(enum x86_op op)
{
    return (unsigned)op < OP_COUNT ? op_names[op] : "?";
}
