/* board.h: pieces of a PC on the fake host, for the tests of dev-pc and of what builds on it. */
#ifndef BOARD_H
#define BOARD_H

#include "fakehost.h" /* before cmocka.h, whose macro fail() would hit a member of that name */

#include <setjmp.h>

#include <cmocka.h>

enum { MS = 1000000, SECOND = 1000000000 };

static inline const mobo_class_t *dev_pc(const char *name)
{
    return fake_class(PLUGINS "/dev-pc.so", name);
}

/* pic0, ioapic0 and isa0, as in machines/micro.ini. */
static inline struct fake *board_new(uint64_t ram, uint32_t vcpus)
{
    struct fake *f = fake_new(ram, vcpus);
    assert_non_null(fake_add(f, "pic0", dev_pc("pic"), NULL));
    assert_non_null(fake_add(f, "ioapic0", dev_pc("ioapic"), NULL));
    assert_non_null(fake_add_(f, "isa0", fake_class(PLUGINS "/bus-isa.so", "isa"), "pic=pic0",
                              "ioapic=ioapic0"));
    return f;
}

/* A bus whose lines are only recorded: one that has no interrupt controllers behind it. */
static inline struct fake *bare_new(void)
{
    struct fake *f = fake_new(1 << 20, 1);
    fake_set_real(f, UINT64_C(1700000000) * SECOND);
    assert_non_null(fake_add(f, "isa0", fake_class(PLUGINS "/bus-isa.so", "isa"), NULL));
    return f;
}

#endif
