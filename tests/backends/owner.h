/*
 * owner.h: objects that use a backend, for the tests of one: a device that opens a character stream
 * and keeps what it hears, and a temporary folder.
 */
#ifndef OWNER_H
#define OWNER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Before cmocka.h, whose macro `fail` is also a member of a host table. */
#include <fakehost.h>

#include <cmocka.h>

struct owner {
    mobo_obj_t *obj;
    mobo_char_t link;
    uint32_t events; /* all that were told */
    uint32_t len;
    int open_rc;
    uint8_t in[1 << 16];
};

const mobo_class_t *owner_class(void);
/* Poll the watched files and run what follows until the owner has heard EVENTS, or for 2 s. */
int owner_hears(struct fake *f, struct owner *o, uint32_t events);
/* The same until LEN bytes have come in. */
int owner_reads(struct fake *f, struct owner *o, uint32_t len);

struct folder {
    char path[32];
    char name[8][96]; /* of file() */
    unsigned next;
};

void folder_new(struct folder *d);
/* PREFIX and the path of NAME in the folder; the last eight stay valid. */
const char *file(struct folder *d, const char *prefix, const char *name);
void folder_remove(struct folder *d);

#endif
