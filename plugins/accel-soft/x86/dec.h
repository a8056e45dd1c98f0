/*
 * dec.h: the x86 decoder's output: what an instruction is, as data. No engine, no CPU state; the
 * interpreter, the rewriter and the tests all start from here.
 * References: Intel SDM volume 2 (chapter 2, appendix A); AMD64 APM volume 3.
 */
#ifndef SOFT_X86_DEC_H
#define SOFT_X86_DEC_H

#include <stdbool.h>
#include <stdint.h>

enum x86_op {
    OP_UD = 0, /* undefined: #UD */
    /* moves */
    OP_MOV, OP_MOVZX, OP_MOVSX, /* MOVSXD is OP_MOVSX with a 4-byte source */
    OP_LEA, OP_XCHG, OP_PUSH, OP_POP, OP_PUSHA, OP_POPA, OP_PUSHF, OP_POPF, OP_LAHF, OP_SAHF,
    OP_BSWAP, OP_CMOV, OP_SETCC, OP_XLAT, /* XLAT: no operands; seg as for strings */
    OP_CBW, /* CBW CWDE CDQE by opsize */
    OP_CWD, /* CWD CDQ CQO by opsize */
    OP_MOVBE, OP_MOVNTI, OP_MOV_FROM_SEG, OP_MOV_TO_SEG,
    OP_LOADFAR, /* LES LDS LSS LFS LGS: opnd 0 gpr, opnd 1 mem, opnd 2 seg */
    OP_PUSH_SEG, OP_POP_SEG,
    /* arithmetic */
    OP_ADD, OP_OR, OP_ADC, OP_SBB, OP_AND, OP_SUB, OP_XOR, OP_CMP, OP_TEST, OP_INC, OP_DEC, OP_NEG,
    OP_NOT, OP_MUL, OP_IMUL1, OP_IMUL2, /* IMUL2: 2 operands, or 3 with an immediate */
    OP_DIV, OP_IDIV, OP_AAA, OP_AAS, OP_AAM, OP_AAD, OP_DAA, OP_DAS, OP_SALC,
    OP_ROL, OP_ROR, OP_RCL, OP_RCR, OP_SHL, OP_SHR, OP_SAR, OP_SHLD, OP_SHRD,
    OP_BT, OP_BTS, OP_BTR, OP_BTC, OP_BSF, OP_BSR, OP_TZCNT, OP_LZCNT, OP_POPCNT, OP_CRC32,
    OP_CMPXCHG, OP_CMPXCHG8B, OP_CMPXCHG16B, OP_XADD,
    OP_ANDN, OP_BEXTR, OP_BLSI, OP_BLSMSK, OP_BLSR, OP_BZHI, OP_MULX, OP_PDEP, OP_PEXT, OP_RORX,
    OP_SARX, OP_SHLX, OP_SHRX, OP_ADCX, OP_ADOX,
    /* strings: opsize is the element (at most 4 for INS and OUTS); rep prefixes in `rep`; no
       operands: seg is the segment of the rSI side, the rDI side is always ES */
    OP_MOVS, OP_CMPS, OP_SCAS, OP_LODS, OP_STOS, OP_INS, OP_OUTS,
    /* flow: relative targets in imm (sign extended, relative to the next instruction) */
    OP_JMP_REL, OP_JCC, OP_CALL_REL, OP_RET, /* RET: imm is the bytes to drop */
    OP_JMP_IND, OP_CALL_IND, OP_JMP_FAR, OP_CALL_FAR, /* FAR: mem operand, or ptr: imm, imm2 */
    OP_RETF, OP_LOOP, OP_LOOPE, OP_LOOPNE, OP_JCXZ, OP_INT, OP_INT3, OP_INT1, OP_INTO, OP_IRET,
    OP_BOUND, OP_ENTER, OP_LEAVE,
    OP_CLC, OP_STC, OP_CMC, OP_CLD, OP_STD, OP_CLI, OP_STI,
    OP_IN, OP_OUT, /* port: imm operand or DX (gpr 2, size 2) */
    /* system */
    OP_HLT, OP_CLTS, OP_LGDT, OP_SGDT, OP_LIDT, OP_SIDT, OP_LLDT, OP_SLDT, OP_LTR, OP_STR, OP_LMSW,
    OP_SMSW, OP_LAR, OP_LSL, OP_VERR, OP_VERW, OP_ARPL, OP_INVLPG, OP_INVPCID, OP_INVD, OP_WBINVD,
    OP_MOV_FROM_CR, OP_MOV_TO_CR, OP_MOV_FROM_DR, OP_MOV_TO_DR, OP_RDMSR, OP_WRMSR, OP_RDTSC,
    OP_RDTSCP, OP_RDPMC, OP_CPUID, OP_SYSCALL, OP_SYSRET, OP_SYSENTER, OP_SYSEXIT, OP_SWAPGS,
    OP_CLAC, OP_STAC, OP_MONITOR, OP_MWAIT, OP_XGETBV, OP_XSETBV, OP_RDFSBASE, OP_RDGSBASE,
    OP_WRFSBASE, OP_WRGSBASE, OP_RDPID, OP_RDRAND, OP_RDSEED, OP_VMCALL, OP_VMMCALL, OP_RSM,
    /* hints and caches */
    OP_NOP, OP_PAUSE, OP_PREFETCH, OP_CLFLUSH, OP_CLFLUSHOPT, OP_CLWB, OP_LFENCE, OP_MFENCE,
    OP_SFENCE,
    /* floating point and vector state */
    OP_FXSAVE, OP_FXRSTOR, OP_XSAVE, OP_XSAVEOPT, OP_XSAVEC, OP_XRSTOR, OP_LDMXCSR, OP_STMXCSR,
    OP_FWAIT,
    OP_X87,     /* any other x87 instruction (D8..DF) */
    OP_MMX,     /* works on MM registers (and perhaps XMM, GPR or memory); EMMS too */
    OP_VEC,     /* SSE or AVX: works on XMM/YMM registers, GPRs, one plain memory operand */
    OP_VZERO,   /* VZEROUPPER, VZEROALL (vex_l) */
    OP_VMASKMOV,/* VMASKMOVPS/PD, VPMASKMOVD/Q: masked lanes do not touch memory */
    OP_MASKMOV, /* MASKMOVQ, MASKMOVDQU: store at seg:rDI; seg is DS or the override */
    OP_VGATHER, /* VSIB: opnd 0 destination, opnd 1 memory (size: one element), opnd 2 mask; index
                   is a vector register. Opcode bit 0: qword indices; vex_w: qword elements */
    OP_COUNT
};

enum x86_operand_kind {
    OPND_NONE = 0,
    OPND_GPR,  /* reg 0..15; size 1 with `high`: AH CH DH BH are reg 0..3 */
    OPND_MEM,  /* the instruction's one memory operand */
    OPND_IMM,  /* insn.imm, already sign extended as the instruction wants */
    OPND_SEG, OPND_CR, OPND_DR, OPND_ST, OPND_MM, OPND_XMM, /* XMM: size 16 or 32 tells which */
};

enum { OPND_READ = 1, OPND_WRITE = 2 };

struct x86_operand {
    uint8_t kind, reg;
    uint8_t size;  /* bytes accessed: 1..64; FXSAVE/XSAVE areas: 0 */
    uint8_t rw : 2;
    uint8_t high : 1;
};

enum { SEG_ES = 0, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDT, SEG_TR, SEG_COUNT };
enum { REG_RAX = 0, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8,
       REG_NONE = 0xff, REG_RIP = 0xfe };

/*
 * Which CPUID feature an instruction needs; the CPU model turns the others into #UD. Exceptions:
 * TZCNT, LZCNT without their feature are BSF, BSR; PREFETCHW is a NOP. INSN_VEX needs more than the
 * feature: protected mode (not virtual-8086), and for vectors AVX enabled in CR4 and XCR0.
 */
enum x86_feature {
    FEAT_BASE = 0, FEAT_FPU, FEAT_MMX, FEAT_SSE, FEAT_SSE2, FEAT_SSE3, FEAT_SSSE3, FEAT_SSE41,
    FEAT_SSE42, FEAT_SSE4A, FEAT_POPCNT, FEAT_LZCNT, FEAT_AES, FEAT_PCLMUL, FEAT_SHA, FEAT_MOVBE,
    FEAT_CX8, FEAT_CX16, FEAT_CMOV, FEAT_SYSCALL, FEAT_SEP, FEAT_FXSR, FEAT_XSAVE, FEAT_XSAVEOPT,
    FEAT_XSAVEC, FEAT_AVX, FEAT_AVX2, FEAT_FMA, FEAT_F16C, FEAT_BMI1, FEAT_BMI2, FEAT_ADX,
    FEAT_RDRAND, FEAT_RDSEED, FEAT_FSGSBASE, FEAT_RDTSCP, FEAT_RDPID, FEAT_INVPCID, FEAT_SMAP,
    FEAT_CLFLUSH, FEAT_CLFLUSHOPT, FEAT_CLWB, FEAT_MONITOR, FEAT_PREFETCHW, FEAT_LAHF64, FEAT_VAES,
    FEAT_VPCLMUL, FEAT_GFNI, FEAT_TSC, FEAT_MSR, FEAT_PAT, FEAT_APIC, FEAT_COUNT
};

enum { REP_NONE = 0, REP_REP = 0xf3, REP_REPNE = 0xf2 };

/* insn.flags */
enum {
    INSN_LOCK = 1,        /* a LOCK prefix that the instruction allows */
    INSN_VEX = 2,         /* VEX encoded: upper halves are zeroed */
    INSN_ALIGNED = 4,     /* memory operand must be aligned to its size, else #GP(0) */
    INSN_RIP_REL = 8,     /* base is REG_RIP: relative to the next instruction */
    INSN_ENDS_BLOCK = 16, /* the next instruction may not be the following one, or state that
                             decoding depends on may change: jumps, far transfers, HLT, MOV CR */
    INSN_PRIV = 32,       /* CPL 0 only, else #GP(0) */
    INSN_SEG_PREFIX = 64, /* a segment override stood there */
    INSN_IMPLICIT_XMM0 = 128, /* reads (BLENDV, SHA) or writes (PCMPxSTRM) XMM0 besides operands */
    INSN_SUPPRESS_ERR = 256,
    INSN_WRITES_FLAGS = 512,  /* OP_VEC that sets RFLAGS: COMISD, PTEST, PCMPxSTRx */
    INSN_WRITES_RCX = 1024,   /* OP_VEC that writes ECX: PCMPxSTRI */
    INSN_FP = 2048,           /* OP_VEC that may raise SIMD floating-point exceptions (#XM) */
    INSN_READS_RAX_RDX = 4096, /* PCMPESTRx: explicit lengths in RAX and RDX */
};

struct x86_insn {
    uint16_t op;         /* enum x86_op */
    uint16_t flags;      /* INSN_... */
    uint8_t len;         /* 1..15 */
    uint8_t opsize;      /* effective operand size: 1, 2, 4, 8; not meaningful for vectors */
    uint8_t addrsize;    /* 2, 4, 8 */
    uint8_t rep;         /* REP_... where it means repetition */
    uint8_t cc;          /* condition of JCC SETCC CMOV */
    uint8_t feature;     /* enum x86_feature */
    uint8_t operands;    /* how many of opnd */
    /* the encoding, for the native thunks and the rewriter */
    uint8_t map;         /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode, modrm;
    uint8_t pp;          /* mandatory prefix: 0, 0x66, 0xf3, 0xf2 */
    uint8_t rex;         /* 0x40..0x4f, or 0 */
    uint8_t vex_l, vex_w, vex_v; /* VEX.L, VEX.W, VEX.vvvv (not inverted) */
    uint8_t opcode_off, modrm_off, imm_off, imm_len; /* offsets into the bytes; 0: none */
    uint8_t has_modrm;
    struct x86_operand opnd[4];
    /* the memory operand: seg:[base + index * scale + disp], address cut to addrsize */
    uint8_t seg, base, index, scale; /* 64-bit mode: seg is FS, GS, or the default DS or SS */
    int64_t disp;
    uint64_t imm, imm2;  /* imm2: ENTER's level, the selector of a far pointer, EXTRQ/INSERTQ */
};

/* What decoding depends on besides the bytes. */
struct x86_dec_mode {
    uint8_t bits;        /* 16, 32 or 64: the code segment's default */
};

enum x86_dec_result {
    DEC_OK = 0,
    DEC_UD = 1,    /* undefined instruction, UD0 to UD2 too; len is how far it was read */
    DEC_MORE = 2,  /* the bytes end inside the instruction */
    DEC_LONG = 3,  /* more than 15 bytes: #GP(0) */
};

/*
 * Decode one instruction of at most N bytes (15 are always enough). Depends on nothing but its
 * arguments; feature and privilege checks are the caller's.
 */
enum x86_dec_result x86_decode(const uint8_t *bytes, unsigned n, struct x86_dec_mode mode,
                               struct x86_insn *out);

/* Intel syntax, for traces and test messages; returns buf. */
const char *x86_format(const struct x86_insn *in, uint64_t rip, char *buf, unsigned len);
const char *x86_op_name(enum x86_op op);

#endif
