/*
 * test-build: object_build() with real classes: what stands in an instance afterwards. The back is
 * replaced by wire_source() here, which only writes down what it was asked for.
 */
#include "front.h" /* first: cmocka.h has a macro fail() */

#include "plugins/test-front.h"
#include "run.h"

static const mobo_irq_ops_t wire_ops = { .size = sizeof wire_ops };

const mobo_host_t host_services = { .size = sizeof host_services };

int wire_source(struct object *o, struct object *chip, uint32_t line, mobo_irq_t *irq)
{
    assert_non_null(o);
    *irq = (mobo_irq_t){ .ops = &wire_ops, .self = chip, .line = line };
    return 0;
}

static const char machine[] =
    "[machine]\nmemory = 64M\ncpus = 3\non-crash = pause\n"
    "[accel]\ntype = test-front/accel, test-front/slow\nfast = yes\n"
    "[accel@test-front/slow]\nlevel = 7\n"
    "[vda]\ntype = test-front/dev\nqueues = 4\ncache = none\nflag = on\ncount = 0x123456789a\n"
    "bytes = 8K\nserial = abc\nmac = 02:03:04:05:06:07\nline = pic:15\n"
    "at = 0xd0000000\nirq = 4\n"
    "[d0]\ntype = test-front/disk\npath = sub/x.img\n"
    "[bus]\ntype = test-front/bus\n"
    "[pic]\ntype = test-front/chip\n";

static struct machine *load(const char *text, char *const *overrides, unsigned count)
{
    write_text("m.ini", text);
    struct machine *m = machine_load("m.ini", overrides, count);
    assert_int_equal(unlink("m.ini"), 0);
    assert_non_null(m);
    return m;
}

static struct object *find(const struct machine *m, const char *name)
{
    for (unsigned i = 0; i < m->object_count; i++) {
        if (strcmp(m->objects[i]->pub.name, name) == 0)
            return m->objects[i];
    }
    fail_msg("no [%s]", name);
    return NULL;
}

static void settings(void **state)
{
    (void)state;
    struct machine *m = load(machine, NULL, 0);
    assert_int_equal(m->set.memory, 64 << 20);
    assert_int_equal(m->set.low_memory, UINT64_C(3) << 30);
    assert_int_equal(m->set.cpus, 3);
    assert_int_equal(m->set.on_crash, ON_CRASH_PAUSE);
    assert_int_equal(m->set.on_reset, ON_RESET_RESET);
    machine_free(m);
}

static void instances(void **state)
{
    (void)state;
    char cwd[256];
    struct machine *m = load(machine, (char *[]){ "vda.queues=5" }, 1);
    for (unsigned i = 0; i < m->object_count; i++)
        assert_int_equal(object_build(m->objects[i], 0), 0);
    struct object *o = find(m, "vda"), *pic = find(m, "pic"), *d0 = find(m, "d0");
    const struct dev *d = o->self;
    assert_ptr_equal(d->obj, &o->pub);
    assert_ptr_equal(d->obj->host, &host_services);
    assert_ptr_equal(d->bus.self, find(m, "bus")->self);
    assert_ptr_equal(d->bus.ops, object_iface(find(m, "bus"), MOBO_MMIO_BUS));
    assert_ptr_equal(d->drive.self, d0->self);
    assert_ptr_equal(d->drive.ops, object_iface(d0, MOBO_BLOCK));
    assert_non_null(d->drive.ops);
    assert_ptr_equal(d->line.self, pic);
    assert_int_equal(d->line.line, 15);
    assert_int_equal(d->queues, 5);
    assert_int_equal(d->cache, 2);
    assert_int_equal(d->flag, 1);
    assert_int_equal(d->count, 0x123456789a);
    assert_int_equal(d->bytes, 8192);
    assert_string_equal(d->serial, "abc");
    assert_memory_equal(d->mac, "\2\3\4\5\6\7", 6);

    const struct child *c = o->child;
    assert_non_null(c);
    assert_ptr_equal(o->bus, find(m, "bus"));
    assert_int_equal(c->at, 0xd0000000);
    assert_string_equal(c->label, "");
    assert_ptr_equal(c->irq.self, pic); /* the bus is no chip; there is only one */
    assert_int_equal(c->irq.line, 4);

    const struct disk *disk = d0->self;
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(strncmp(disk->path, cwd, strlen(cwd)), 0);
    assert_string_equal(disk->path + strlen(cwd), "/sub/x.img");
    assert_null(object_iface(d0, MOBO_ACCEL));
    machine_free(m);
}

static void alternatives(void **state)
{
    (void)state;
    struct machine *m = load(machine, NULL, 0);
    struct object *o = find(m, "accel");
    assert_int_equal(o->candidate_count, 2);
    assert_int_equal(object_build(o, 0), 0);
    assert_string_equal(o->klass->c.name, "accel");
    assert_int_equal(object_build(o, 1), 0);
    assert_string_equal(o->klass->c.name, "slow");
    assert_int_equal(((const struct slow *)o->self)->level, 7);
    machine_free(m);
}

static void line_too_high(void **state)
{
    (void)state;
    struct machine *m = load(machine, (char *[]){ "vda.line=pic:16" }, 1);
    int rc = 0;
    for (unsigned i = 0; i < m->object_count && rc == 0; i++)
        rc = object_build(m->objects[i], 0);
    assert_int_equal(rc, MOBO_EINVAL);
    machine_free(m);
}

static void optional_links(void **state)
{
    (void)state;
    struct machine *m = load(machine, (char *[]){ "bus.chip=", "vda.line=" }, 2);
    for (unsigned i = 0; i < m->object_count; i++)
        assert_int_equal(object_build(m->objects[i], 0), 0);
    assert_null(((const struct bus *)find(m, "bus")->self)->chip.ops);
    assert_null(((const struct dev *)find(m, "vda")->self)->line.ops);
    machine_free(m);
    m = load(machine, NULL, 0);
    for (unsigned i = 0; i < m->object_count; i++)
        assert_int_equal(object_build(m->objects[i], 0), 0);
    assert_ptr_equal(((const struct bus *)find(m, "bus")->self)->chip.self, find(m, "pic")->self);
    machine_free(m);
}

static int enter(void **state)
{
    static char folder[64];
    (void)setenv("MOBO_PLUGIN_PATH", PLUGINS, 1);
    enter_empty_folder(folder);
    *state = folder;
    return 0;
}

static int leave(void **state)
{
    leave_folder(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings),      cmocka_unit_test(instances),
        cmocka_unit_test(alternatives),  cmocka_unit_test(line_too_high),
        cmocka_unit_test(optional_links),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
