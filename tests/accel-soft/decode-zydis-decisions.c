/*
 * decode-zydis-decisions.c: which CPUID features correspond, and where the decoder and Zydis 4.0
 * differ on purpose, each with the reason.
 */
#include "decode-zydis.h"

/* Extensions that no CPU model offers: undefined here, decoded by Zydis. */
bool not_offered(const ZydisDecodedInstruction *z)
{
    switch (z->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_EVEX:
    case ZYDIS_INSTRUCTION_ENCODING_MVEX:
    case ZYDIS_INSTRUCTION_ENCODING_XOP:
    case ZYDIS_INSTRUCTION_ENCODING_3DNOW: return true;
    default: break;
    }
    switch (z->meta.isa_ext) {
    case ZYDIS_ISA_EXT_AMD3DNOW: case ZYDIS_ISA_EXT_AMD_INVLPGB: case ZYDIS_ISA_EXT_AMX_BF16:
    case ZYDIS_ISA_EXT_AMX_INT8: case ZYDIS_ISA_EXT_AMX_TILE: case ZYDIS_ISA_EXT_AVX512EVEX:
    case ZYDIS_ISA_EXT_AVX512VEX: case ZYDIS_ISA_EXT_AVX_VNNI: case ZYDIS_ISA_EXT_CET:
    case ZYDIS_ISA_EXT_CLDEMOTE: case ZYDIS_ISA_EXT_CLZERO: case ZYDIS_ISA_EXT_ENQCMD:
    case ZYDIS_ISA_EXT_FMA4: case ZYDIS_ISA_EXT_HRESET: case ZYDIS_ISA_EXT_KEYLOCKER:
    case ZYDIS_ISA_EXT_KEYLOCKER_WIDE: case ZYDIS_ISA_EXT_KNC: case ZYDIS_ISA_EXT_KNCE:
    case ZYDIS_ISA_EXT_KNCV: case ZYDIS_ISA_EXT_MCOMMIT: case ZYDIS_ISA_EXT_MONITORX:
    case ZYDIS_ISA_EXT_MOVDIR: case ZYDIS_ISA_EXT_MPX: case ZYDIS_ISA_EXT_PADLOCK:
    case ZYDIS_ISA_EXT_PCONFIG: case ZYDIS_ISA_EXT_PKU: case ZYDIS_ISA_EXT_PT:
    case ZYDIS_ISA_EXT_RDPRU: case ZYDIS_ISA_EXT_RTM: case ZYDIS_ISA_EXT_SERIALIZE:
    case ZYDIS_ISA_EXT_SGX: case ZYDIS_ISA_EXT_SGX_ENCLV: case ZYDIS_ISA_EXT_SMX:
    case ZYDIS_ISA_EXT_SNP: case ZYDIS_ISA_EXT_SSE4A: case ZYDIS_ISA_EXT_TDX:
    case ZYDIS_ISA_EXT_TSX_LDTRK: case ZYDIS_ISA_EXT_UINTR: case ZYDIS_ISA_EXT_VMFUNC:
    case ZYDIS_ISA_EXT_WAITPKG: case ZYDIS_ISA_EXT_XSAVES: return true;
    case ZYDIS_ISA_EXT_SVM: return z->mnemonic != ZYDIS_MNEMONIC_VMMCALL;
    case ZYDIS_ISA_EXT_VTX: return z->mnemonic != ZYDIS_MNEMONIC_VMCALL;
    default: break;
    }
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_VPERMIL2PS: case ZYDIS_MNEMONIC_VPERMIL2PD: /* XOP */
    case ZYDIS_MNEMONIC_UD0: case ZYDIS_MNEMONIC_UD1: case ZYDIS_MNEMONIC_UD2: return true;
    default: return false;
    }
}

static bool is(const struct pair *p, enum x86_op first, enum x86_op last)
{
    return p->ours_ok && p->in.op >= first && p->in.op <= last;
}

static bool far_load(const struct pair *p)
{
    return is(p, OP_LOADFAR, OP_LOADFAR);
}

static bool enter(const struct pair *p)
{
    return is(p, OP_ENTER, OP_ENTER);
}

static bool hint(const struct pair *p)
{
    return is(p, OP_NOP, OP_PREFETCH) && p->z.meta.isa_set != ZYDIS_ISA_SET_INVALID;
}

static bool invlpg(const struct pair *p)
{
    return is(p, OP_INVLPG, OP_INVLPG);
}

static bool cache_line(const struct pair *p)
{
    return is(p, OP_CLFLUSH, OP_CLWB);
}

static bool x87_register(const struct pair *p)
{
    return is(p, OP_X87, OP_X87) && p->in.modrm >= 0xc0;
}

static bool vex_opsize(const struct pair *p)
{
    return p->in.flags & INSN_VEX;
}

/* CMOV with false condition, LAR and LSL that fail, BSF and BSR of 0 */
static bool may_keep(const struct pair *p)
{
    return is(p, OP_CMOV, OP_CMOV) || is(p, OP_BSF, OP_BSR) || is(p, OP_LAR, OP_LSL);
}

/* Instructions that write a part of the destination register, legacy encoding. */
static bool merges(const struct pair *p)
{
    if (!(is(p, OP_MMX, OP_VEC)) || p->in.flags & INSN_VEX || p->in.opnd[0].kind != OPND_XMM)
        return false;
    switch (p->z.mnemonic) {
    case ZYDIS_MNEMONIC_MOVLPS: case ZYDIS_MNEMONIC_MOVHPS: case ZYDIS_MNEMONIC_MOVLPD:
    case ZYDIS_MNEMONIC_MOVHPD: case ZYDIS_MNEMONIC_MOVHLPS: case ZYDIS_MNEMONIC_MOVLHPS:
    case ZYDIS_MNEMONIC_CVTPI2PS: case ZYDIS_MNEMONIC_ROUNDSS: case ZYDIS_MNEMONIC_ROUNDSD:
    case ZYDIS_MNEMONIC_SQRTSS: case ZYDIS_MNEMONIC_SQRTSD: case ZYDIS_MNEMONIC_RCPSS:
    case ZYDIS_MNEMONIC_RSQRTSS: case ZYDIS_MNEMONIC_CVTSD2SS: case ZYDIS_MNEMONIC_CVTSS2SD:
    case ZYDIS_MNEMONIC_CVTSI2SS: case ZYDIS_MNEMONIC_CVTSI2SD: return true;
    case ZYDIS_MNEMONIC_MOVSS: case ZYDIS_MNEMONIC_MOVSD: return p->in.modrm >= 0xc0;
    default: return false;
    }
}

static bool xsave(const struct pair *p)
{
    return is(p, OP_XSAVE, OP_XSAVEC);
}

static bool zero_extended(const struct pair *p)
{
    return is(p, OP_MMX, OP_VEC) && p->in.opnd[0].kind == OPND_GPR && p->in.opnd[0].size == 4 &&
           p->in.rex & 8;
}

static bool segment_limit(const struct pair *p)
{
    return is(p, OP_LSL, OP_LSL) && p->in.modrm >= 0xc0;
}

static bool pause_rex(const struct pair *p)
{
    return p->theirs_ok && p->z.mnemonic == ZYDIS_MNEMONIC_PAUSE && is(p, OP_XCHG, OP_XCHG);
}

static bool r13_base(const struct pair *p)
{
    return p->bits == 64 && p->in.addrsize == 4 && p->z.raw.rex.B && (p->in.modrm & 7) == 4 &&
           p->in.modrm < 0x40 && p->in.base == REG_NONE;
}

static bool privilege(const struct pair *p)
{
    return is(p, OP_LGDT, OP_LGDT) || is(p, OP_MONITOR, OP_MWAIT) || is(p, OP_CLAC, OP_STAC);
}

static bool port_string(const struct pair *p)
{
    return is(p, OP_INS, OP_OUTS);
}

static bool movsxd(const struct pair *p)
{
    return is(p, OP_MOVSX, OP_MOVSX) && p->in.map == 0 && p->in.opsize == 2;
}

static bool no_operand_size(const struct pair *p)
{
    return is(p, OP_SYSCALL, OP_SYSCALL) || is(p, OP_CLFLUSH, OP_CLWB);
}

static bool unaligned(const struct pair *p)
{
    switch (p->z.mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU: case ZYDIS_MNEMONIC_PCMPESTRI: case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI: case ZYDIS_MNEMONIC_PCMPISTRM: return true;
    default: return false;
    }
}

static bool mmx_conversion(const struct pair *p)
{
    return is(p, OP_MMX, OP_MMX) && p->in.map == 1 && p->in.opcode >= 0x2a && p->in.opcode <= 0x2d;
}

const struct decision decisions[DECISIONS] = {
    { OPSIZE, port_string, "INS, OUTS: elements have at most 4 bytes, with REX.W too" },
    { SIZE, movsxd, "MOVSXD r16 reads 16 bits (SDM volume 2)" },
    { OPSIZE, no_operand_size, "no operand that has a size" },
    { COUNT, far_load, "the segment register is an operand here, hidden in Zydis" },
    { COUNT, enter, "the nesting level is imm2 here" },
    { COUNT, hint, "hint NOPs: the register in ModRM.reg is nothing" },
    { ACTION, hint, "hint NOPs and prefetches do not access their operand" },
    { REGISTER, hint, "hint NOPs: Zydis puts ModRM.reg first" },
    { OPSIZE, hint, "hint NOPs: operand size without meaning" },
    { ACTION, invlpg, "INVLPG uses the address only" },
    { OPSIZE, invlpg, "INVLPG has no operand size" },
    { SIZE, cache_line, "one byte stands for the line: access checks are those of a byte load" },
    { COUNT, x87_register, "x87: ST(0) is always named here, a hidden operand in Zydis" },
    { ACTION, x87_register, "x87: see above; conditional moves keep ST(0)" },
    { OPSIZE, vex_opsize, "VEX has no operand-size prefix; Zydis reports the mode's default" },
    { ACTION, may_keep, "the destination may keep its value, so it is read" },
    { ACTION, merges, "the other part of the register is kept, so it is read" },
    { ACTION, xsave, "the area's header is read by the engine, not as an operand" },
    { SIZE, zero_extended, "a 4-byte result is zero extended: REX.W changes nothing" },
    { SIZE, segment_limit, "LSL reads a selector: Zydis keeps a doubleword with REX.W" },
    { COUNT, pause_rex, "F3 41 90 exchanges R8 and RAX (measured on Zen 4)" },
    { MEMORY, r13_base, "Zydis 4.0: SIB base 101b without ModRM.mod means none for R13D too" },
    { ALIGNMENT, unaligned, "class 4 with the SDM's footnote: unaligned allowed" },
    { ALIGNMENT, mmx_conversion, "Zydis has no class for CVTPD2PI: aligned (SDM volume 3, 23.25)" },
    { FLOATING, mmx_conversion, "Zydis has no class for conversions from and to MMX" },
    { PRIVILEGE, privilege, "LGDT: CPL 0 (SDM). MONITOR, MWAIT, CLAC, STAC: #UD, not #GP" },
};

/* Which of our features an instruction of Zydis' class may need. */
bool feature_agrees(const struct pair *p)
{
    static const struct {
        uint16_t set;
        uint8_t feature[4];
    } map[] = {
        { ZYDIS_ISA_SET_ADOX_ADCX, { FEAT_ADX } },
        { ZYDIS_ISA_SET_AES, { FEAT_AES } },
        { ZYDIS_ISA_SET_AVX, { FEAT_AVX, FEAT_PCLMUL } }, /* VPCLMULQDQ xmm */
        { ZYDIS_ISA_SET_AVX2, { FEAT_AVX2 } },
        { ZYDIS_ISA_SET_AVX2GATHER, { FEAT_AVX2 } },
        { ZYDIS_ISA_SET_AVXAES, { FEAT_AES, FEAT_AVX } },
        { ZYDIS_ISA_SET_AVX_GFNI, { FEAT_GFNI } },
        { ZYDIS_ISA_SET_BMI1, { FEAT_BMI1 } },
        { ZYDIS_ISA_SET_BMI2, { FEAT_BMI2 } },
        { ZYDIS_ISA_SET_CLFLUSHOPT, { FEAT_CLFLUSHOPT } },
        { ZYDIS_ISA_SET_CLFSH, { FEAT_CLFLUSH } },
        { ZYDIS_ISA_SET_CLWB, { FEAT_CLWB } },
        { ZYDIS_ISA_SET_CMOV, { FEAT_CMOV } },
        { ZYDIS_ISA_SET_CMPXCHG16B, { FEAT_CX16 } },
        { ZYDIS_ISA_SET_F16C, { FEAT_F16C } },
        { ZYDIS_ISA_SET_FCMOV, { FEAT_CMOV } },
        { ZYDIS_ISA_SET_FMA, { FEAT_FMA } },
        { ZYDIS_ISA_SET_FXSAVE, { FEAT_FXSR } },
        { ZYDIS_ISA_SET_FXSAVE64, { FEAT_FXSR } },
        { ZYDIS_ISA_SET_GFNI, { FEAT_GFNI } },
        { ZYDIS_ISA_SET_INVPCID, { FEAT_INVPCID } },
        { ZYDIS_ISA_SET_LAHF, { FEAT_LAHF64 } },
        { ZYDIS_ISA_SET_LZCNT, { FEAT_LZCNT } },
        { ZYDIS_ISA_SET_MONITOR, { FEAT_MONITOR } },
        { ZYDIS_ISA_SET_MOVBE, { FEAT_MOVBE } },
        { ZYDIS_ISA_SET_PCLMULQDQ, { FEAT_PCLMUL } },
        { ZYDIS_ISA_SET_PENTIUMMMX, { FEAT_MMX, FEAT_SSE } },
        { ZYDIS_ISA_SET_PENTIUMREAL, { FEAT_TSC, FEAT_MSR, FEAT_CX8, FEAT_BASE } },
        { ZYDIS_ISA_SET_POPCNT, { FEAT_POPCNT } },
        { ZYDIS_ISA_SET_PPRO, { FEAT_SEP, FEAT_BASE, FEAT_CMOV } },
        { ZYDIS_ISA_SET_RDPID, { FEAT_RDPID } },
        { ZYDIS_ISA_SET_RDPMC, { FEAT_BASE } },
        { ZYDIS_ISA_SET_RDRAND, { FEAT_RDRAND } },
        { ZYDIS_ISA_SET_RDSEED, { FEAT_RDSEED } },
        { ZYDIS_ISA_SET_RDTSCP, { FEAT_RDTSCP } },
        { ZYDIS_ISA_SET_RDWRFSGS, { FEAT_FSGSBASE } },
        { ZYDIS_ISA_SET_SHA, { FEAT_SHA } },
        { ZYDIS_ISA_SET_SMAP, { FEAT_SMAP } },
        { ZYDIS_ISA_SET_SSE, { FEAT_SSE } },
        { ZYDIS_ISA_SET_SSE2, { FEAT_SSE2 } },
        { ZYDIS_ISA_SET_SSE2MMX, { FEAT_SSE2 } },
        { ZYDIS_ISA_SET_SSE3, { FEAT_SSE3 } },
        { ZYDIS_ISA_SET_SSE3X87, { FEAT_SSE3 } },
        { ZYDIS_ISA_SET_SSE4, { FEAT_SSE41 } },
        { ZYDIS_ISA_SET_SSE42, { FEAT_SSE42 } },
        { ZYDIS_ISA_SET_SSEMXCSR, { FEAT_SSE } },
        { ZYDIS_ISA_SET_SSE_PREFETCH, { FEAT_SSE } },
        { ZYDIS_ISA_SET_SSSE3, { FEAT_SSSE3 } },
        { ZYDIS_ISA_SET_SSSE3MMX, { FEAT_SSSE3 } },
        { ZYDIS_ISA_SET_VAES, { FEAT_VAES } },
        { ZYDIS_ISA_SET_VPCLMULQDQ, { FEAT_VPCLMUL } },
        { ZYDIS_ISA_SET_X87, { FEAT_FPU } },
        { ZYDIS_ISA_SET_XSAVE, { FEAT_XSAVE } },
        { ZYDIS_ISA_SET_XSAVEC, { FEAT_XSAVEC } },
        { ZYDIS_ISA_SET_XSAVEOPT, { FEAT_XSAVEOPT } },
        { ZYDIS_ISA_SET_PREFETCH_NOP, { FEAT_BASE, FEAT_PREFETCHW } },
        { ZYDIS_ISA_SET_PREFETCHWT1, { FEAT_PREFETCHW } },
        { ZYDIS_ISA_SET_LONGMODE, { FEAT_BASE, FEAT_SYSCALL } },
        { ZYDIS_ISA_SET_AMD, { FEAT_BASE, FEAT_SYSCALL } },
    };

    for (unsigned i = 0; i < sizeof map / sizeof *map; i++)
        if (map[i].set == p->z.meta.isa_set) {
            for (unsigned k = 0; k < 4; k++)
                if (map[i].feature[k] == p->in.feature && (k == 0 || map[i].feature[k] ||
                                                           map[i].feature[k - 1]))
                    return true;
            return false;
        }
    return p->in.feature == FEAT_BASE;
}
