/*
 * fpu.c: x87, SSE and AVX state as data: reset, FXSAVE and XSAVE areas, MXCSR. Nothing here
 * computes; arithmetic is native.c's, environments are fpu_env.c's. SDM volume 1, 8, 10.5 and 13.
 *
 * FCS and FDS read as zero, as on processors that report CPUID.(7,0):EBX[13]. cpu->x87.mxcsr is not
 * the guest's: it holds the value that FXRSTOR leaves in the host's register.
 */
#include "fpu.h"
#include "native_int.h"

#include <string.h>

enum { FSW_ES = 0x80, FSW_TOP = 0x3800, FSW_B = 0x8000, FSW_EXC = 0x3f };
enum { LEGACY_XMM = 160, LEGACY_SAVED = 416 };

/* ES and B follow the unmasked exceptions (SDM volume 1, 8.1.3.3). */
static void update_es(struct x87_image *f)
{
    f->fsw &= (uint16_t)~(FSW_ES | FSW_B);
    if (f->fsw & ~f->fcw & FSW_EXC)
        f->fsw |= FSW_ES | FSW_B;
}

/* Reserved bits of the control word: bit 6 reads as one, the others as zero. */
void fpu_set_fcw(struct x87_image *f, uint16_t fcw)
{
    f->fcw = (uint16_t)((fcw & 0x1f3f) | 0x40);
    update_es(f);
}

void fpu_set_top(struct vcpu *cpu, unsigned top)
{
    struct x87_image *f = &cpu->x87;
    unsigned turn = (top - (f->fsw >> 11)) & 7;
    uint8_t st[8][16];
    if (!turn)
        return;
    memcpy(st, f->st, sizeof st);
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->st[i], st[(i + turn) & 7], 16);
    f->fsw = (uint16_t)((f->fsw & ~FSW_TOP) | top << 11);
}

void fpu_fninit(struct vcpu *cpu)
{
    struct x87_image *f = &cpu->x87;
    fpu_set_top(cpu, 0);
    f->fcw = FCW_INIT;
    f->fsw = 0;
    f->ftw = 0;
    f->fop = 0;
    f->fip = f->fdp = 0;
}

void fpu_reset(struct vcpu *cpu)
{
    memset(&cpu->x87, 0, sizeof cpu->x87);
    cpu->x87.fcw = 0x40;
    cpu->x87.ftw = 0xff;
    cpu->x87.mxcsr = MXCSR_INIT;
    cpu->x87.mxcsr_mask = MXCSR_MASK;
    cpu->mxcsr = MXCSR_INIT;
    memset(cpu->ymm, 0, sizeof cpu->ymm);
}

/* ---- FXSAVE and the legacy region of XSAVE --------------------------------------------------- */

/* wide: the layout with 64-bit pointers (REX.W). Fills bytes 0..23 and 32..159. */
static void put_x87(const struct vcpu *cpu, uint8_t *area, bool wide)
{
    struct x87_image f = cpu->x87;
    f.rsvd = 0;
    if (!wide) {
        f.fip = (uint32_t)f.fip;
        f.fdp = (uint32_t)f.fdp;
    }
    memcpy(area, &f, 24);
    memcpy(area + 32, f.st, sizeof f.st);
}

static void get_x87(struct vcpu *cpu, const uint8_t *area, bool wide)
{
    struct x87_image f = cpu->x87;
    memcpy(&f, area, 24);
    f.rsvd = 0;
    f.fop &= 0x7ff;
    if (!wide) {
        f.fip = (uint32_t)f.fip;
        f.fdp = (uint32_t)f.fdp;
    }
    for (unsigned i = 0; i < 8; i++) {
        memset(f.st[i], 0, 16);
        memcpy(f.st[i], area + 32 + 16 * i, 10);
    }
    fpu_set_fcw(&f, f.fcw);
    cpu->x87 = f;
}

static void put_mxcsr(const struct vcpu *cpu, uint8_t *area)
{
    const uint32_t v[2] = { cpu->mxcsr, MXCSR_MASK };
    memcpy(area + 24, v, 8);
}

static void put_xmm(const struct vcpu *cpu, uint8_t *area, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        memcpy(area + LEGACY_XMM + 16 * i, cpu->ymm[i], 16);
}

static void get_xmm(struct vcpu *cpu, const uint8_t *area, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        memcpy(cpu->ymm[i], area + LEGACY_XMM + 16 * i, 16);
}

uint64_t fpu_operand(struct vcpu *cpu, const struct x86_insn *in, unsigned len, unsigned align,
                     bool write)
{
    uint64_t ea = vec_ea(cpu, in);
    if (align == 64 && ((ea + vec_seg_base(cpu, in->seg)) & 63)) /* XSAVE: before not canonical */
        x86_raise_err(cpu, VEC_GP, 0);
    uint64_t linear = seg_linear(cpu, in->seg, ea, len, write);
    if (linear & (align - 1))
        x86_raise_err(cpu, VEC_GP, 0);
    return linear;
}

/* In 16 and 32-bit code only eight vector registers exist for the area instructions. */
static unsigned vectors(const struct vcpu *cpu)
{
    return cpu->code_bits == 64 ? 16 : 8;
}

void fpu_check(struct vcpu *cpu)
{
    if (cpu->cr0 & (CR0_EM | CR0_TS))
        x86_raise(cpu, VEC_NM);
}

static void fxsave(struct vcpu *cpu, const struct x86_insn *in)
{
    uint8_t area[LEGACY_SAVED];
    fpu_check(cpu);
    uint64_t linear = fpu_operand(cpu, in, 512, 16, true);
    memset(area, 0, sizeof area);
    put_x87(cpu, area, in->rex & 8);
    put_mxcsr(cpu, area);
    put_xmm(cpu, area, vectors(cpu));
    mem_probe_write(cpu, linear, 512);
    mem_write_bytes(cpu, linear, area, LEGACY_XMM + 16 * vectors(cpu));
}

static uint32_t area_mxcsr(struct vcpu *cpu, const uint8_t *area)
{
    uint32_t mxcsr;
    memcpy(&mxcsr, area + 24, 4);
    if (mxcsr & ~(uint32_t)MXCSR_MASK)
        x86_raise_err(cpu, VEC_GP, 0);
    return mxcsr;
}

static void fxrstor(struct vcpu *cpu, const struct x86_insn *in)
{
    uint8_t area[512];
    fpu_check(cpu);
    uint64_t linear = fpu_operand(cpu, in, sizeof area, 16, false);
    mem_read_bytes(cpu, linear, area, sizeof area);
    cpu->mxcsr = area_mxcsr(cpu, area);
    get_x87(cpu, area, in->rex & 8);
    get_xmm(cpu, area, vectors(cpu));
}

/* ---- XSAVE ----------------------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i])
            return false;
    return true;
}

/* Components that are not in their initial state (XINUSE, SDM volume 1, 13.6). */
static uint64_t in_use(const struct vcpu *cpu)
{
    const struct x87_image *f = &cpu->x87;
    uint64_t use = 0;
    if (f->fcw != FCW_INIT || f->fsw || f->ftw || f->fop || f->fip || f->fdp ||
        !all_zero(f->st[0], sizeof f->st))
        use |= XSTATE_X87;
    for (unsigned i = 0; i < 16; i++) {
        if (!all_zero(cpu->ymm[i], 16))
            use |= XSTATE_SSE;
        if (!all_zero(cpu->ymm[i] + 16, 16))
            use |= XSTATE_AVX;
    }
    return use;
}

static void check_xsave(struct vcpu *cpu)
{
    if (!(cpu->cr4 & CR4_OSXSAVE))
        x86_raise(cpu, VEC_UD);
    if (cpu->cr0 & CR0_TS)
        x86_raise(cpu, VEC_NM);
}

static uint64_t requested(const struct vcpu *cpu)
{
    uint64_t mask = (cpu->gpr[REG_RDX] & 0xffffffff) << 32 | (uint32_t)cpu->gpr[REG_RAX];
    return mask & cpu->xcr0 & XSTATE_ALL;
}

static void xsave(struct vcpu *cpu, const struct x86_insn *in)
{
    uint8_t area[LEGACY_SAVED];
    check_xsave(cpu);
    uint64_t rfbm = requested(cpu), use = in_use(cpu);
    unsigned len = rfbm & XSTATE_AVX ? XSAVE_LEN : XSAVE_AVX, count = vectors(cpu);
    uint64_t at = fpu_operand(cpu, in, len, 64, true);
    uint64_t header[2] = { 0, 0 };
    bool compact = in->op == OP_XSAVEC;
    mem_probe_write(cpu, at, len);
    if (!compact)
        header[0] = mem_read(cpu, at + XSAVE_HEADER, 8);

    if (compact && cpu->mxcsr != MXCSR_INIT)
        use |= XSTATE_SSE; /* XSAVEC keeps MXCSR with the SSE state */
    header[0] = compact ? use & rfbm : (header[0] & ~rfbm) | (use & rfbm);
    header[1] = rfbm | 1ull << 63;
    uint64_t write = in->op == OP_XSAVE ? rfbm : rfbm & use;
    if (write & XSTATE_X87) {
        put_x87(cpu, area, in->rex & 8);
        mem_write_bytes(cpu, at, area, 24);
        mem_write_bytes(cpu, at + 32, area + 32, LEGACY_XMM - 32);
    }
    if (compact ? write & XSTATE_SSE : rfbm & (XSTATE_SSE | XSTATE_AVX)) {
        put_mxcsr(cpu, area);
        mem_write_bytes(cpu, at + 24, area + 24, 8);
    }
    if (write & XSTATE_SSE) {
        put_xmm(cpu, area, count);
        mem_write_bytes(cpu, at + LEGACY_XMM, area + LEGACY_XMM, 16 * count);
    }
    if (write & XSTATE_AVX) {
        for (unsigned i = 0; i < count; i++)
            memcpy(area + 16 * i, cpu->ymm[i] + 16, 16);
        mem_write_bytes(cpu, at + XSAVE_AVX, area, 16 * count);
    }
    mem_write_bytes(cpu, at + XSAVE_HEADER, header, compact ? 16 : 8);
}

/* The header's rules (SDM volume 1, 13.8.1 and 13.8.2). */
static bool header_ok(const uint8_t *header, uint64_t xcr0)
{
    uint64_t bv, comp;
    memcpy(&bv, header, 8);
    memcpy(&comp, header + 8, 8);
    if (!(comp >> 63))
        return !(bv & ~xcr0) && !comp && all_zero(header + 16, 8);
    comp &= ~(1ull << 63);
    return !(comp & ~xcr0) && !(bv & ~comp) && all_zero(header + 16, 48);
}

static void init_x87(struct vcpu *cpu)
{
    fpu_fninit(cpu);
    memset(cpu->x87.st, 0, sizeof cpu->x87.st);
}

static void xrstor(struct vcpu *cpu, const struct x86_insn *in)
{
    uint8_t area[XSAVE_LEN] = { 0 };
    check_xsave(cpu);
    uint64_t rfbm = requested(cpu), bv, comp;
    unsigned count = vectors(cpu);
    uint64_t at = fpu_operand(cpu, in, XSAVE_AVX, 64, false);
    mem_read_bytes(cpu, at, area, XSAVE_AVX);
    if (!header_ok(area + XSAVE_HEADER, cpu->xcr0))
        x86_raise_err(cpu, VEC_GP, 0);
    memcpy(&bv, area + XSAVE_HEADER, 8);
    memcpy(&comp, area + XSAVE_HEADER + 8, 8);
    if (rfbm & bv & XSTATE_AVX) {
        at = fpu_operand(cpu, in, XSAVE_LEN, 64, false);
        mem_read_bytes(cpu, at + XSAVE_AVX, area + XSAVE_AVX, 16 * count);
    }
    if (comp >> 63) {
        if (rfbm & XSTATE_SSE)
            cpu->mxcsr = bv & XSTATE_SSE ? area_mxcsr(cpu, area) : MXCSR_INIT;
    } else if (rfbm & (XSTATE_SSE | XSTATE_AVX)) {
        cpu->mxcsr = area_mxcsr(cpu, area);
    }
    if (rfbm & bv & XSTATE_X87)
        get_x87(cpu, area, in->rex & 8);
    else if (rfbm & XSTATE_X87)
        init_x87(cpu);
    if ((rfbm & XSTATE_SSE) && !(bv & XSTATE_SSE))
        memset(area + LEGACY_XMM, 0, LEGACY_SAVED - LEGACY_XMM);
    if (rfbm & XSTATE_SSE)
        get_xmm(cpu, area, count);
    for (unsigned i = 0; i < count && (rfbm & XSTATE_AVX); i++)
        memcpy(cpu->ymm[i] + 16, area + XSAVE_AVX + 16 * i, 16); /* zeros if not in bv */
}

void fpu_get_xsave(const struct vcpu *cpu, uint8_t *area)
{
    const uint64_t bv = XSTATE_ALL;
    memset(area, 0, sizeof ((mobo_x86_xsave_t *)0)->area);
    put_x87(cpu, area, true);
    put_mxcsr(cpu, area);
    put_xmm(cpu, area, 16);
    memcpy(area + XSAVE_HEADER, &bv, 8);
    for (unsigned i = 0; i < 16; i++)
        memcpy(area + XSAVE_AVX + 16 * i, cpu->ymm[i] + 16, 16);
}

int fpu_set_xsave(struct vcpu *cpu, const uint8_t *area)
{
    uint64_t bv, comp;
    uint32_t mxcsr;
    memcpy(&bv, area + XSAVE_HEADER, 8);
    memcpy(&comp, area + XSAVE_HEADER + 8, 8);
    memcpy(&mxcsr, area + 24, 4);
    if (comp || !header_ok(area + XSAVE_HEADER, XSTATE_ALL) || (mxcsr & ~(uint32_t)MXCSR_MASK))
        return MOBO_EINVAL;
    cpu->x87.mxcsr = MXCSR_INIT;
    cpu->x87.mxcsr_mask = MXCSR_MASK;
    cpu->mxcsr = mxcsr;
    if (bv & XSTATE_X87)
        get_x87(cpu, area, true);
    else
        init_x87(cpu);
    memset(cpu->ymm, 0, sizeof cpu->ymm);
    if (bv & XSTATE_SSE)
        get_xmm(cpu, area, 16);
    for (unsigned i = 0; i < 16 && (bv & XSTATE_AVX); i++)
        memcpy(cpu->ymm[i] + 16, area + XSAVE_AVX + 16 * i, 16);
    return MOBO_OK;
}

/* ---- MXCSR, FWAIT ---------------------------------------------------------------------------- */

static void mxcsr_move(struct vcpu *cpu, const struct x86_insn *in)
{
    bool store = in->op == OP_STMXCSR;
    if (in->flags & INSN_VEX)
        vec_check_avx(cpu);
    else
        vec_check_sse(cpu);
    uint64_t linear = fpu_operand(cpu, in, 4, 1, store);
    if (store) {
        mem_write(cpu, linear, cpu->mxcsr, 4);
        return;
    }
    uint32_t val = (uint32_t)mem_read(cpu, linear, 4);
    if (val & ~(uint32_t)MXCSR_MASK)
        x86_raise_err(cpu, VEC_GP, 0);
    cpu->mxcsr = val;
}

void fpu_execute(struct vcpu *cpu, const struct x86_insn *in)
{
    switch (in->op) {
    case OP_FXSAVE:
        fxsave(cpu, in);
        break;
    case OP_FXRSTOR:
        fxrstor(cpu, in);
        break;
    case OP_XSAVE:
    case OP_XSAVEOPT:
    case OP_XSAVEC:
        xsave(cpu, in);
        break;
    case OP_XRSTOR:
        xrstor(cpu, in);
        break;
    case OP_LDMXCSR:
    case OP_STMXCSR:
        mxcsr_move(cpu, in);
        break;
    case OP_FWAIT:
        if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
            x86_raise(cpu, VEC_NM);
        if (cpu->x87.fsw & FSW_ES)
            x86_raise(cpu, VEC_MF);
        break;
    default:
        x86_raise(cpu, VEC_UD);
    }
}
