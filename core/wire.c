/*
 * wire.c: interrupt lines (an input of a chip, driven by the OR of its sources), message-signalled
 * interrupts and the extra lines that the legacy interrupt controllers of a PC have to the CPU. Takes no object's lock.
 */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

/* One input of one chip. The lock orders the levels the chip sees; chips form no circle. */
struct wire {
    struct wire *next;
    struct object *chip;
    const mobo_irqchip_ops_t *ops;
    uint32_t line;
    unsigned high;          /* sources at level 1 */
    pthread_mutex_t lock;
};

struct source {
    struct source *next;    /* of the object */
    struct wire *wire;
    _Atomic uint32_t level;
};

struct eoi_hook {
    struct eoi_hook *next;
    struct object *o;
    void (*fn)(void *self, uint32_t vector);
};

/* ---- wires ----------------------------------------------------------------------------------- */

static void source_set(void *self, uint64_t line, uint32_t level)
{
    struct source *s = self;
    struct wire *w = s->wire;
    (void)line;
    /* Most calls repeat the level. One source is driven from one thread at a time. */
    if (atomic_load(&s->level) == level)
        return;
    pthread_mutex_lock(&w->lock);
    if (atomic_exchange(&s->level, level) != level) {
        unsigned before = w->high;
        w->high = level ? before + 1 : before - 1;
        if (!before != !w->high)
            w->ops->set(w->chip->self, w->line, w->high != 0);
    }
    pthread_mutex_unlock(&w->lock);
}

static struct wire *wire_get(struct runtime *rt, struct object *chip,
                             const mobo_irqchip_ops_t *ops, uint32_t line)
{
    struct wire *w = rt->wires;
    while (w && (w->chip != chip || w->line != line))
        w = w->next;
    if (w || !(w = calloc(1, sizeof *w)))
        return w;
    w->chip = chip;
    w->ops = ops;
    w->line = line;
    pthread_mutex_init(&w->lock, NULL);
    w->next = rt->wires;
    rt->wires = w;
    return w;
}

int wire_source(struct object *o, struct object *chip, uint32_t line, mobo_irq_t *irq)
{
    static const mobo_irq_ops_t ops = { .size = sizeof ops, .set = source_set };
    const mobo_irqchip_ops_t *chip_ops = object_iface(chip, MOBO_IRQCHIP);
    if (!chip_ops || !MOBO_HAS(chip_ops, set) || !MOBO_HAS(chip_ops, lines))
        return mobo_fail_code(&o->pub, MOBO_ENOTSUP, "[%s] has no interrupt inputs",
                              chip->pub.name);
    uint32_t lines = chip_ops->lines(chip->self);
    if (line >= lines)
        return mobo_fail(&o->pub, "interrupt line %u: [%s] has %u lines, counted from 0", line,
                         chip->pub.name, lines);
    struct wire *w = wire_get(runtime_of(o), chip, chip_ops, line);
    struct source *s = w ? calloc(1, sizeof *s) : NULL;
    if (!s)
        return MOBO_ENOMEM;
    s->wire = w;
    s->next = o->rt->sources;
    o->rt->sources = s;
    *irq = (mobo_irq_t){ .ops = &ops, .self = s, .line = line };
    return 0;
}

static int irq_wire(mobo_obj_t *obj, void *chip, uint32_t line, mobo_irq_t *irq)
{
    return wire_source(object_of(obj), object_of(*(mobo_obj_t **)chip), line, irq);
}

/*
 * Everything low, and the chips have heard it: before the objects are reset, in whose reset a line
 * may go up again. Whether a chip's reset keeps or forgets its inputs makes no difference then.
 */
void wires_clear(struct runtime *rt)
{
    for (unsigned i = 0; i < rt->m->object_count; i++)
        for (struct source *s = rt->m->objects[i]->rt->sources; s; s = s->next)
            source_set(s, s->wire->line, 0);
}

void wires_release(struct object *o)
{
    struct runtime *rt = runtime_of(o);
    while (o->rt->sources) {
        struct source *s = o->rt->sources;
        source_set(s, s->wire->line, 0);
        o->rt->sources = s->next;
        free(s);
    }
    if (rt->pic == o)
        rt->pic = NULL;
    for (struct eoi_hook **h = &rt->eoi_hooks; *h;) {
        struct eoi_hook *hook = *h;
        if (hook->o != o) {
            h = &hook->next;
            continue;
        }
        *h = hook->next;
        free(hook);
    }
    /* A chip goes after those wired to it, so nobody holds its wires. */
    for (struct wire **p = &rt->wires; *p;) {
        struct wire *w = *p;
        if (w->chip != o) {
            p = &w->next;
            continue;
        }
        *p = w->next;
        pthread_mutex_destroy(&w->lock);
        free(w);
    }
}

/* ---- messages -------------------------------------------------------------------------------- */

static int irq_msi(mobo_obj_t *obj, uint64_t addr, uint32_t data)
{
    struct runtime *rt = runtime_of(object_of(obj));
    if (!rt->accel.msi)
        return MOBO_ENOTSUP;
    atomic_fetch_add_explicit(&rt->msis, 1, memory_order_relaxed);
    return rt->accel.msi(rt->accel_self, addr, data, 0);
}

/* ---- x86: the legacy controllers ----------------------------------------------------------- */

static int irq_extint_attach(mobo_obj_t *obj, int (*ack)(void *self))
{
    struct object *o = object_of(obj);
    struct runtime *rt = runtime_of(o);
    if (rt->pic)
        return mobo_fail_code(obj, MOBO_EEXIST,
                              "[%s] is the interrupt controller behind INTR already; keep one",
                              rt->pic->pub.name);
    rt->pic_ack = ack;
    rt->pic = o;
    return 0;
}

static void irq_extint(mobo_obj_t *obj, uint32_t level)
{
    struct runtime *rt = runtime_of(object_of(obj));
    if (rt->accel.extint)
        rt->accel.extint(rt->accel_self, level ? 1 : 0);
}

static int irq_eoi_attach(mobo_obj_t *obj, void (*eoi)(void *self, uint32_t vector))
{
    struct object *o = object_of(obj);
    struct runtime *rt = runtime_of(o);
    struct eoi_hook *h = calloc(1, sizeof *h);
    if (!h)
        return MOBO_ENOMEM;
    h->o = o;
    h->fn = eoi;
    h->next = rt->eoi_hooks;
    rt->eoi_hooks = h;
    return 0;
}

int wires_intack(struct runtime *rt)
{
    struct object *o = rt->pic;
    if (!o)
        return -1;
    bool lock = !object_parallel(o);
    if (lock)
        object_enter(o);
    int vector = rt->pic_ack(o->self);
    if (lock)
        object_leave(o);
    return vector;
}

void wires_eoi(struct runtime *rt, uint32_t vector)
{
    for (struct eoi_hook *h = rt->eoi_hooks; h; h = h->next) {
        bool lock = !object_parallel(h->o);
        if (lock)
            object_enter(h->o);
        h->fn(h->o->self, vector);
        if (lock)
            object_leave(h->o);
    }
}

const mobo_irq_api_t irq_api = {
    .size = sizeof irq_api,
    .wire = irq_wire,
    .msi = irq_msi,
    .extint_attach = irq_extint_attach,
    .extint = irq_extint,
    .eoi_attach = irq_eoi_attach,
};
