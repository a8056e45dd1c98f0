/* owner.c: what tests of backends share; see owner.h. */
#include "owner.h"

/* Each time there is something to read, read it, as a device with room would. */
static void owner_event(void *self, uint32_t events)
{
    struct owner *o = self;
    o->events |= events;
    uint32_t n;
    while ((events & MOBO_CHAR_READABLE) && o->len < sizeof o->in &&
           (n = mobo_char_read(o->link, o->in + o->len, (uint32_t)sizeof o->in - o->len)))
        o->len += n;
}

static int owner_init(void *self)
{
    struct owner *o = self;
    o->open_rc = mobo_char_open(o->link, o->obj, owner_event);
    return o->open_rc;
}

const mobo_class_t *owner_class(void)
{
    static const mobo_prop_t props[] = {
        MOBO_LINK(struct owner, link, MOBO_CHAR, "backend"), MOBO_END,
    };
    static const mobo_class_t c = {
        MOBO_CLASS(struct owner, props, NULL), .name = "owner", .summary = "owner of a stream",
        .init = owner_init,
    };
    return &c;
}

int owner_hears(struct fake *f, struct owner *o, uint32_t events)
{
    for (int i = 0; i < 200 && (o->events & events) != events; i++) {
        (void)fake_poll(f, 10);
        (void)fake_run(f);
    }
    return (o->events & events) == events;
}

int owner_reads(struct fake *f, struct owner *o, uint32_t len)
{
    for (int i = 0; i < 200 && o->len < len; i++) {
        (void)fake_poll(f, 10);
        (void)fake_run(f);
    }
    return o->len >= len;
}

void folder_new(struct folder *d)
{
    memset(d, 0, sizeof *d);
    (void)snprintf(d->path, sizeof d->path, "/tmp/mobo-test-XXXXXX");
    assert_non_null(mkdtemp(d->path));
}

const char *file(struct folder *d, const char *prefix, const char *name)
{
    char text[sizeof d->name[0]];
    (void)snprintf(text, sizeof text, "%s%s/%s", prefix, d->path, name);
    return memcpy(d->name[d->next++ % 8], text, sizeof text);
}

void folder_remove(struct folder *d)
{
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", d->path);
    assert_int_equal(system(command), 0);
}
