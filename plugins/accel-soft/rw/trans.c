/*
 * trans.c: one block from guest code to host code: reading it, the life of its flags, the calls of
 * the emitters, the cold part, the side table. What each instruction becomes is in the emitters'
 * files; finding, linking and dropping blocks is in blk.c and link.c.
 *
 * Lines of the guest page are copied once and everything is decided from the copy; blk.c compares
 * the copy with memory after it has announced the lines [look_lo, look_hi) as code, so what was looked at
 * is what is protected.
 */
#include "blk.h"
#include "emit.h"
#include "lockstep.h"

#include "../x86/mmu.h"
#include "../x86/sys.h"
#include "../x86/vecstate.h"

enum { LOOK_INSNS = 8, COLD_BYTES = 16, TAIL_BYTES = 256 + 64 * RW_INSNS, INSN_HOST_MAX = 256 };

/* ---- reading ---- */

static void looked_at(struct rw_tr *t, unsigned lo, unsigned hi)
{
    if (lo < t->look_lo)
        t->look_lo = (uint16_t)lo;
    if (hi > t->look_hi)
        t->look_hi = (uint16_t)hi;
}

/* Copy what [at, at + 15) touches, by lines of 64 bytes, each once. General registers only. */
static void copy_lines(struct rw_tr *t, unsigned at)
{
    unsigned last = at + 14 < PAGE_BYTES ? (at + 14) >> 6 : (PAGE_BYTES - 1) >> 6;
    for (unsigned line = at >> 6; line <= last; line++) {
        if (t->copied >> line & 1)
            continue;
        const uint64_t *from = (const uint64_t *)(const void *)(t->source + 64 * line);
        uint64_t *to = (uint64_t *)(void *)(t->page + 64 * line);
        for (unsigned i = 0; i < 8; i++)
            to[i] = from[i];
        t->copied |= UINT64_C(1) << line;
    }
}

static bool decode_at(struct rw_tr *t, unsigned at, struct x86_insn *in)
{
    struct x86_dec_mode mode = { .bits = 64 };
    if (at >= PAGE_BYTES)
        return false;
    copy_lines(t, at);
    if (x86_decode(t->page + at, PAGE_BYTES - at, mode, in) != DEC_OK)
        return false;
    looked_at(t, at, at + in->len);
    return true;
}

/* Control does not go on behind it, or what is decided from the mode may change there. */
static bool ends_block(const struct x86_insn *in)
{
    switch (in->op) {
    case OP_JCC:
    case OP_LOOP:
    case OP_LOOPE:
    case OP_LOOPNE:
    case OP_JCXZ:
    case OP_STI:
    case OP_POPF:
    case OP_STAC:
    case OP_CLAC:
    case OP_CLTS:
    case OP_WRMSR:
        return false;
    default:
        return in->flags & INSN_ENDS_BLOCK;
    }
}

static void read_insns(struct rw_tr *t)
{
    unsigned first = (unsigned)(t->rip & (PAGE_BYTES - 1)), at = first;
    unsigned max = t->rw->insns_max ? t->rw->insns_max : RW_INSNS;
    t->n = 0;
    while (t->n < max && decode_at(t, at, &t->in[t->n])) {
        const struct x86_insn *in = &t->in[t->n];
        t->off[t->n++] = (uint16_t)(at - first);
        at += in->len;
        if (ends_block(in))
            break;
    }
    t->off[t->n] = (uint16_t)(at - first);
    t->crosses = t->n < max && at < PAGE_BYTES && at > PAGE_BYTES - 15 &&
                 (t->n == 0 || !ends_block(&t->in[t->n - 1]));
    if (t->crosses) /* or undefined: the interpreter knows */
        looked_at(t, at, PAGE_BYTES);
}

/* ---- flags ---- */

static bool relative(const struct x86_insn *in)
{
    return in->op == OP_JMP_REL || in->op == OP_JCC || in->op == OP_CALL_REL ||
           in->op == OP_LOOP || in->op == OP_LOOPE || in->op == OP_LOOPNE || in->op == OP_JCXZ;
}

/* The index of the block's instruction at that offset of the page, t->n if none begins there. */
static unsigned index_at(const struct rw_tr *t, unsigned at)
{
    unsigned off = at - (unsigned)(t->rip & (PAGE_BYTES - 1)), lo = 0, hi = t->n;
    if (at < (unsigned)(t->rip & (PAGE_BYTES - 1)) || off >= t->off[t->n])
        return t->n;
    while (hi - lo > 1) {
        unsigned mid = lo + (hi - lo) / 2;
        if (t->off[mid] <= off)
            lo = mid;
        else
            hi = mid;
    }
    return t->off[lo] == off ? lo : t->n;
}

/* What another block of the page wants: they all go together when its code changes. */
static const struct rw_block *block_there(const struct rw_tr *t, unsigned at)
{
    uint64_t rip = (t->rip & PAGE_MASK) | at, gpa = (t->gpa & PAGE_MASK) | at;
    const struct rw_block *b = t->rw->hash[rw_hash(rip, t->cpl)];
    while (b && (b->rip != rip || b->gpa != gpa || b->cpl != t->cpl))
        b = b->hash_next;
    return b;
}

static uint8_t live_from(struct rw_tr *t, unsigned at)
{
    uint8_t live = 0, open = FL_BIT_ALL;
    for (unsigned i = 0; i < LOOK_INSNS && open; i++) {
        const struct x86_insn *in = &t->peek;
        struct rw_fl fl;
        unsigned k = index_at(t, at);
        if (k < t->n && k >= t->known)
            return live | (open & (t->fl[k].reads | (t->fl[k].live & (uint8_t)~t->fl[k].kills)));
        if (k < t->n) {
            in = &t->in[k];
        } else {
            const struct rw_block *b = i == 0 ? block_there(t, at) : NULL;
            if (b)
                return live | (open & b->live_in);
            if (!decode_at(t, at, &t->peek))
                return live | open;
        }
        rw_flags_of(in, &fl);
        live |= fl.reads & open;
        open &= (uint8_t)~fl.kills;
        at += in->len;
        if (in->op == OP_JMP_REL && open) {
            uint64_t to = (t->rip & PAGE_MASK) + at + in->imm;
            if ((to ^ t->rip) & PAGE_MASK)
                return live | open;
            at = (unsigned)(to & (PAGE_BYTES - 1));
        } else if (in->flags & INSN_ENDS_BLOCK) {
            return live | open;
        }
    }
    return live | open;
}

uint8_t rw_live_at(struct rw_tr *t, uint64_t rip)
{
    unsigned slot = (unsigned)rip % RW_LIVES;
    if ((rip ^ t->rip) & PAGE_MASK)
        return FL_BIT_ALL;
    if (t->live_rip[slot] != rip) {
        t->live[slot] = live_from(t, (unsigned)(rip & (PAGE_BYTES - 1)));
        t->live_rip[slot] = rip;
    }
    return t->live[slot];
}

static void flags_life(struct rw_tr *t)
{
    uint64_t next = rw_rip_of(t, t->n);
    const struct x86_insn *last = t->n ? &t->in[t->n - 1] : NULL;
    uint8_t live = FL_BIT_ALL;
    t->known = t->n;
    for (unsigned i = 0; i < RW_LIVES; i++)
        t->live_rip[i] = ~t->rip; /* of another page */
    if (t->crosses)
        t->fl[t->n] = (struct rw_fl){ .reads = FL_BIT_ALL };
    else if (last->op == OP_JMP_REL || last->op == OP_CALL_REL)
        live = rw_live_at(t, next + last->imm);
    else if (!ends_block(last))
        live = rw_live_at(t, next);
    for (unsigned i = t->n; i-- > 0;) {
        const struct x86_insn *in = &t->in[i];
        struct rw_fl *fl = &t->fl[i];
        rw_flags_of(in, fl);
        if ((i + 1 < t->n || !ends_block(in)) && relative(in))
            live |= rw_live_at(t, rw_rip_of(t, i + 1) + in->imm);
        fl->live = live;
        t->known = i;
        live = fl->reads | (live & (uint8_t)~fl->kills);
    }
    t->block.live_in = live;
}

/* Does the block save its flags before it uses them? Then it had better start with them in MEM. */
static bool saves_first(const struct rw_tr *t)
{
    for (unsigned i = 0; i < t->n; i++) {
        const struct x86_insn *in = &t->in[i];
        if (in->op == OP_PUSH || in->op == OP_POP || in->op == OP_RET || in->op == OP_CALL_REL ||
            in->op == OP_LEAVE)
            return true;
        for (unsigned k = 0; k < in->operands && k < 4; k++)
            if (in->opnd[k].kind == OPND_MEM && in->op != OP_LEA && in->op != OP_NOP)
                return true;
        if (t->fl[i].reads || t->fl[i].may)
            return false;
    }
    return false;
}

/* ---- pieces ---- */

void rw_side_add(struct rw_tr *t, bool start)
{
    uint16_t at = (uint16_t)(t->p - t->start), guest = t->off[t->cur];
    struct rw_side *last = t->sides ? &t->side[t->sides - 1] : NULL;
    if (last && last->host == at && !(last->start && start)) {
        last->guest = guest & 0xfff;
        last->place = t->flags & 3;
        last->start |= start;
        return;
    }
    if (last && !start && last->guest == guest && last->place == t->flags)
        return;
    if (t->sides == sizeof t->side / sizeof *t->side)
        return; /* cannot be: sized for two an instruction and one a cold piece */
    t->side[t->sides++] = (struct rw_side){ .host = at, .guest = guest & 0xfff,
                                            .place = t->flags & 3, .start = start };
}

struct rw_cold *rw_cold_new(struct rw_tr *t, enum rw_cold_kind kind)
{
    if (t->colds == RW_COLDS)
        t->colds--; /* cannot be */
    struct rw_cold *c = &t->cold[t->colds++];
    memset(c, 0, sizeof *c);
    c->kind = (uint8_t)kind;
    c->insn = (uint8_t)t->cur;
    return c;
}

void rw_cold_site(struct rw_tr *t, struct rw_cold *cold)
{
    if (cold->sites < 2)
        cold->site[cold->sites++] = e_here(t);
    e4(t, 0);
}

void rw_slow(struct rw_tr *t)
{
    rw_flags_to_mem(t);
    rw_side_add(t, false);
    e_call(t, t->rw->glue.insn);
    t->flags = FLAGS_BOTH;
}

static void cold_part(struct rw_tr *t)
{
    for (unsigned i = 0; i < t->colds; i++) {
        struct rw_cold *c = &t->cold[i];
        t->cur = c->insn;
        t->flags = FLAGS_MEM; /* or dead */
        uint32_t here = e_here(t);
        for (unsigned k = 0; k < c->sites; k++)
            e_fix32(t->rw, c->site[k], here);
        rw_side_add(t, false);
        switch (c->kind) {
        case COLD_MISS:
            e_call(t, (t->mirror ? t->rw->glue.mirror_miss : t->rw->glue.miss)[c->write]
                          [c->size_log2 > 5 ? 5 : c->size_log2]);
            e_jmp(t, c->resume);
            break;
        case COLD_INSN:
            e_call(t, t->rw->glue.insn);
            break;
        default: /* COLD_LINK */
            t->link[c->link].stub = here;
            e_call(t, t->link[c->link].flags_mem || t->link[c->link].flags_dead
                          ? t->rw->glue.link
                          : t->rw->glue.link_host);
            break;
        }
    }
}

/* ---- the block ---- */

static bool emit_insn(struct rw_tr *t, const struct x86_insn *in)
{
    return rw_emit_int(t, in) || rw_emit_stack(t, in) || rw_emit_flow(t, in) ||
           rw_emit_vec(t, in) || rw_emit_sys(t, in) || rw_emit_str(t, in);
}

/* The instruction that goes on in the next page. */
static void emit_crossing(struct rw_tr *t)
{
    if (t->cpu->lockstep || t->p + 2 * INSN_HOST_MAX > t->limit || t->links + 4 > RW_LINKS ||
        t->colds + 16 > RW_COLDS || !rw_cross_read(t)) {
        rw_slow_last(t);
        return;
    }
    const struct x86_insn *in = &t->in[t->n];
    rw_side_add(t, true);
    rw_cross_check(t);
    t->n++;
    if (!rw_emit_int(t, in) && !rw_emit_stack(t, in)) { /* vec.c's guard was before this came */
        t->n--;
        rw_slow_last(t);
        return;
    }
    rw_flags_after_op(t);
    if (!t->ended)
        rw_emit_goto(t, rw_rip_of(t, t->n));
}

static void emit_all(struct rw_tr *t)
{
    for (t->cur = 0; t->cur < t->n && !t->ended; t->cur++) {
        const struct x86_insn *in = &t->in[t->cur];
        if (t->p + INSN_HOST_MAX > t->limit || t->links + 4 > RW_LINKS ||
            t->colds + 6 > RW_COLDS) {
            t->n = t->cur;
            t->crosses = 0;
            break;
        }
        rw_side_add(t, true);
        if (!(t->cpu->lockstep && lockstep_once(in)) && emit_insn(t, in)) {
            rw_flags_after_op(t);
        } else {
            rw_slow(t);
            t->ended = ends_block(in) || in->op == OP_JCC;
        }
    }
    if (!t->ended && t->crosses && t->cur == t->n) {
        emit_crossing(t);
    } else if (!t->ended) {
        t->cur = t->n - 1;
        rw_emit_goto(t, rw_rip_of(t, t->n));
    }
}

static struct rw_block *finish(struct rw_tr *t)
{
    struct rw_block *b = &t->block;
    struct rw *rw = t->rw;
    for (unsigned at = t->look_lo; at < t->look_hi; at += 64)
        copy_lines(t, at); /* what lies between is compared with memory too */
    cold_part(t);
    b->rip = t->rip;
    b->gpa = t->gpa;
    b->cpl = t->cpl;
    b->mirror = t->mirror;
    b->code = (uint32_t)(t->start - rw->rw_base);
    b->size = (uint32_t)(t->p - t->start);
    b->len = t->off[t->n];
    b->insns = (uint8_t)t->n;
    b->links = (uint8_t)t->links;
    b->sides = (uint16_t)t->sides;
    b->link = t->link;
    b->side = t->side;
    b->uses_vec = t->uses_vec;
    b->look_lo = t->look_lo;
    b->look_hi = t->look_hi;
    rw->used = (b->code + b->size + 15) & ~15u;
    for (unsigned i = 0; i < t->links; i++)
        e_fix32(rw, t->link[i].site, t->link[i].stub);
    rw->stats.blocks++;
    rw->stats.insns += b->insns;
    rw->stats.guest_bytes += b->len;
    rw->stats.host_bytes += b->size;
    return b;
}

static bool find_source(struct rw_tr *t, uint64_t gpa)
{
    uint64_t left;
    uint32_t flags;
    t->source = soft_ram(t->cpu->soft, gpa & PAGE_MASK, &left, &flags);
    t->copied = 0;
    return t->source && left >= PAGE_BYTES;
}

struct rw_block *rw_translate(struct vcpu *cpu, uint64_t rip, uint64_t gpa)
{
    struct rw *rw = cpu->rw;
    struct rw_tr *t = rw->tr;
    vec_out(cpu); /* the C library is welcome here */
    t->cpu = cpu;
    t->rw = rw;
    t->rip = rip;
    t->gpa = gpa;
    t->cpl = cpu->cpl;
    t->mirror = cpu->cpl == 3 && cpu->rw_mirror;
    t->ended = t->uses_vec = 0;
    t->cur = t->colds = t->links = t->sides = 0;
    t->look_lo = PAGE_BYTES;
    t->look_hi = 0;
    memset(&t->block, 0, sizeof t->block);
    if (!find_source(t, gpa))
        return NULL;
    t->bytes = t->page + (rip & (PAGE_BYTES - 1));
    read_insns(t);
    if (t->n == 0 && !t->crosses)
        return NULL;
    if (rw->size - rw->used < RW_CODE_MAX + RW_COLDS * COLD_BYTES + TAIL_BYTES) {
        rw->full = 1;
        return NULL;
    }
    t->start = t->p = rw->rw_base + rw->used;
    t->limit = t->start + RW_CODE_MAX;
    flags_life(t);

    struct rw_block *b = &t->block;
    if (b->live_in && saves_first(t)) {
        b->entry = e_here(t);
        rw_flags_save_code(t);
        b->entry_mem = e_here(t);
        t->flags = FLAGS_MEM;
    } else if (b->live_in) {
        b->entry_mem = e_here(t);
        rw_flags_restore_code(t);
        b->entry = e_here(t);
        t->flags = FLAGS_HOST;
    } else {
        b->entry = b->entry_mem = e_here(t);
        t->flags = FLAGS_DEAD;
    }
    emit_all(t);
    return finish(t);
}
