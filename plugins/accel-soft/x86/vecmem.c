/*
 * vecmem.c: vector instructions whose memory operand is not one piece: masked moves and gathers.
 * Done lane by lane over mem_*, because masked lanes touch no memory and cannot fault.
 */
#include "native_int.h"

#include <string.h>

/* A store, once as probe and once in earnest, so that a fault comes before the first lane. */
static void store_lanes(struct vcpu *cpu, const struct x86_insn *in, uint64_t ea,
                        const uint8_t *val, const uint8_t *mask, unsigned lane, unsigned count)
{
    uint64_t linear[32];
    for (unsigned i = 0; i < count; i++) {
        if (!(mask[i * lane + lane - 1] & 0x80))
            continue;
        linear[i] = seg_linear(cpu, in->seg, vec_cut(in, ea + i * lane), lane, 1);
        mem_probe_write(cpu, linear[i], lane);
    }
    for (unsigned i = 0; i < count; i++)
        if (mask[i * lane + lane - 1] & 0x80)
            mem_write_bytes(cpu, linear[i], val + i * lane, lane);
}

/* VMASKMOVPS/PD 2C..2F, VPMASKMOVD/Q 8C and 8E of map 0F38; operands as in the encoding. */
void vec_maskmov(struct vcpu *cpu, const struct x86_insn *in)
{
    unsigned op = in->opcode, len = in->vex_l ? 32 : 16;
    unsigned lane = op >= 0x80 ? (in->vex_w ? 8 : 4) : op & 1 ? 8 : 4;
    bool store = op == 0x2e || op == 0x2f || op == 0x8e;
    unsigned reg = 0;
    vec_check_avx(cpu);
    for (unsigned i = 0; i < in->operands && i < 4; i++) /* the register that is not the mask */
        if (in->opnd[i].kind == OPND_XMM && i != 1)
            reg = in->opnd[i].reg;
    uint8_t mask[32], val[32] = { 0 };
    memcpy(mask, cpu->ymm[in->vex_v & 15], 32);
    uint64_t ea = vec_ea(cpu, in);
    if (store) {
        store_lanes(cpu, in, ea, cpu->ymm[reg], mask, lane, len / lane);
        return;
    }
    for (unsigned i = 0; i < len / lane; i++) {
        if (!(mask[i * lane + lane - 1] & 0x80))
            continue;
        uint64_t linear = seg_linear(cpu, in->seg, vec_cut(in, ea + i * lane), lane, 0);
        mem_read_bytes(cpu, linear, val + i * lane, lane);
    }
    memcpy(cpu->ymm[reg], val, 32);
}

/* MASKMOVQ, MASKMOVDQU: bytes of modrm.reg whose mask byte in modrm.rm is negative, to DS:rDI. */
void vec_maskmovq(struct vcpu *cpu, const struct x86_insn *in)
{
    uint8_t val[16], mask[16];
    unsigned len = in->pp == 0x66 ? 16 : 8;
    unsigned reg = in->modrm >> 3 & 7, rm = in->modrm & 7;
    uint64_t ea = vec_cut(in, cpu->gpr[REG_RDI]);
    if (len == 8) {
        vec_check_mmx(cpu);
        vec_enter_mmx(cpu); /* even if a fault follows */
        memcpy(val, cpu->x87.st[reg], 8);
        memcpy(mask, cpu->x87.st[rm], 8);
    } else {
        bool first = true; /* the value comes first, then the mask */
        for (unsigned i = 0; i < in->operands && i < 4; i++)
            if (in->opnd[i].kind == OPND_XMM) {
                reg = first ? in->opnd[i].reg : reg;
                rm = in->opnd[i].reg;
                first = false;
            }
        if (in->flags & INSN_VEX)
            vec_check_avx(cpu);
        else
            vec_check_sse(cpu);
        memcpy(val, cpu->ymm[reg & 15], 16);
        memcpy(mask, cpu->ymm[rm & 15], 16);
    }
    /* The whole operand is checked, masked bytes too: SDM and APM leave that to the processor. */
    mem_probe_write(cpu, seg_linear(cpu, in->seg, ea, len, 1), len);
    store_lanes(cpu, in, ea, val, mask, 1, len);
}

/*
 * VPGATHERDD ... VGATHERQPD, 90..93 of map 0F38. Elements are taken from the low end; after a fault
 * the mask tells which are still to be done, so the instruction can begin again.
 */
void vec_gather(struct vcpu *cpu, const struct x86_insn *in, const uint8_t *bytes)
{
    (void)bytes;
    unsigned lane = in->vex_w ? 8 : 4, index_size = in->opcode & 1 ? 8 : 4;
    unsigned len = in->vex_l ? 32 : 16;
    unsigned count = len / (lane > index_size ? lane : index_size);
    unsigned dst = in->opnd[0].reg & 15, mask_reg = in->vex_v & 15, index_reg = in->index & 15;
    vec_check_avx(cpu);
    if (dst == mask_reg || dst == index_reg || mask_reg == index_reg)
        x86_raise(cpu, VEC_UD);
    uint8_t *mask = cpu->ymm[mask_reg], *out = cpu->ymm[dst];
    uint8_t index[32];
    memcpy(index, cpu->ymm[index_reg], 32);
    uint64_t base = (uint64_t)in->disp;
    if (in->base != REG_NONE)
        base += cpu->gpr[in->base & 15];
    for (unsigned i = 0; i < count; i++) {
        if (!(mask[i * lane + lane - 1] & 0x80)) {
            memset(mask + i * lane, 0, lane); /* done as well */
            continue;
        }
        int64_t at = 0;
        int32_t at32;
        uint8_t elem[8];
        memcpy(&at32, index + 4 * i, 4);
        if (index_size == 8)
            memcpy(&at, index + 8 * i, 8);
        else
            at = at32;
        uint64_t ea = vec_cut(in, base + (uint64_t)at * in->scale);
        uint64_t linear = seg_linear(cpu, in->seg, ea, lane, 0);
        mem_read_bytes(cpu, linear, elem, lane);
        memcpy(out + i * lane, elem, lane);
        memset(mask + i * lane, 0, lane);
    }
    memset(mask, 0, 32);
    if (count * lane < 32)
        memset(out + count * lane, 0, 32 - count * lane);
}
