/*
 * fpu_env.c: x87 instructions that need no arithmetic: control and status words, FNINIT, FNCLEX,
 * and the environment images of FSTENV, FSAVE and their loads (SDM volume 1, 8.1.10).
 */
#include "fpu.h"
#include "native_int.h"

#include <string.h>

enum { FSW_EXC = 0x3f };

bool fpu_is_control(const struct x86_insn *in)
{
    unsigned reg = in->modrm >> 3 & 7;
    if (in->modrm >= 0xc0)
        return (in->opcode == 0xdb && in->modrm >= 0xe0 && in->modrm <= 0xe4) ||
               (in->opcode == 0xdf && in->modrm == 0xe0);
    return (in->opcode == 0xd9 && reg >= 4) ||
           (in->opcode == 0xdd && (reg == 4 || reg >= 6));
}

/* The two bits of a register's tag (SDM volume 1, 8.1.7), from its content. */
static unsigned tag_of(const uint8_t *st)
{
    uint64_t mant;
    unsigned exp = (unsigned)(st[8] | st[9] << 8) & 0x7fff;
    memcpy(&mant, st, 8);
    if (exp == 0)
        return mant ? 2 : 1;
    return exp == 0x7fff || !(mant >> 63) ? 2 : 0;
}

static uint16_t full_tags(const struct x87_image *f)
{
    unsigned top = f->fsw >> 11 & 7, tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        bool valid = f->ftw >> i & 1;
        tags |= (valid ? tag_of(f->st[(i - top) & 7]) : 3) << 2 * i;
    }
    return (uint16_t)tags;
}

/*
 * The environment, figures 8-9 to 8-12. In real and virtual-8086 mode the pointers are linear
 * addresses. Returns 14 or 28.
 */
static bool real_format(const struct vcpu *cpu)
{
    return !(cpu->cr0 & CR0_PE) || (cpu->fl & FL_VM);
}

static unsigned put_env(const struct vcpu *cpu, bool wide, uint8_t *buf)
{
    const struct x87_image *f = &cpu->x87;
    uint32_t ip = (uint32_t)f->fip, dp = (uint32_t)f->fdp;
    uint32_t w[7] = { f->fcw, f->fsw, full_tags(f), ip, (uint32_t)f->fop << 16, dp, 0 };
    if (real_format(cpu)) {
        ip += (uint32_t)cpu->seg[SEG_CS].base;
        w[3] = ip & 0xffff;
        w[4] = (ip >> 16) << 12 | f->fop;
        w[5] = dp & 0xffff;
        w[6] = (dp >> 16) << 12;
    } else if (!wide) {
        w[4] = 0; /* FCS; no opcode in this format */
    }
    for (unsigned i = 0; i < 7; i++) {
        uint16_t half = (uint16_t)w[i];
        if (wide && (i < 3 || (real_format(cpu) ? i == 3 || i == 5 : i == 6)))
            w[i] |= 0xffff0000; /* reserved */
        if (wide)
            memcpy(buf + 4 * i, &w[i], 4);
        else
            memcpy(buf + 2 * i, &half, 2);
    }
    return wide ? 28 : 14;
}

static void get_env(struct vcpu *cpu, bool wide, const uint8_t *buf)
{
    uint32_t w[7] = { 0 };
    for (unsigned i = 0; i < 7; i++)
        memcpy(&w[i], buf + (wide ? 4 : 2) * i, wide ? 4 : 2);
    fpu_set_top(cpu, w[1] >> 11 & 7);
    struct x87_image f = cpu->x87;
    f.fsw = (uint16_t)w[1];
    f.ftw = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((w[2] >> 2 * i & 3) != 3)
            f.ftw |= (uint8_t)(1 << i);
    f.fip = w[3];
    f.fdp = w[5];
    f.fop = wide ? w[4] >> 16 & 0x7ff : 0;
    if (real_format(cpu)) {
        f.fip = (w[3] & 0xffff) | (w[4] >> 12) << 16;
        f.fdp = (w[5] & 0xffff) | (w[6] >> 12) << 16;
        f.fip -= (uint32_t)cpu->seg[SEG_CS].base;
        f.fop = w[4] & 0x7ff;
    }
    fpu_set_fcw(&f, (uint16_t)w[0]);
    cpu->x87 = f;
}

static void env(struct vcpu *cpu, const struct x86_insn *in, bool store, bool regs)
{
    uint8_t buf[108] = { 0 };
    bool wide = in->opsize != 2;
    unsigned head = wide ? 28 : 14, len = head + (regs ? 80 : 0);
    uint64_t linear = fpu_operand(cpu, in, len, 1, store);
    if (!store) {
        mem_read_bytes(cpu, linear, buf, len);
        get_env(cpu, wide, buf);
        for (unsigned i = 0; i < 8 && regs; i++) {
            memset(cpu->x87.st[i], 0, 16);
            memcpy(cpu->x87.st[i], buf + head + 10 * i, 10);
        }
        return;
    }
    (void)put_env(cpu, wide, buf);
    for (unsigned i = 0; i < 8 && regs; i++)
        memcpy(buf + head + 10 * i, cpu->x87.st[i], 10);
    mem_write_bytes(cpu, linear, buf, len);
    if (regs)
        fpu_fninit(cpu);
    else
        fpu_set_fcw(&cpu->x87, cpu->x87.fcw | FSW_EXC);
}

static void store16(struct vcpu *cpu, const struct x86_insn *in, uint16_t val)
{
    mem_write(cpu, fpu_operand(cpu, in, 2, 1, true), val, 2);
}

bool fpu_control(struct vcpu *cpu, const struct x86_insn *in)
{
    if (!fpu_is_control(in))
        return false;
    unsigned reg = in->modrm >> 3 & 7;
    fpu_check(cpu);
    if (in->modrm >= 0xc0) {
        if (in->opcode == 0xdf) /* FNSTSW AX */
            memcpy(&cpu->gpr[REG_RAX], &cpu->x87.fsw, 2);
        else if (in->modrm == 0xe3)
            fpu_fninit(cpu);
        else if (in->modrm == 0xe2) /* FNCLEX */
            cpu->x87.fsw &= 0x7f00;
        return true; /* FNENI, FNDISI, FNSETPM do nothing since the 80387 */
    }
    /* FLDENV, FLDCW and FRSTOR wait for pending errors; those with N in the name do not. */
    if ((in->opcode == 0xd9 && reg <= 5) || reg == 4)
        vec_check_x87(cpu);
    if (in->opcode == 0xd9 && reg == 5)
        fpu_set_fcw(&cpu->x87, (uint16_t)mem_read(cpu, fpu_operand(cpu, in, 2, 1, false), 2));
    else if (reg == 7)
        store16(cpu, in, in->opcode == 0xd9 ? cpu->x87.fcw : cpu->x87.fsw);
    else
        env(cpu, in, reg == 6, in->opcode == 0xdd);
    return true;
}
