/*
 * graph.c: the start order: what an object links to comes before it, otherwise the order of the
 * file. Circles of links are refused, because locks follow links.
 */
#include "front.h"

enum { NEW, OPEN, DONE };

struct sort {
    struct front *f;
    unsigned char *mark; /* by index in file order */
    struct object **file_order, **sorted, **path;
    unsigned *next; /* per path entry: the link to look at next */
    unsigned count, sorted_count, depth;
};

static unsigned index_of(const struct sort *s, const struct object *o)
{
    unsigned i = 0;
    while (s->file_order[i] != o)
        i++;
    return i;
}

static void report_cycle(struct sort *s, const struct object *again)
{
    unsigned start = 0;
    while (s->path[start] != again)
        start++;
    const char *chain = "";
    for (unsigned i = start; i < s->depth; i++)
        chain = arena_format(&s->f->arena, "%s[%s] -> ", chain, s->path[i]->pub.name);
    fault(s->f, again->section->pos, again->pub.name, "links form a circle: %s[%s]", chain,
          again->pub.name);
}

static void push(struct sort *s, struct object *o)
{
    s->mark[index_of(s, o)] = OPEN;
    s->path[s->depth] = o;
    s->next[s->depth++] = 0;
}

/* Depth first, with a stack of our own: the file decides how deep it goes. */
static void visit(struct sort *s, struct object *root)
{
    push(s, root);
    while (s->depth) {
        struct object *o = s->path[s->depth - 1];
        unsigned n = s->next[s->depth - 1]++;
        if (n == o->dep_count) {
            s->mark[index_of(s, o)] = DONE;
            s->sorted[s->sorted_count++] = o;
            s->depth--;
            continue;
        }
        struct object *dep = o->deps[n];
        unsigned char mark = s->mark[index_of(s, dep)];
        if (mark == OPEN)
            report_cycle(s, dep);
        else if (mark == NEW)
            push(s, dep);
    }
}

void graph_sort(struct front *f)
{
    struct arena *a = &f->arena;
    unsigned count = f->m.object_count;
    struct sort s = {
        .f = f,
        .count = count,
        .file_order = f->m.objects,
        .mark = arena_alloc(a, count + 1),
        .sorted = arena_alloc(a, (count + 1) * sizeof(struct object *)),
        .path = arena_alloc(a, (count + 1) * sizeof(struct object *)),
        .next = arena_alloc(a, (count + 1) * sizeof(unsigned)),
    };
    for (unsigned i = 0; i < count; i++) {
        if (s.mark[i] == NEW)
            visit(&s, f->m.objects[i]);
    }
    f->m.objects = s.sorted;
}
