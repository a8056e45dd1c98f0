/* test-virtio-blk-file.c: dev-virtio/blk on block-file on a real file. */
#include "guest.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BYTES = 1 << 20, ROUNDS = 300 };

/* Random reads and writes of random pieces, against a copy in memory. */
static void test_random(void **state)
{
    (void)state;
    char path[] = "/tmp/mobo-test-XXXXXX", setting[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && ftruncate(fd, BYTES) == 0);
    (void)snprintf(setting, sizeof setting, "path=%s", path);
    struct fake *f = guest_machine();
    const char *const file[] = { setting, NULL };
    assert_non_null(fake_add(f, "disk", fake_class(PLUGINS "/block-file.so", "file"), file));
    assert_non_null(fake_add(f, "vda", fake_class(PLUGINS "/dev-virtio.so", "blk"), NULL));
    fake_reset(f);
    struct guest g;
    guest_at(&g, f, "vda");
    guest_start(&g, UINT64_C(1) << 9 | UINT64_C(1) << 13 | UINT64_C(1) << 14, 1, 64);
    uint8_t *twin = calloc(1, BYTES);
    uint64_t header = guest_alloc(&g, 16), buf = guest_alloc(&g, 65536), st = guest_alloc(&g, 1);
    uint64_t range = guest_alloc(&g, 16);
    uint32_t seed = 12345, id, len;
    for (unsigned n = 0; n < ROUNDS; n++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t kind = (seed >> 8) % 4; /* read, write, write zeroes, flush */
        uint64_t sector = (seed >> 12) % (BYTES / 512 - 128);
        uint32_t sectors = 1 + (seed >> 24) % 100, bytes = sectors * 512;
        uint8_t *mine = guest_ptr(&g, buf);
        uint32_t types[] = { 0, 1, 13, 4 };
        memcpy(guest_ptr(&g, header), &types[kind], 4);
        memcpy((uint8_t *)guest_ptr(&g, header) + 8, &sector, 8);
        if (kind == 2) {
            memset((uint8_t *)guest_ptr(&g, header) + 8, 0, 8);
            memcpy(guest_ptr(&g, range), &sector, 8);
            memcpy((uint8_t *)guest_ptr(&g, range) + 8, &sectors, 4);
            *(uint32_t *)((uint8_t *)guest_ptr(&g, range) + 12) = n & 1;
            memset(twin + sector * 512, 0, bytes);
        }
        if (kind == 0)
            memset(mine, 0xa5, bytes);
        for (uint32_t i = 0; kind == 1 && i < bytes; i++)
            twin[sector * 512 + i] = mine[i] = (uint8_t)((seed >> 16) + i * 7);
        *(uint8_t *)guest_ptr(&g, st) = 0xee;
        uint32_t cut = 1 + seed % (bytes - 1); /* two pieces at any border */
        const struct guest_buf data[] = {
            { header, 16, 0 }, { buf, cut, kind ? 0 : G_WRITE },
            { buf + cut, bytes - cut, kind ? 0 : G_WRITE }, { st, 1, G_WRITE },
        };
        const struct guest_buf zero[] = { { header, 16, 0 }, { range, 16, 0 }, { st, 1, G_WRITE } };
        const struct guest_buf flush[] = { { header, 16, 0 }, { st, 1, G_WRITE } };
        guest_add(&g, 0, kind < 2 ? data : kind == 2 ? zero : flush, kind < 2 ? 4 : 5 - kind);
        guest_kick(&g, 0);
        assert_int_equal(guest_used(&g, 0, &id, &len), 1);
        assert_int_equal(*(uint8_t *)guest_ptr(&g, st), 0);
        if (kind == 0)
            assert_memory_equal(mine, twin + sector * 512, bytes);
    }
    uint8_t *all = malloc(BYTES);
    assert_int_equal(pread(fd, all, BYTES, 0), BYTES);
    assert_memory_equal(all, twin, BYTES);
    struct stat stat;
    assert_true(fstat(fd, &stat) == 0 && stat.st_size == BYTES);
    assert_int_equal(fake_maps(f), 0);
    fake_free(f);
    free(all);
    free(twin);
    (void)close(fd);
    (void)unlink(path);
}

/* The file shrinks under us: an error status, not a crash and not old memory. */
static void test_truncated(void **state)
{
    (void)state;
    char path[] = "/tmp/mobo-test-XXXXXX", setting[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0 && ftruncate(fd, BYTES) == 0);
    (void)snprintf(setting, sizeof setting, "path=%s", path);
    struct fake *f = guest_machine();
    const char *const file[] = { setting, NULL };
    assert_non_null(fake_add(f, "disk", fake_class(PLUGINS "/block-file.so", "file"), file));
    assert_non_null(fake_add(f, "vda", fake_class(PLUGINS "/dev-virtio.so", "blk"), NULL));
    fake_reset(f);
    struct guest g;
    guest_at(&g, f, "vda");
    guest_start(&g, 0, 1, 64);
    assert_int_equal(ftruncate(fd, 4096), 0);
    uint64_t header = guest_alloc(&g, 16), buf = guest_alloc(&g, 8192), st = guest_alloc(&g, 1);
    const struct guest_buf b[] = { { header, 16, 0 }, { buf, 8192, G_WRITE }, { st, 1, G_WRITE } };
    guest_add(&g, 0, b, 3);
    guest_kick(&g, 0);
    assert_int_equal(*(uint8_t *)guest_ptr(&g, st), 1);
    assert_non_null(strstr(fake_last_log(f, MOBO_WARN), "ends at byte 4096"));
    fake_free(f);
    (void)close(fd);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_random),
                                        cmocka_unit_test(test_truncated) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
