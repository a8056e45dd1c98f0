/*
 * test-map.c: the address map: overlays, widths, straddling, DMA that reaches RAM only (robustness
 * B5), memory of devices, and views that change while CPUs use them.
 */
#include "fake.h"

#include <string.h>
#include <unistd.h>

enum { MiB = 1 << 20 };
static const uint64_t HIGH = (uint64_t)1 << 32;

/* A device whose registers remember the last access, and read as offset-dependent bytes. */
struct dev {
    mobo_obj_t *obj;
    uint64_t off[16], val[16];
    unsigned bytes[16];
    unsigned count, writes;
    uint32_t handle;
    atomic_uint calls;
};

static struct dev *dev_a, *dev_b;

static uint64_t dev_read(void *self, uint64_t off, unsigned bytes)
{
    struct dev *d = self;
    uint64_t val = 0;
    for (unsigned i = 0; i < bytes; i++)
        val |= ((0x10 + off + i) & 0xff) << 8 * i;
    d->off[d->count % 16] = off;
    d->bytes[d->count++ % 16] = bytes;
    atomic_fetch_add(&d->calls, 1);
    return val;
}

static void dev_write(void *self, uint64_t off, uint64_t val, unsigned bytes)
{
    struct dev *d = self;
    d->off[d->count % 16] = off;
    d->val[d->count % 16] = val;
    d->bytes[d->count++ % 16] = bytes;
    d->writes++;
    atomic_fetch_add(&d->calls, 1);
}

static void forget(struct dev *d)
{
    d->count = d->writes = 0;
}

static int place(struct dev *d, uint32_t space, uint64_t base, int32_t priority,
                 const mobo_region_t *r)
{
    mobo_place_t p = { .size = sizeof p, .space = space, .base = base, .priority = priority,
                       .region = r };
    return mobo_region_add(d->obj, &p, &d->handle);
}

static const mobo_region_t any_width = {
    .size = sizeof any_width, .name = "any", .length = 0x100, .read = dev_read, .write = dev_write,
};
static const mobo_region_t words = {
    .size = sizeof words, .name = "words", .length = 0x100, .min_access = 4, .max_access = 4,
    .read = dev_read, .write = dev_write,
};
static const mobo_region_t bytes_only = {
    .size = sizeof bytes_only, .name = "bytes", .length = 8, .max_access = 1, .read = dev_read,
    .write = dev_write,
};

enum { A_BASE = 0x200000, B_BASE = 0x200100, ROM_BASE = 0x300000, PORT = 0x60 };
static uint8_t *rom;

static int dev_a_init(void *self)
{
    struct dev *d = dev_a = self;
    mobo_place_t ram = { .size = sizeof ram, .space = MOBO_SPACE_MEM, .base = ROM_BASE,
                         .ram_len = 0x2000, .ram_flags = MOBO_RAM_READONLY };
    uint32_t handle;
    void *host = NULL;
    CHECK(d->obj->host->mem->ram_new(d->obj, "rom", 0x2000, 0, &host) == 0);
    rom = host;
    memset(rom, 0xab, 0x2000);
    ram.ram = rom;
    CHECK(mobo_region_add(d->obj, &ram, &handle) == 0);
    ram.base += 0x10000;
    ram.ram_len = 0x3000; /* more than there is */
    CHECK(mobo_region_add(d->obj, &ram, &handle) == MOBO_EINVAL);
    CHECK(place(d, MOBO_SPACE_IO, PORT, 0, &bytes_only) == 0);
    return place(d, MOBO_SPACE_MEM, A_BASE, 0, &any_width);
}

static int dev_b_init(void *self)
{
    struct dev *d = dev_b = self;
    static const mobo_region_t odd_width = { .size = sizeof odd_width, .length = 8,
                                             .min_access = 3 };
    static const mobo_region_t upside_down = { .size = sizeof upside_down, .length = 8,
                                               .min_access = 4, .max_access = 2 };
    static const mobo_region_t ragged = { .size = sizeof ragged, .length = 6, .min_access = 4 };
    CHECK(place(d, MOBO_SPACE_MEM, 0x10000000, 0, &odd_width) == MOBO_EINVAL);
    CHECK(place(d, MOBO_SPACE_MEM, 0x10000000, 0, &upside_down) == MOBO_EINVAL);
    CHECK(place(d, MOBO_SPACE_MEM, 0x10000000, 0, &ragged) == MOBO_EINVAL);
    CHECK(place(d, MOBO_SPACE_MEM, UINT64_MAX - 0x80, 0, &any_width) == MOBO_EINVAL);
    CHECK(place(d, MOBO_SPACE_IO, 0xff80, 0, &any_width) == MOBO_EINVAL);
    CHECK(place(d, MOBO_SPACE_MEM, A_BASE + 0x80, 0, &any_width) == MOBO_EEXIST);
    CHECK(place(d, MOBO_SPACE_MEM, MiB - 0x80, 0, &any_width) == MOBO_EEXIST);
    CHECK(place(d, 7, 0, 0, &any_width) == MOBO_EINVAL);
    return place(d, MOBO_SPACE_MEM, B_BASE, 0, &words);
}

static const mobo_class_t class_a = {
    MOBO_CLASS(struct dev, NULL, NULL), .name = "a", .summary = "-", .init = dev_a_init,
};
static const mobo_class_t class_b = {
    MOBO_CLASS(struct dev, NULL, NULL), .name = "b", .summary = "-", .init = dev_b_init,
};

static int run(fake_guest_t *guest, uint32_t cpus)
{
    fake_new(cpus, 2 * MiB, guest);
    fake_add("a", &class_a, NULL);
    fake_add("b", &class_b, NULL);
    return fake_run();
}

static int over(void)
{
    fake_request(MOBO_VM_OFF);
    return FAKE_HALT;
}

/* ---- widths ---------------------------------------------------------------------------------- */

/* Each line: an access, the calls that must come of it, and what a load gives. */
static const struct width_case {
    uint64_t gpa;
    uint32_t len;
    bool write;
    unsigned calls;
    struct { uint64_t off; unsigned bytes; } call[9];
    uint64_t value;
} widths[] = {
    /* any width: one call as wide as it comes, pieces where misaligned */
    { A_BASE, 1, false, 1, { { 0, 1 } }, 0x10 },
    { A_BASE + 2, 2, false, 1, { { 2, 2 } }, 0x1312 },
    { A_BASE, 8, false, 1, { { 0, 8 } }, 0x1716151413121110 },
    { A_BASE + 1, 4, false, 3, { { 1, 1 }, { 2, 2 }, { 4, 1 } }, 0x14131211 },
    { A_BASE + 4, 8, false, 2, { { 4, 4 }, { 8, 4 } }, 0x1b1a191817161514 },
    { A_BASE, 3, false, 2, { { 0, 2 }, { 2, 1 } }, 0x121110 },
    { A_BASE + 1, 4, true, 3, { { 1, 1 }, { 2, 2 }, { 4, 1 } }, 0 },
    /* 4 bytes only: wider is split, narrower reads are cut out, narrower writes go nowhere */
    { B_BASE, 4, false, 1, { { 0, 4 } }, 0x13121110 },
    { B_BASE, 8, false, 2, { { 0, 4 }, { 4, 4 } }, 0x1716151413121110 },
    { B_BASE + 1, 1, false, 1, { { 0, 4 } }, 0x11 },
    { B_BASE + 6, 2, false, 1, { { 4, 4 } }, 0x1716 },
    { B_BASE + 2, 4, false, 2, { { 0, 4 }, { 4, 4 } }, 0x15141312 },
    { B_BASE + 1, 1, true, 0, { { 0, 0 } }, 0 },
    { B_BASE + 2, 4, true, 0, { { 0, 0 } }, 0 },
    { B_BASE + 2, 8, true, 1, { { 4, 4 } }, 0 },
    { B_BASE + 0xfc, 4, true, 1, { { 0xfc, 4 } }, 0 },
};

static int guest_widths(struct fake_cpu *cpu)
{
    for (unsigned i = 0; i < sizeof widths / sizeof *widths; i++) {
        const struct width_case *c = &widths[i];
        struct dev *d = c->gpa >= B_BASE ? dev_b : dev_a;
        forget(d);
        if (c->write)
            fake_store(cpu, c->gpa, 0x8877665544332211, c->len);
        else
            CHECK(fake_load(cpu, c->gpa, c->len) == c->value);
        CHECK(d->count == c->calls && d->writes == (c->write ? c->calls : 0));
        for (unsigned n = 0; n < c->calls && n < d->count; n++) {
            CHECK(d->off[n] == c->call[n].off && d->bytes[n] == c->call[n].bytes);
            if (!c->write)
                continue;
            uint64_t at = c->call[n].off + (c->gpa >= B_BASE ? B_BASE : A_BASE) - c->gpa;
            uint64_t want = 0x8877665544332211 >> 8 * at;
            if (c->call[n].bytes < 8)
                want &= ((uint64_t)1 << 8 * c->call[n].bytes) - 1;
            CHECK(d->val[n] == want);
        }
    }
    return over();
}

static void test_widths(void **state)
{
    (void)state;
    assert_int_equal(run(guest_widths, 1), EXIT_GUEST_OFF);
}

/* ---- straddling, holes, ports ---------------------------------------------------------------- */

static int guest_edges(struct fake_cpu *cpu)
{
    uint8_t buf[64];
    /* from one device into the next, and from a device into nothing */
    forget(dev_a);
    forget(dev_b);
    CHECK(fake_load(cpu, B_BASE - 2, 4) == (uint32_t)(0x11100000 | ((0x10 + 0xff) & 0xff) << 8 |
                                                      ((0x10 + 0xfe) & 0xff)));
    CHECK(dev_a->count == 1 && dev_a->off[0] == 0xfe && dev_a->bytes[0] == 2);
    CHECK(dev_b->count == 1 && dev_b->off[0] == 0 && dev_b->bytes[0] == 4);
    CHECK(fake_load(cpu, B_BASE + 0xfe, 8) >> 16 == 0xffffffffffff);
    CHECK(fake_load(cpu, A_BASE - 4, 8) == 0x13121110ffffffff);
    /* nothing at all */
    CHECK(fake_load(cpu, 0x10000000, 8) == UINT64_MAX);
    CHECK(fake_load(cpu, UINT64_MAX - 3, 8) == UINT64_MAX); /* over the end of the space */
    fake_store(cpu, UINT64_MAX - 3, 0, 8);
    fake_store(cpu, 0x10000000, 0, 8);
    /* the longest access: 64 bytes, one call per 8 */
    forget(dev_a);
    cpu->up->mmio(cpu->ctx, A_BASE, buf, sizeof buf, 0);
    CHECK(dev_a->count == 8);
    for (unsigned i = 0; i < sizeof buf; i++)
        CHECK(buf[i] == 0x10 + i);
    /* RAM the accelerator has not: the guest still reads and writes it */
    fake_store(cpu, 0x1000, 0x1122334455667788, 8);
    CHECK(fake_load(cpu, 0x1003, 2) == 0x4455);
    CHECK(fake_load(cpu, MiB - 4, 8) >> 32 == 0xffffffff);
    /* ROM keeps what it has */
    fake_store(cpu, ROM_BASE, 0, 4);
    CHECK(fake_load(cpu, ROM_BASE, 4) == 0xabababab);
    /* ports: 8-bit registers take a 4-byte access in four pieces */
    forget(dev_a);
    CHECK(fake_in(cpu, PORT, 4) == 0x13121110);
    CHECK(dev_a->count == 4 && dev_a->bytes[3] == 1);
    CHECK(fake_in(cpu, PORT + 6, 4) == 0xffff1716);
    CHECK(fake_in(cpu, 0xffff, 4) == 0xffffffff);
    fake_out(cpu, 0xffff, 0, 4);
    CHECK(fake_in(cpu, 0x80, 1) == 0xff);
    return over();
}

static void test_edges(void **state)
{
    (void)state;
    assert_int_equal(run(guest_edges, 1), EXIT_GUEST_OFF);
}

/* ---- overlays -------------------------------------------------------------------------------- */

static bool has_slot(uint64_t gpa, uint64_t len, uint32_t flags)
{
    for (unsigned i = 0; i < atomic_load(&fake.accel->slots); i++) {
        const struct fake_slot *s = &fake.accel->slot[i];
        if (s->gpa == gpa && s->len == len && s->flags == flags)
            return true;
    }
    return false;
}

static int guest_overlays(struct fake_cpu *cpu)
{
    static const mobo_region_t window = { .size = sizeof window, .name = "window",
                                          .length = 0x1800, .read = dev_read };
    const mobo_mem_api_t *mem = dev_a->obj->host->mem;
    mobo_place_t p = { .size = sizeof p, .space = MOBO_SPACE_MEM, .base = 0xa0000, .priority = 1,
                       .region = &window };
    uint32_t over_ram, over_over, hidden;
    CHECK(has_slot(0, MiB, 0) && has_slot(HIGH, MiB, 0));
    CHECK(has_slot(ROM_BASE, 0x2000, MOBO_MAP_READONLY));

    /* a window over RAM takes whole pages from the accelerator; the rest of its last page is RAM */
    fake_store(cpu, 0xa0000, 0x77, 1);
    fake_store(cpu, 0xa1800, 0x66, 1);
    CHECK(mobo_region_add(dev_a->obj, &p, &over_ram) == 0);
    CHECK(has_slot(0, 0xa0000, 0) && has_slot(0xa2000, MiB - 0xa2000, 0) && !has_slot(0, MiB, 0));
    CHECK(fake_load(cpu, 0xa0000, 1) == 0x10);
    CHECK(fake_load(cpu, 0xa1800, 1) == 0x66);
    CHECK(fake_load(cpu, 0xa17ff, 2) == 0x660f);

    /* a still higher one in its middle, then gone again */
    p.base = 0xa0800;
    p.priority = 2;
    p.region = &any_width;
    CHECK(mobo_region_add(dev_b->obj, &p, &over_over) == 0);
    CHECK(fake_load(cpu, 0xa0800, 1) == 0x10 && fake_load(cpu, 0xa07ff, 1) == 0x0f);
    CHECK(fake_load(cpu, 0xa0900, 2) == 0x1110); /* low byte of 0x910 and 0x911 */
    CHECK(mem->region_drop(dev_a->obj, over_over) == MOBO_ENOENT); /* not a's */
    CHECK(mem->region_drop(dev_b->obj, over_over) == 0);
    CHECK(mem->region_drop(dev_b->obj, over_over) == MOBO_ENOENT);
    forget(dev_a);
    CHECK(fake_load(cpu, 0xa0800, 1) == 0x10 && dev_a->off[0] == 0x800);

    /* hide, move, refuse to move onto another */
    CHECK(mem->region_move(dev_a->obj, over_ram, 0xa0000, 0) == 0);
    CHECK(has_slot(0, MiB, 0) && fake_load(cpu, 0xa0000, 1) == 0x77);
    CHECK(mem->region_move(dev_a->obj, over_ram, 0xb0000, 1) == 0);
    CHECK(fake_load(cpu, 0xa0000, 1) == 0x77 && fake_load(cpu, 0xb0000, 1) == 0x10);
    CHECK(mem->region_move(dev_a->obj, over_ram, UINT64_MAX - 1, 1) == MOBO_EINVAL);
    p.base = 0x500000;
    p.priority = 0;
    p.disabled = 1;
    CHECK(mobo_region_add(dev_b->obj, &p, &hidden) == 0);
    CHECK(fake_load(cpu, 0x500000, 1) == 0xff);
    CHECK(mem->region_move(dev_b->obj, hidden, A_BASE, 1) == MOBO_EEXIST);
    CHECK(fake_load(cpu, 0x500000, 1) == 0xff && fake_load(cpu, A_BASE, 1) == 0x10);
    CHECK(mem->region_move(dev_b->obj, hidden, 0x500000, 1) == 0);
    CHECK(fake_load(cpu, 0x500000, 1) == 0x10);
    CHECK(mem->region_move(dev_b->obj, 999, 0, 1) == MOBO_ENOENT);
    return over();
}

static void test_overlays(void **state)
{
    (void)state;
    assert_int_equal(run(guest_overlays, 1), EXIT_GUEST_OFF);
}

/* ---- DMA ------------------------------------------------------------------------------------- */

/* robustness B5: everything that is not RAM, from a device's point of view. */
static const struct { const char *what; uint64_t gpa, len; } not_ram[] = {
    { "its own registers", A_BASE, 4 },
    { "its own registers, all", A_BASE, 0x100 },
    { "another's registers", B_BASE, 8 },
    { "a hole", 0x10000000, 1 },
    { "the message window", 0xfee00000, 4 },
    { "over the end of low RAM", MiB - 4, 8 },
    { "over the end of high RAM", ((uint64_t)1 << 32) + MiB - 1, 2 },
    { "from a hole into high RAM", ((uint64_t)1 << 32) - 8, 16 },
    { "around the end of the space", UINT64_MAX - 7, 16 },
    { "the last byte of the space", UINT64_MAX, 1 },
    { "the whole space", 0, UINT64_MAX },
    { "a length that wraps", 0x1000, UINT64_MAX - 0xfff },
    { "across a window in RAM", 0x80000 - 4, 0x200 },
    { "a window in RAM", 0x80000, 4 },
    { "from ROM into a hole", ROM_BASE + 0x1ffc, 8 },
};

static int guest_dma(struct fake_cpu *cpu)
{
    static uint8_t buf[0x4000];
    mobo_obj_t *obj = dev_a->obj;
    uint32_t handle;
    uint64_t val = 42, got = 0;
    void *host = NULL;
    mobo_place_t p = { .size = sizeof p, .space = MOBO_SPACE_MEM, .base = 0x80000, .priority = 5,
                       .region = &any_width };
    (void)cpu;
    CHECK(mobo_region_add(dev_b->obj, &p, &handle) == 0);
    atomic_store(&dev_a->calls, 0);
    atomic_store(&dev_b->calls, 0);
    atomic_store(&fake.accel->writes, 0);
    memset(buf, 0xcc, sizeof buf);
    for (unsigned i = 0; i < sizeof not_ram / sizeof *not_ram; i++) {
        uint64_t len = not_ram[i].len, gpa = not_ram[i].gpa;
        if (mobo_dma_read(obj, gpa, buf, len) != MOBO_EFAULT ||
            mobo_dma_write(obj, gpa, buf, len) != MOBO_EFAULT ||
            mobo_dma_map(obj, gpa, len, 1, &host, &got) != MOBO_EFAULT)
            fake_failed(__FILE__, __LINE__, not_ram[i].what);
    }
    CHECK(buf[0] == 0xcc && buf[7] == 0xcc); /* nothing was copied */
    for (uint64_t gpa = MiB - 4; gpa < MiB; gpa++) {
        CHECK(mobo_dma_read(obj, gpa, buf, MiB - gpa) == 0);
        CHECK(buf[0] == 0); /* the refused write left the last bytes alone */
    }
    CHECK(mobo_dma_write(obj, ROM_BASE, buf, 4) == MOBO_EFAULT);
    CHECK(mobo_dma_map(obj, ROM_BASE, 4, 1, &host, &got) == MOBO_EFAULT);
    CHECK(mobo_dma_store(obj, ROM_BASE, 4, 0) == MOBO_EFAULT);
    CHECK(mobo_dma_load(obj, A_BASE, 4, &val) == MOBO_EFAULT && val == 42);
    CHECK(mobo_dma_load(obj, UINT64_MAX - 7, 8, &val) == MOBO_EFAULT);
    CHECK(mobo_dma_load(obj, 0x1001, 2, &val) == MOBO_EINVAL);
    CHECK(mobo_dma_load(obj, 0x1000, 3, &val) == MOBO_EINVAL);
    CHECK(atomic_load(&dev_a->calls) == 0 && atomic_load(&dev_b->calls) == 0);
    CHECK(atomic_load(&fake.accel->writes) == 0);

    /* what is RAM works, and the accelerator hears of each write */
    memset(buf, 0x3c, sizeof buf);
    CHECK(mobo_dma_write(obj, HIGH + MiB - 0x4000, buf, 0x4000) == 0);
    CHECK(atomic_load(&fake.accel->writes) == 1);
    CHECK(atomic_load(&fake.accel->write_gpa) == HIGH + MiB - 0x4000);
    CHECK(atomic_load(&fake.accel->write_len) == 0x4000);
    CHECK(mobo_dma_read(obj, ROM_BASE + 0x1ffc, buf, 4) == 0 && buf[3] == 0xab);
    CHECK(mobo_dma_read(obj, 0x10000000, NULL, 0) == 0);
    for (uint32_t n = 1; n <= 8; n *= 2) {
        uint64_t want = n == 8 ? 0x8877665544332211 : 0x8877665544332211 & (((uint64_t)1 << 8 * n) - 1);
        CHECK(mobo_dma_store(obj, 0x2000, n, 0x8877665544332211) == 0);
        CHECK(mobo_dma_load(obj, 0x2000, n, &val) == 0 && val == want);
    }
    CHECK(mobo_dma_map(obj, 0x3000, 0x1000, 1, &host, &got) == 0 && got == 0x1000);
    memset(host, 0x99, 0x1000);
    atomic_store(&fake.accel->writes, 0);
    mobo_dma_unmap(obj, host, 0x1000, 0);
    CHECK(atomic_load(&fake.accel->writes) == 0);
    mobo_dma_unmap(obj, host, 0x1000, 0x800);
    CHECK(atomic_load(&fake.accel->writes) == 1);
    CHECK(atomic_load(&fake.accel->write_gpa) == 0x3000 &&
          atomic_load(&fake.accel->write_len) == 0x800);
    CHECK(mobo_dma_load(obj, 0x3000, 8, &val) == 0 && val == 0x9999999999999999);
    return over();
}

static void test_dma(void **state)
{
    (void)state;
    assert_int_equal(run(guest_dma, 1), EXIT_GUEST_OFF);
}

/* ---- change while in use --------------------------------------------------------------------- */

static atomic_uint swapping, readers_done;

/* CPU 0 moves a window to and fro; CPUs 1 and 2 read it and do DMA beside it. */
static int guest_swap(struct fake_cpu *cpu)
{
    const mobo_mem_api_t *mem = dev_b->obj->host->mem;
    if (cpu->index) {
        while (!atomic_load(&swapping))
            ;
        unsigned hits = 0;
        while (atomic_load(&swapping) == 1) {
            uint64_t a = fake_load(cpu, B_BASE, 4), b = fake_load(cpu, 0xa0000, 4), val = 1;
            CHECK(a == 0x13121110 || a == 0xffffffff);
            CHECK(b == 0x13121110 || b == 0);
            int rc = mobo_dma_load(dev_a->obj, 0xa0000, 4, &val);
            CHECK((rc == 0 && val == 0) || rc == MOBO_EFAULT);
            hits += b == 0x13121110;
        }
        CHECK(hits > 0);
        atomic_fetch_add(&readers_done, 1);
        return FAKE_HALT;
    }
    CHECK(mem->region_drop(dev_b->obj, dev_b->handle) == 0);
    CHECK(place(dev_b, MOBO_SPACE_MEM, B_BASE, 1, &words) == 0);
    atomic_store(&swapping, 1);
    for (unsigned i = 0; i < 2000; i++)
        CHECK(mem->region_move(dev_b->obj, dev_b->handle, i % 2 ? B_BASE : 0xa0000, 1) == 0);
    for (unsigned i = 0; i < 1000; i++) { /* let the slowest reader meet the window */
        CHECK(mem->region_move(dev_b->obj, dev_b->handle, 0xa0000, 1) == 0);
        usleep(10);
    }
    atomic_store(&swapping, 2);
    CHECK(fake_wait(&readers_done, 2));
    return over();
}

static void test_swap(void **state)
{
    (void)state;
    atomic_store(&swapping, 0);
    atomic_store(&readers_done, 0);
    assert_int_equal(run(guest_swap, 3), EXIT_GUEST_OFF);
}

/* ---- the description of memory --------------------------------------------------------------- */

static int guest_fw(struct fake_cpu *cpu)
{
    mobo_obj_t *obj = dev_a->obj;
    const mobo_fw_api_t *fw = obj->host->fw;
    mobo_mem_range_t r;
    static const mobo_mem_range_t want[] = {
        { 0, 0x9fc00, MOBO_MEM_RAM, 0 },
        { 0x9fc00, 0x400, MOBO_MEM_RESERVED, 0 },
        { 0xa0000, 0x50000, MOBO_MEM_RAM, 0 },
        { 0xf0000, 0xf000, MOBO_MEM_RESERVED, 0 },
        { 0xff000, 0x1000, MOBO_MEM_ACPI, 0 },
        { 0xe0000000, 0x1000, MOBO_MEM_RESERVED, 0 },
        { (uint64_t)1 << 32, MiB, MOBO_MEM_RAM, 0 },
    };
    (void)cpu;
    for (unsigned twice = 0; twice < 2; twice++) {
        CHECK(fw->reserve(obj, 0xfe000, 0x2000, MOBO_MEM_ACPI) == 0);
        CHECK(fw->reserve(obj, 0xf0000, 0xf000, MOBO_MEM_RESERVED) == 0);
        CHECK(fw->reserve(obj, 0x9fc00, 0x400, MOBO_MEM_RESERVED) == 0);
        CHECK(fw->reserve(obj, 0xe0000000, 0x1000, MOBO_MEM_RESERVED) == 0);
        for (unsigned i = 0; i < sizeof want / sizeof *want; i++)
            CHECK(fw->memory(obj, i, &r) == 1 && r.base == want[i].base && r.len == want[i].len &&
                  r.kind == want[i].kind);
        CHECK(fw->memory(obj, sizeof want / sizeof *want, &r) == 0);
    }
    CHECK(fw->reserve(obj, 0, 0, MOBO_MEM_RESERVED) == MOBO_EINVAL);
    CHECK(fw->reserve(obj, UINT64_MAX, 2, MOBO_MEM_RESERVED) == MOBO_EINVAL);

    mobo_fw_res_t res[2] = { { .kind = MOBO_RES_IO, .base = 0x3f8, .len = 8 },
                             { .kind = MOBO_RES_IRQ, .base = 4, .len = 1 } };
    mobo_fw_device_t dev = { .size = sizeof dev, .kind = MOBO_FW_UART, .name = "com1",
                             .acpi_hid = "PNP0501", .res_count = 2, .res_stride = sizeof *res,
                             .res = res };
    CHECK(fw->describe(obj, &dev) == 0);
    memset(res, 0, sizeof res); /* the core has its own copy */
    const mobo_fw_device_t *d = fw->device(obj, 0);
    CHECK(d && !strcmp(d->acpi_hid, "PNP0501") && d->res[1].base == 4 && !d->fdt_compatible);
    CHECK(!fw->device(obj, 1));
    return over();
}

static void test_fw(void **state)
{
    (void)state;
    assert_int_equal(run(guest_fw, 1), EXIT_GUEST_OFF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),   cmocka_unit_test(test_edges),
        cmocka_unit_test(test_overlays), cmocka_unit_test(test_dma),
        cmocka_unit_test(test_swap),     cmocka_unit_test(test_fw),
    };
    log_set_level(MOBO_ERROR); /* refused places are warnings, and this test makes many */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
