/*
 * blocks.c: the cache of decoded blocks of one virtual CPU: finding, making and dropping them.
 * Private to the CPU, so nothing here takes a lock; what other CPUs have to know is smc.c's.
 *
 * A block is known by where its bytes are (guest-physical), by rip (branch targets are absolute in
 * it) and by the mode it was decoded in. `lookup` finds it by rip alone as long as code_key says
 * that neither mode nor mappings have changed.
 */
#include "interp.h"
#include "x86/mmu.h"
#include "x86/vecstate.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 256 };

static unsigned block_hash(uint64_t gpa, uint64_t rip)
{
    uint64_t h = (gpa * UINT64_C(0x9e3779b97f4a7c15)) ^ (rip >> PAGE_BITS) * UINT64_C(0x85ebca6b);
    return (unsigned)(h >> 20) & ((1u << BLOCK_HASH_BITS) - 1);
}

static struct code_page **page_slot(struct interp *ip, uint64_t gpa)
{
    struct code_page **p = &ip->pages[(gpa >> PAGE_BITS) & ((1u << PAGE_HASH_BITS) - 1)];
    while (*p && (*p)->gpa != (gpa & PAGE_MASK))
        p = &(*p)->next;
    return p;
}

bool blocks_have(struct vcpu *cpu, uint64_t gpa)
{
    return *page_slot(cpu->interp, gpa) != NULL;
}

static struct block **page_link(struct block *b, uint64_t gpa)
{
    return &b->page_next[((b->gpa ^ gpa) & PAGE_MASK) != 0];
}

/* Enter the page into the CPU's table, telling everyone; false: no memory. */
static bool page_enter(struct vcpu *cpu, uint64_t gpa)
{
    struct interp *ip = cpu->interp;
    struct code_page **slot = page_slot(ip, gpa), *page = *slot;
    if (page)
        return true;
    page = ip->free_pages;
    if (page)
        ip->free_pages = page->next;
    else
        page = malloc(sizeof *page);
    if (!page)
        return false;
    page->gpa = gpa & PAGE_MASK;
    page->first = NULL;
    page->next = NULL;
    *slot = page;
    page->map = smc_enter(cpu, gpa);
    return true;
}

static void page_forget(struct vcpu *cpu, struct code_page **slot)
{
    struct code_page *page = *slot;
    *slot = page->next;
    smc_leave(cpu, page->gpa, page->map);
    page->next = cpu->interp->free_pages;
    cpu->interp->free_pages = page;
}

static void page_unlist(struct vcpu *cpu, struct block *gone, uint64_t gpa)
{
    struct code_page *page = *page_slot(cpu->interp, gpa);
    if (!page)
        return;
    struct block **p = &page->first;
    while (*p && *p != gone)
        p = page_link(*p, gpa);
    if (*p)
        *p = *page_link(gone, gpa);
}

/* Nobody gets into the block any more; whoever is in it leaves at its next instruction. */
static void block_kill(struct vcpu *cpu, struct block *b)
{
    struct block **p = &cpu->interp->hash[block_hash(b->gpa, b->rip)];
    while (*p && *p != b)
        p = &(*p)->hash_next;
    if (*p)
        *p = b->hash_next;
    for (struct link *l = b->in, *next; l; l = next) {
        next = l->next;
        l->target = (const struct dop *)(const void *)l;
        l->to = NULL;
        l->next = NULL;
    }
    b->in = NULL;
    b->valid = 0;
    struct dop *op = (struct dop *)(void *)(b + 1);
    for (unsigned i = 0; i < b->ops; i++)
        op[i].fn = op_stale;
}

void blocks_drop_page(struct vcpu *cpu, uint64_t gpa)
{
    struct code_page **slot = page_slot(cpu->interp, gpa);
    if (!*slot)
        return;
    for (struct block *b = (*slot)->first, *next; b; b = next) {
        next = *page_link(b, gpa);
        if (b->gpa2 != ~(uint64_t)0)
            page_unlist(cpu, b, ((b->gpa ^ gpa) & PAGE_MASK) ? b->gpa : b->gpa2);
        block_kill(cpu, b);
    }
    (*slot)->first = NULL;
    page_forget(cpu, slot);
    cpu->interp->link = NULL;
}

void blocks_drop_all(struct vcpu *cpu)
{
    struct interp *ip = cpu->interp;
    for (unsigned i = 0; i < 1u << PAGE_HASH_BITS; i++)
        while (ip->pages[i])
            page_forget(cpu, &ip->pages[i]);
    memset(ip->hash, 0, sizeof *ip->hash << BLOCK_HASH_BITS);
    memset(ip->lookup, 0, sizeof ip->lookup);
    ip->arena_used = 0;
    ip->link = NULL;
}

/* ---- making ---- */

/* Where the bytes of a block come from: a private copy, compared with memory when all is marked. */
struct source {
    uint8_t bytes[BLOCK_BYTES + 16];
    unsigned len;             /* valid bytes */
    uint64_t gpa;             /* of bytes[0] */
    const uint8_t *host;      /* of bytes[0], or NULL: not RAM */
    uint64_t gpa2;            /* of the second page, once fetched; or ~0 */
    const uint8_t *host2;
    unsigned split;           /* bytes of the first page */
};

static uint64_t code_linear(const struct vcpu *cpu, uint64_t rip)
{
    return cpu->code_bits == 64 ? rip : (uint32_t)(cpu->seg[SEG_CS].base + rip);
}

static void fetch(struct vcpu *cpu, uint64_t gpa, const uint8_t *host, uint8_t *to, unsigned len)
{
    if (host)
        memcpy(to, host, len);
    else
        for (unsigned i = 0; i < len; i++)
            to[i] = (uint8_t)phys_read(cpu, gpa + i, 1);
}

static void source_first(struct vcpu *cpu, struct source *s, const struct tlb_note *note,
                         uint64_t linear, unsigned max)
{
    unsigned room = PAGE_BYTES - (unsigned)(linear & (PAGE_BYTES - 1));
    s->split = s->len = room < max ? room : max;
    s->gpa = note->gpa + (linear & (PAGE_BYTES - 1));
    s->host = note->host ? note->host + (linear & (PAGE_BYTES - 1)) : NULL;
    s->gpa2 = ~(uint64_t)0;
    s->host2 = NULL;
    fetch(cpu, s->gpa, s->host, s->bytes, s->len);
}

/* The instruction goes on in the next page: fault there if it must. */
static void source_second(struct vcpu *cpu, struct source *s, uint64_t linear)
{
    uint64_t next = (linear & PAGE_MASK) + PAGE_BYTES;
    if (!(cpu->efer & EFER_LMA))
        next = (uint32_t)next;
    const struct tlb_note *note = mmu_page(cpu, tlb_set_now(cpu), next, ACC_X);
    tlb_exec_note(cpu->tlb, next);
    s->gpa2 = note->gpa;
    s->host2 = note->host;
    fetch(cpu, s->gpa2, s->host2, s->bytes + s->len, 15);
    s->len += 15;
}

static bool source_unchanged(const struct source *s, unsigned used)
{
    unsigned first = used < s->split ? used : s->split;
    return (!s->host || memcmp(s->bytes, s->host, first) == 0) &&
           (used <= s->split || !s->host2 ||
            memcmp(s->bytes + s->split, s->host2, used - s->split) == 0);
}

static void link_init(struct dop *op, uint64_t rip)
{
    struct link *l = (struct link *)(void *)op;
    memset(l, 0, sizeof *l);
    l->fn = op_resolve;
    l->rip = rip;
    l->target = op;
}

static void *arena(struct interp *ip, uint64_t size)
{
    void *p = ip->arena + ip->arena_used;
    ip->arena_used += (size + 31) & ~(uint64_t)31;
    return p;
}

/* Decode from S into B, whose operations go to the arena behind it. */
static void decode(struct vcpu *cpu, struct block *b, struct source *s, uint64_t linear,
                   unsigned max)
{
    struct interp *ip = cpu->interp;
    struct x86_dec_mode mode = { cpu->code_bits };
    struct dop op[BLOCK_INSNS + 1 + 4];
    struct build build = { .cpu = cpu, .mode = (unsigned)b->mode };
    unsigned n = 0, off = 0;
    bool end = false;
    uint64_t limit = cpu->code_bits == 64 ? ~(uint64_t)0 : cpu->seg[SEG_CS].limit;
    uint64_t wrap = cpu->code_bits == 64   ? ~(uint64_t)0
                    : cpu->code_bits == 32 ? 0xffffffff
                                           : 0xffff;

    memset(op, 0, sizeof op);
    while (!end && n < max) {
        struct x86_insn in;
        unsigned left = s->len - off;
        enum x86_dec_result res = x86_decode(s->bytes + off, left < 15 ? left : 15, mode, &in);
        if (res == DEC_MORE && s->gpa2 == ~(uint64_t)0) {
            if (n > 0)
                break; /* page-crossing instructions stand alone */
            if (s->len < 15 && ((linear + s->len) & (PAGE_BYTES - 1)) == 0) {
                source_second(cpu, s, linear);
                max = 1;
                continue;
            }
        }
        build.rip = b->rip + off;
        if (build.rip > limit || (res == DEC_OK && in.len - 1u > limit - build.rip)) {
            if (n > 0)
                break;
            x86_raise_err(cpu, VEC_GP, 0);
        }
        struct dop *o = &op[n];
        o->off = (uint16_t)off;
        o->idx = (uint8_t)n;
        o->count = (uint8_t)(n + 1);
        if (res != DEC_OK) {
            o->fn = res == DEC_UD ? op_undefined : op_too_long;
            off += in.len && in.len <= 15 ? in.len : 1;
            n++;
            end = true;
            break;
        }
        build.links = 0;
        build.rec_used = false;
        build.rec = (struct xrec *)(void *)(ip->arena + ip->arena_used);
        end = interp_select(&build, &in, s->bytes + off, o);
        if (build.rec_used)
            (void)arena(ip, sizeof *build.rec);
        off += in.len;
        n++;
    }

    unsigned total = n;
    if (!end) {
        struct dop *o = &op[n];
        o->off = (uint16_t)off;
        o->idx = (uint8_t)n;
        o->count = (uint8_t)n;
        o->a = (b->rip + off) & wrap;
        build.links = 0;
        if (b->mode & (MODE_ONCE | MODE_LIMIT)) {
            o->fn = op_leave;
        } else {
            o->fn = op_fall;
            build.links = 1;
            build.link_rip[0] = o->a;
        }
        total++;
    }
    for (unsigned i = 0; i < build.links; i++) {
        link_init(&op[total], build.link_rip[i]);
        total += 2;
    }
    b->len = (uint16_t)off;
    b->ops = (uint8_t)(end ? n : n + 1);

    /* the records came first into the arena: the block goes behind them */
    struct block *to = arena(ip, sizeof *b + total * sizeof *op);
    *to = *b;
    memcpy(to + 1, op, total * sizeof *op);
    for (unsigned i = 0; i < build.links; i++) {
        struct link *l = (struct link *)(void *)((struct dop *)(void *)(to + 1) +
                                                 (total - 2 * build.links + 2 * i));
        l->target = (const struct dop *)(const void *)l;
    }
    b->hash_next = to;
}

static struct block *block_make(struct vcpu *cpu, uint64_t linear, const struct tlb_note *note,
                                unsigned mode)
{
    struct interp *ip = cpu->interp;
    struct source s;
    vec_out(cpu); /* malloc */
    uint64_t gpa = note->gpa + (linear & (PAGE_BYTES - 1));
    bool ram = note->host != NULL;
    struct tlb_note first = *note;

    uint64_t worst = sizeof(struct block) + (BLOCK_INSNS + 5) * sizeof(struct dop) +
                     BLOCK_INSNS * ((sizeof(struct xrec) + 31) & ~31u);
    if (ip->arena_size - ip->arena_used < worst)
        blocks_drop_all(cpu);
    if (ram && !page_enter(cpu, gpa))
        ram = false;

    for (;;) {
        uint64_t mark = ip->arena_used;
        struct block b = { .rip = cpu->rip, .gpa = gpa, .mode = mode, .valid = 1 };
        unsigned max = (mode & MODE_ONCE) || !ram ? 1 : BLOCK_INSNS;
        source_first(cpu, &s, &first, linear, BLOCK_BYTES);
        decode(cpu, &b, &s, linear, max);
        struct block *made = b.hash_next;
        made->gpa2 = s.gpa2;
        made->hash_next = NULL;
        cpu->blocks_decoded++;
        bool two = s.gpa2 != ~(uint64_t)0;
        if (!ram || (two && (!s.host2 || !page_enter(cpu, s.gpa2)))) {
            made->valid = 0; /* not kept: found by nobody, gone with the arena */
            return made;
        }
        unsigned in_first = made->len < s.split ? made->len : s.split;
        smc_lines(cpu, s.gpa, in_first ? in_first : 1);
        if (two)
            smc_lines(cpu, s.gpa2, made->len > s.split ? made->len - s.split : 1);
        atomic_thread_fence(memory_order_seq_cst);
        if (!source_unchanged(&s, made->len)) {
            ip->arena_used = mark; /* somebody wrote in between: decode again */
            continue;
        }
        struct block **h = &ip->hash[block_hash(gpa, made->rip)];
        made->hash_next = *h;
        *h = made;
        struct code_page *page = *page_slot(ip, gpa);
        made->page_next[0] = page->first;
        page->first = made;
        if (two && ((s.gpa2 ^ gpa) & PAGE_MASK)) {
            page = *page_slot(ip, s.gpa2);
            made->page_next[1] = page->first;
            page->first = made;
        }
        return made;
    }
}

/* The block at cpu->rip after all rights are checked. Between blocks only: may drop all of them. */
static struct block *block_lookup(struct vcpu *cpu, unsigned mode)
{
    struct interp *ip = cpu->interp;
    uint64_t rip = cpu->rip, linear = code_linear(cpu, rip);

    if (cpu->code_bits == 64 ? !is_canonical(cpu, rip) : rip > cpu->seg[SEG_CS].limit)
        x86_raise_err(cpu, VEC_GP, 0);
    const struct tlb_note *note = mmu_page(cpu, tlb_set_now(cpu), linear, ACC_X);
    tlb_exec_note(cpu->tlb, linear);
    if ((rip >> 63) && !note->global)
        ip->upper_own = 1;
    uint64_t gpa = note->gpa + (linear & (PAGE_BYTES - 1));
    struct block *b = ip->hash[block_hash(gpa, rip)];
    while (b && (b->rip != rip || b->gpa != gpa || b->mode != mode))
        b = b->hash_next;
    if (b && b->gpa2 != ~(uint64_t)0) {
        uint64_t next = (linear & PAGE_MASK) + PAGE_BYTES;
        if (!(cpu->efer & EFER_LMA))
            next = (uint32_t)next;
        uint64_t gpa2 = mmu_page(cpu, tlb_set_now(cpu), next, ACC_X)->gpa;
        tlb_exec_note(cpu->tlb, next);
        if (gpa2 != b->gpa2) {
            /* the same first half, another second half */
            note = mmu_page(cpu, tlb_set_now(cpu), linear, ACC_X);
            b = NULL;
        }
    }
    if (!b || ((mode & MODE_LIMIT) && b->len - 1u > cpu->seg[SEG_CS].limit - rip))
        b = block_make(cpu, linear, note, mode);
    return b;
}

struct block *block_find(struct vcpu *cpu, unsigned extra_mode)
{
    struct interp *ip = cpu->interp;
    uint64_t rip = cpu->rip, key = cpu->code_key[rip >> 63] | extra_mode;
    struct lookup *e = &ip->lookup[lookup_index(rip)];
    struct link *link = ip->link;
    struct block *b = e->block;

    /* The key does not say which code segment it is: with a base or a limit, look it up properly. */
    if ((ip->mode & MODE_LIMIT) || !(e->rip == rip && e->key == key && b && b->valid)) {
        b = block_lookup(cpu, ip->mode | extra_mode);
        key = cpu->code_key[rip >> 63] | extra_mode;
        link = ip->link; /* a flush of the cache cleared it */
        if (b->valid) {
            e->rip = rip;
            e->key = key;
            e->block = b;
        }
    }
    ip->link = NULL;
    if (link && link->rip == rip && !extra_mode && b->valid) {
        if (link->to) { /* the key had gone stale: it may lead elsewhere now */
            struct link **p = &link->to->in;
            while (*p && *p != link)
                p = &(*p)->next;
            if (*p)
                *p = link->next;
        }
        link->target = block_ops(b);
        link->key = key;
        link->to = b;
        link->next = b->in;
        b->in = link;
    }
    return b;
}
