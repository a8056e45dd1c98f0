/*
 * test-decode-zydis.c: the decoder against Zydis 4.0, encoding by encoding: all opcodes of the four
 * maps with every ModRM byte, under sets of prefixes and VEX fields, in 16, 32 and 64-bit mode.
 * Compared: validity, length, sizes, operands with registers, directions and memory forms,
 * immediates, repeat and lock, CPUID feature. Where the two differ on purpose,
 * decode-zydis-decisions.c says why; everything else is a failure, and so is a decision that no
 * encoding needs. `--full` takes every ModRM byte under every VEX prefix.
 */
#include "decode-zydis.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const aspect_names[ASPECTS] = {
    "validity", "length", "operand size", "address size", "feature", "lock or repeat", "privilege",
    "operand count", "operand kind", "register", "operand size in bytes", "read or write",
    "memory form", "immediate", "alignment", "floating-point exceptions", "implicit operands",
    "end of block",
};

enum { MAX_GROUPS = 400 };
struct group {
    enum aspect aspect;
    unsigned mnemonic, op, bits;
    uint64_t count;
    char text[320];
};

static struct {
    ZydisDecoder dec[3];
    uint64_t compared, both_ok, both_bad, decided, failed;
    struct group group[MAX_GROUPS];
    unsigned groups;
    uint64_t decision_used[DECISIONS];
    uint64_t rng;
} t;

/* ---- comparison ------------------------------------------------------------------------------ */

static void differ(const struct pair *p, enum aspect aspect, const char *what)
{
    unsigned mnemonic = p->theirs_ok ? p->z.mnemonic : 0, op = p->ours_ok ? p->in.op : 0;
    struct group *g;
    unsigned i;

    for (i = 0; i < DECISIONS; i++)
        if (decisions[i].aspect == aspect && decisions[i].applies(p)) {
            t.decided++;
            t.decision_used[i]++;
            return;
        }
    t.failed++;
    for (i = 0; i < t.groups; i++) {
        g = &t.group[i];
        if (g->aspect == aspect && g->mnemonic == mnemonic && g->op == op) {
            g->count++;
            return;
        }
    }
    if (t.groups == MAX_GROUPS)
        return;
    g = &t.group[t.groups++];
    *g = (struct group){ .aspect = aspect, .mnemonic = mnemonic, .op = op, .bits = p->bits,
                         .count = 1 };
    int n = snprintf(g->text, sizeof g->text, "%u-bit", p->bits);
    unsigned len = p->theirs_ok ? p->z.length : p->ours_ok ? p->in.len : 15;
    for (i = 0; i < len; i++)
        n += snprintf(g->text + n, sizeof g->text - (size_t)n, " %02x", p->bytes[i]);
    char buf[96] = "(undefined)";
    if (p->ours_ok)
        x86_format(&p->in, 0, buf, sizeof buf);
    snprintf(g->text + n, sizeof g->text - (size_t)n, ": %s, here %s: %s",
             p->theirs_ok ? ZydisMnemonicGetString(p->z.mnemonic) : "(undefined)", buf, what);
}

#define DIFFER(p, aspect, ...) \
    do { \
        char what_[128]; \
        snprintf(what_, sizeof what_, __VA_ARGS__); \
        differ(p, aspect, what_); \
    } while (0)

static unsigned reg_id(ZydisRegister r)
{
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
        return r - ZYDIS_REGISTER_AL;
    if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
        return r - ZYDIS_REGISTER_AH;
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
        return r - ZYDIS_REGISTER_SPL + 4;
    if (r == ZYDIS_REGISTER_NONE)
        return REG_NONE;
    if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
        return REG_RIP;
    return (unsigned)ZydisRegisterGetId(r);
}

static void compare_memory(const struct pair *p, const ZydisDecodedOperand *zo)
{
    const struct x86_insn *in = &p->in;
    unsigned seg = reg_id(zo->mem.segment);
    unsigned scale = zo->mem.index == ZYDIS_REGISTER_NONE ? 1 : zo->mem.scale;
    uint64_t mask = in->addrsize == 2 ? 0xffff : in->addrsize == 4 ? 0xffffffff : UINT64_MAX;
    uint64_t disp = zo->mem.disp.has_displacement ? (uint64_t)zo->mem.disp.value : 0;

    if (zo->mem.type != ZYDIS_MEMOP_TYPE_AGEN && zo->mem.segment != ZYDIS_REGISTER_NONE &&
        seg != in->seg)
        DIFFER(p, MEMORY, "segment %u %u", seg, in->seg);
    if (reg_id(zo->mem.base) != in->base || reg_id(zo->mem.index) != in->index ||
        scale != in->scale || ((disp ^ (uint64_t)in->disp) & mask))
        DIFFER(p, MEMORY, "base %u %u index %u %u scale %u %u disp %" PRIx64 " %" PRIx64,
               reg_id(zo->mem.base), in->base, reg_id(zo->mem.index), in->index, scale, in->scale,
               disp, (uint64_t)in->disp);
}

static unsigned class_kind(ZydisRegister r)
{
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8: case ZYDIS_REGCLASS_GPR16: case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64: return OPND_GPR;
    case ZYDIS_REGCLASS_X87: return OPND_ST;
    case ZYDIS_REGCLASS_MMX: return OPND_MM;
    case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM: return OPND_XMM;
    case ZYDIS_REGCLASS_SEGMENT: return OPND_SEG;
    case ZYDIS_REGCLASS_CONTROL: return OPND_CR;
    case ZYDIS_REGCLASS_DEBUG: return OPND_DR;
    default: return OPND_NONE;
    }
}

static void compare_register(const struct pair *p, const ZydisDecodedOperand *zo,
                             const struct x86_operand *o)
{
    ZydisRegister r = zo->reg.value;
    bool high = r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
    unsigned width = ZydisRegisterGetWidth(p->z.machine_mode, r) / 8u;

    if (class_kind(r) != o->kind) {
        DIFFER(p, KIND, "%s, here %u", ZydisRegisterGetString(r), o->kind);
        return;
    }
    if (reg_id(r) != o->reg || high != o->high)
        DIFFER(p, REGISTER, "%s, here %u", ZydisRegisterGetString(r), o->reg);
    if (o->kind == OPND_GPR || o->kind == OPND_XMM)
        if (width != o->size)
            DIFFER(p, SIZE, "%s, here %u", ZydisRegisterGetString(r), o->size);
}

static void compare_operand(const struct pair *p, unsigned i)
{
    const ZydisDecodedOperand *zo = &p->zo[i];
    const struct x86_operand *o = &p->in.opnd[i];
    unsigned rw = (zo->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? OPND_READ : 0u) |
                  (zo->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? OPND_WRITE : 0u);
    uint64_t mask;

    switch (zo->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER: compare_register(p, zo, o); break;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        if (o->kind != OPND_MEM) {
            DIFFER(p, KIND, "memory, here %u", o->kind);
            return;
        }
        compare_memory(p, zo);
        if (zo->size / 8 != o->size && o->size && zo->mem.type != ZYDIS_MEMOP_TYPE_AGEN)
            DIFFER(p, SIZE, "memory %u, here %u", zo->size / 8, o->size);
        if (zo->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
            return;
        break;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE:
        if (o->kind != OPND_IMM) {
            DIFFER(p, KIND, "immediate, here %u", o->kind);
            return;
        }
        mask = o->size >= 8 ? UINT64_MAX : (1ull << (o->size * 8)) - 1;
        if ((zo->imm.value.u ^ p->in.imm) & mask)
            DIFFER(p, IMMEDIATE, "%" PRIx64 ", here %" PRIx64, zo->imm.value.u, p->in.imm);
        if (zo->imm.is_relative && zo->imm.value.u != p->in.imm)
            DIFFER(p, IMMEDIATE, "target %" PRIx64 ", here %" PRIx64, zo->imm.value.u, p->in.imm);
        return;
    case ZYDIS_OPERAND_TYPE_POINTER:
        if (zo->ptr.offset != p->in.imm || zo->ptr.segment != p->in.imm2)
            DIFFER(p, IMMEDIATE, "%x:%x", zo->ptr.segment, zo->ptr.offset);
        return;
    default: DIFFER(p, KIND, "type %u", zo->type); return;
    }
    if (rw != o->rw)
        DIFFER(p, ACTION, "operand %u: %u, here %u", i, rw, o->rw);
}

/* SDM volume 2, table 2-17: exception classes say what is aligned and what raises #XM. */
static void compare_class(const struct pair *p)
{
    bool memory = false, size16 = false, fp, aligned;

    for (unsigned i = 0; i < p->in.operands; i++)
        if (p->in.opnd[i].kind == OPND_MEM) {
            memory = true;
            size16 = p->in.opnd[i].size == 16;
        }
    switch (p->z.meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_SSE1: fp = false; aligned = memory; break;
    case ZYDIS_EXCEPTION_CLASS_SSE2: fp = true; aligned = memory && size16; break;
    case ZYDIS_EXCEPTION_CLASS_SSE4: fp = false; aligned = memory && size16; break;
    case ZYDIS_EXCEPTION_CLASS_SSE3: fp = true; aligned = false; break;
    case ZYDIS_EXCEPTION_CLASS_AVX1: fp = false; aligned = memory; break;
    case ZYDIS_EXCEPTION_CLASS_AVX2: case ZYDIS_EXCEPTION_CLASS_AVX3:
    case ZYDIS_EXCEPTION_CLASS_AVX11: fp = true; aligned = false; break;
    default: fp = aligned = false; break;
    }
    if (fp != !!(p->in.flags & INSN_FP))
        DIFFER(p, FLOATING, "class %u, here %u", p->z.meta.exception_class, !fp);
    if (aligned != !!(p->in.flags & INSN_ALIGNED))
        DIFFER(p, ALIGNMENT, "class %u, here %u", p->z.meta.exception_class, !aligned);
}

static void compare_implicit(const struct pair *p)
{
    bool xmm0 = false, rcx = false, rax = false;
    bool flags = p->z.cpu_flags && (p->z.cpu_flags->modified | p->z.cpu_flags->set_0);

    for (unsigned i = p->z.operand_count_visible; i < p->z.operand_count; i++)
        if (p->zo[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
            ZydisRegister r = p->zo[i].reg.value;

            xmm0 |= r == ZYDIS_REGISTER_XMM0;
            rcx |= r == ZYDIS_REGISTER_ECX || r == ZYDIS_REGISTER_RCX;
            rax |= r == ZYDIS_REGISTER_EAX || r == ZYDIS_REGISTER_RAX;
        }
    if (xmm0 != !!(p->in.flags & INSN_IMPLICIT_XMM0) || rcx != !!(p->in.flags & INSN_WRITES_RCX) ||
        rax != !!(p->in.flags & INSN_READS_RAX_RDX) || flags != !!(p->in.flags & INSN_WRITES_FLAGS))
        DIFFER(p, IMPLICIT, "XMM0 %u, RCX %u, RAX %u, flags %u, here %x", xmm0, rcx, rax, flags,
               p->in.flags);
}

static bool is_vector(const struct x86_insn *in)
{
    return in->op >= OP_X87;
}

static void compare_valid(const struct pair *p)
{
    const struct x86_insn *in = &p->in;
    const ZydisDecodedInstruction *z = &p->z;
    bool lock = z->attributes & ZYDIS_ATTRIB_HAS_LOCK;
    uint64_t rep = z->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
    unsigned ours_rep = rep ? REP_REP : z->attributes & ZYDIS_ATTRIB_HAS_REPNE ? REP_REPNE : 0u;

    if (z->length != in->len) {
        DIFFER(p, LENGTH, "%u, here %u", z->length, in->len);
        return;
    }
    if (!is_vector(in) && z->operand_width / 8 != in->opsize)
        DIFFER(p, OPSIZE, "%u, here %u", z->operand_width / 8, in->opsize);
    if (z->address_width / 8 != in->addrsize)
        DIFFER(p, ADDRSIZE, "%u, here %u", z->address_width / 8, in->addrsize);
    if (!feature_agrees(p))
        DIFFER(p, FEATURE, "%s, here %u", ZydisISASetGetString(z->meta.isa_set), in->feature);
    if (lock != !!(in->flags & INSN_LOCK) || (ours_rep != in->rep))
        DIFFER(p, PREFIX, "lock %u %u rep %x %x", lock, !!(in->flags & INSN_LOCK), ours_rep,
               in->rep);
    if (!!(z->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) != !!(in->flags & INSN_PRIV))
        DIFFER(p, PRIVILEGE, "%u", !!(in->flags & INSN_PRIV));
    if (z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && !(in->flags & INSN_ENDS_BLOCK))
        DIFFER(p, BRANCH, "branch type %u", z->meta.branch_type);
    if (in->op >= OP_MMX && in->op <= OP_VEC)
        compare_class(p);
    if (in->op == OP_VEC)
        compare_implicit(p);
    if (z->operand_count_visible != in->operands) {
        DIFFER(p, COUNT, "%u, here %u", z->operand_count_visible, in->operands);
        if (in->op != OP_LOADFAR && in->op != OP_ENTER) /* there the first ones still agree */
            return;
    }
    for (unsigned i = 0; i < in->operands && i < z->operand_count_visible; i++)
        compare_operand(p, i);
}

static void compare(const uint8_t *bytes, unsigned mode)
{
    static const uint8_t mode_bits[3] = { 16, 32, 64 };
    static struct pair p;

    p.bytes = bytes;
    p.bits = mode_bits[mode];
    p.ours_ok = x86_decode(bytes, 15, (struct x86_dec_mode){ mode_bits[mode] }, &p.in) == DEC_OK;
    p.theirs_ok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&t.dec[mode], bytes, 15, &p.z, p.zo));
    t.compared++;
    if (p.theirs_ok && not_offered(&p.z)) {
        if (!p.ours_ok) {
            t.decided++;
            return;
        }
    }
    if (p.ours_ok != p.theirs_ok)
        differ(&p, VALIDITY, "");
    else if (!p.ours_ok)
        t.both_bad++;
    else {
        t.both_ok++;
        compare_valid(&p);
    }
}

/* ---- enumeration ----------------------------------------------------------------------------- */

static uint64_t random64(void)
{
    t.rng ^= t.rng << 13; /* xorshift64 */
    t.rng ^= t.rng >> 7;
    t.rng ^= t.rng << 17;
    return t.rng;
}

/* ModRM, SIB and the rest behind an opcode. */
static void tails(uint8_t *buf, unsigned n, unsigned mode, unsigned modrm)
{
    static const uint8_t sibs[] = { 0x24, 0x65, 0xe5, 0x88 };
    bool sib = (modrm & 7) == 4 && modrm < 0xc0;
    uint64_t fill[2] = { random64(), random64() };

    buf[n] = (uint8_t)modrm;
    memcpy(buf + n + 1, fill, 14 - n);
    if (!sib) {
        compare(buf, mode);
        return;
    }
    for (unsigned i = 0; i < sizeof sibs; i++) {
        buf[n + 1] = sibs[i];
        compare(buf, mode);
    }
}

static void legacy(const uint8_t *prefix, unsigned count, unsigned mode)
{
    uint8_t buf[16];

    memcpy(buf, prefix, count);
    for (unsigned map = 0; map < 4; map++)
        for (unsigned op = 0; op < 256; op++) {
            unsigned n = count;

            if (map)
                buf[n++] = 0x0f;
            if (map >= 2)
                buf[n++] = map == 2 ? 0x38 : 0x3a;
            buf[n++] = (uint8_t)op;
            for (unsigned modrm = 0; modrm < 256; modrm++)
                tails(buf, n, mode, modrm);
        }
}

static void vex_tails(uint8_t *buf, unsigned n, unsigned mode, bool full)
{
    for (unsigned op = 0; op < 256; op++) {
        buf[n] = (uint8_t)op;
        for (unsigned i = 0; i < (full ? 256u : 12u); i++) {
            /* every ModRM.reg with a register, then some memory forms */
            unsigned modrm = full     ? i
                             : i < 8  ? 0xc0 | i << 3 | (random64() & 7)
                                      : (i & 3) << 6 | (random64() & 63);

            tails(buf, n + 1, mode, modrm);
        }
        buf[n + 1] = 0x14 | (op & 0x28); /* SIB for gathers */
        tails(buf, n + 1, mode, buf[n + 1]);
    }
}

static void vex(unsigned mode, bool full)
{
    static const uint8_t vvvv[] = { 0x78, 0x00, 0x28, 0x50 };
    static const uint8_t maps[] = { 0, 1, 2, 3, 4, 8, 31 };
    uint8_t buf[16];

    for (unsigned b = 0; b < 256; b++) {
        if (!full && memchr(vvvv, b & 0x78, sizeof vvvv) == NULL)
            continue;
        buf[0] = 0xc5;
        buf[1] = (uint8_t)b;
        vex_tails(buf, 2, mode, full);
        for (unsigned m = 0; m < sizeof maps; m++)
            for (unsigned rxb = 0; rxb < 8; rxb++) {
                if (!full && (maps[m] < 1 || maps[m] > 3) && (rxb != 7 || b >> 3 != 15))
                    continue;
                if (!full && rxb != 7 && (random64() & 3))
                    continue;
                buf[0] = 0xc4;
                buf[1] = (uint8_t)(rxb << 5 | maps[m]);
                buf[2] = (uint8_t)b;
                vex_tails(buf, 3, mode, full);
            }
    }
}

static void all_legacy(unsigned mode)
{
    static const struct {
        uint8_t count, bytes[5];
    } sets[] = {
        { 0, { 0 } }, { 1, { 0x66 } }, { 1, { 0xf2 } }, { 1, { 0xf3 } }, { 1, { 0x67 } },
        { 1, { 0xf0 } }, { 1, { 0x2e } }, { 1, { 0x64 } }, { 1, { 0x36 } },
        { 2, { 0x66, 0xf2 } }, { 2, { 0xf3, 0x66 } }, { 2, { 0xf2, 0xf3 } }, { 2, { 0xf3, 0xf2 } },
        { 2, { 0x66, 0x67 } }, { 2, { 0xf0, 0x66 } }, { 2, { 0xf0, 0xf3 } }, { 2, { 0x65, 0x26 } },
        { 3, { 0x66, 0xf0, 0xf2 } }, { 3, { 0x2e, 0x64, 0x3e } },
        { 5, { 0x66, 0x66, 0x67, 0xf3, 0xf3 } },
    };
    static const struct {
        uint8_t count, bytes[5];
    } rex_sets[] = {
        { 1, { 0x40 } }, { 1, { 0x41 } }, { 1, { 0x42 } }, { 1, { 0x44 } }, { 1, { 0x48 } },
        { 1, { 0x4f } }, { 2, { 0x66, 0x48 } }, { 2, { 0x66, 0x45 } }, { 2, { 0xf2, 0x48 } },
        { 2, { 0xf3, 0x4d } }, { 2, { 0xf3, 0x41 } }, { 2, { 0x48, 0x66 } }, { 2, { 0x67, 0x4f } },
        { 2, { 0xf0, 0x4c } }, { 3, { 0x66, 0xf3, 0x48 } }, { 2, { 0x48, 0x41 } },
        { 3, { 0x66, 0xf2, 0x41 } }, { 2, { 0x64, 0x47 } },
    };

    for (unsigned i = 0; i < sizeof sets / sizeof *sets; i++)
        legacy(sets[i].bytes, sets[i].count, mode);
    if (mode == 2)
        for (unsigned i = 0; i < sizeof rex_sets / sizeof *rex_sets; i++)
            legacy(rex_sets[i].bytes, rex_sets[i].count, mode);
}

int main(int argc, char **argv)
{
    static const ZydisMachineMode modes[3] = { ZYDIS_MACHINE_MODE_LEGACY_16,
                                               ZYDIS_MACHINE_MODE_LEGACY_32,
                                               ZYDIS_MACHINE_MODE_LONG_64 };
    static const ZydisStackWidth widths[3] = { ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
                                               ZYDIS_STACK_WIDTH_64 };
    bool full = argc > 1 && !strcmp(argv[1], "--full");
    clock_t start = clock();
    unsigned unused = 0;

    t.rng = 0x9e3779b97f4a7c15;
    for (unsigned mode = 0; mode < 3; mode++) {
        ZydisDecoderInit(&t.dec[mode], modes[mode], widths[mode]);
        ZydisDecoderEnableMode(&t.dec[mode], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
        ZydisDecoderEnableMode(&t.dec[mode], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
        ZydisDecoderEnableMode(&t.dec[mode], ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
        all_legacy(mode);
        vex(mode, full);
    }
    printf("%" PRIu64 " encodings compared: %" PRIu64 " defined and %" PRIu64
           " undefined in both, %" PRIu64 " differ by decision, %" PRIu64 " differ; %.1f s\n",
           t.compared, t.both_ok, t.both_bad, t.decided, t.failed,
           (double)(clock() - start) / CLOCKS_PER_SEC);
    for (unsigned i = 0; i < t.groups; i++)
        printf("%s (%" PRIu64 "): %s\n", aspect_names[t.group[i].aspect], t.group[i].count,
               t.group[i].text);
    for (unsigned i = 0; i < DECISIONS; i++) {
        printf("by decision (%" PRIu64 "): %s: %s\n", t.decision_used[i],
               aspect_names[decisions[i].aspect], decisions[i].reason);
        unused += t.decision_used[i] == 0;
    }
    if (unused)
        printf("%u decisions apply to nothing: take them out\n", unused);
    return t.failed || unused;
}
