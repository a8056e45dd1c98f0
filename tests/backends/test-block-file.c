/* test-block-file.c: raw images: what is refused and how it is said, locks, errors of the host. */
#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <mobo/block.h>

enum { BYTES = 1 << 20 };

/* ---- a user of the disk ---------------------------------------------------------------------- */

struct user {
    mobo_obj_t *obj;
    mobo_block_t drive;
    unsigned done;
};

static void user_done(void *self, void *req)
{
    (void)req;
    ((struct user *)self)->done++;
}

static const mobo_prop_t user_props[] = {
    MOBO_LINK(struct user, drive, MOBO_BLOCK, "disk"), MOBO_END,
};
static const mobo_class_t user_class = {
    MOBO_CLASS(struct user, user_props, NULL), .name = "user", .summary = "user of a disk",
};

static const mobo_class_t *file_class(void)
{
    return fake_class(PLUGINS "/block-file.so", "file");
}

static struct fake *machine(struct user **u, const char *const *settings)
{
    struct fake *f = fake_new(1 << 20, 1);
    assert_non_null(fake_add(f, "disk", file_class(), settings));
    assert_non_null(*u = fake_add(f, "user", &user_class, NULL));
    return f;
}

static int io(struct fake *f, struct user *u, uint32_t op, uint64_t off, void *buf, uint64_t len,
              uint32_t flags)
{
    /* Three pieces, so that they are cut. */
    mobo_iov_t iov[3] = { { buf, len / 3 }, { (char *)buf + len / 3, len / 3 },
                          { (char *)buf + 2 * (len / 3), len - 2 * (len / 3) } };
    mobo_block_req_t req = { .size = sizeof req, .op = op, .off = off, .len = len, .iov = iov,
                             .iov_count = buf ? 3 : 0, .flags = flags, .owner = u->obj,
                             .done = user_done, .rc = 99 };
    unsigned before = u->done;
    mobo_block_submit(u->drive, &req);
    assert_int_equal(u->done, before); /* never before submit has returned */
    fake_run(f);
    assert_int_equal(u->done, before + 1);
    return req.rc;
}

static const char *image(struct folder *d, off_t len)
{
    const char *path = file(d, "", "disk.img");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, len) == 0);
    (void)close(fd);
    return file(d, "path=", "disk.img");
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_operations(void **state)
{
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        struct folder d;
        folder_new(&d);
        struct user *u;
        const char *const settings[] = { image(&d, BYTES), direct ? "direct=yes" : "direct=no",
                                         NULL };
        struct fake *f = fake_new(1 << 20, 1);
        if (!fake_add(f, "disk", file_class(), settings)) { /* a file system without O_DIRECT */
            assert_true(direct && strstr(fake_failure(f), "set direct = no"));
            fake_free(f);
            folder_remove(&d);
            continue;
        }
        fake_free(f);
        f = machine(&u, settings);
        mobo_block_info_t info;
        mobo_block_info(u->drive, &info);
        assert_true(info.length == BYTES && info.block_size == 512 && !info.read_only &&
                    info.can_discard && info.write_cache);
        uint8_t *a = aligned_alloc(4096, 65536), *b = aligned_alloc(4096, 65536);
        for (int i = 0; i < 65536; i++)
            a[i] = (uint8_t)(i * 31 >> 3);
        assert_int_equal(io(f, u, MOBO_BLOCK_WRITE, 4096, a, 49152, 0), 0);
        assert_int_equal(io(f, u, MOBO_BLOCK_WRITE, BYTES - 512, a, 512, MOBO_BLOCK_FUA), 0);
        assert_int_equal(io(f, u, MOBO_BLOCK_FLUSH, 0, NULL, 0, 0), 0);
        assert_int_equal(io(f, u, MOBO_BLOCK_READ, 4096, b, 49152, 0), 0);
        assert_memory_equal(a, b, 49152);
        assert_int_equal(io(f, u, MOBO_BLOCK_READ, BYTES - 512, b, 512, 0), 0);
        assert_memory_equal(a, b, 512);
        /* Zeros in the middle, both ways, and a discard that at least keeps the size. */
        assert_int_equal(io(f, u, MOBO_BLOCK_ZERO, 8192, NULL, 4096, 0), 0);
        assert_int_equal(io(f, u, MOBO_BLOCK_ZERO, 16384 + 512, NULL, 1024, MOBO_BLOCK_UNMAP), 0);
        assert_int_equal(io(f, u, MOBO_BLOCK_DISCARD, 32768, NULL, 8192, 0), 0);
        memset(a + 4096, 0, 4096);
        memset(a + 12288 + 512, 0, 1024);
        assert_int_equal(io(f, u, MOBO_BLOCK_READ, 4096, b, 28672, 0), 0);
        assert_memory_equal(a, b, 28672);
        struct stat st;
        assert_true(stat(file(&d, "", "disk.img"), &st) == 0 && st.st_size == BYTES);
        /* Outside, and no whole blocks: refused before anything is touched. */
        static const struct { uint64_t off, len; } bad[] = {
            { BYTES, 512 }, { BYTES - 512, 1024 }, { UINT64_MAX - 511, 512 },
            { UINT64_MAX - 511, 1024 }, { 1, 512 }, { 0, 511 }, { 0, BYTES + 512 },
        };
        for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
            assert_int_equal(io(f, u, MOBO_BLOCK_ZERO, bad[i].off, NULL, bad[i].len, 0),
                             MOBO_EINVAL);
        assert_int_equal(io(f, u, 77, 0, NULL, 512, 0), MOBO_ENOTSUP);
        fake_free(f);
        free(a);
        free(b);
        folder_remove(&d);
    }
}

static void test_readonly(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *const settings[] = { image(&d, BYTES), "readonly=yes", NULL };
    assert_int_equal(chmod(file(&d, "", "disk.img"), 0400), 0);
    struct user *u;
    struct fake *f = machine(&u, settings);
    mobo_block_info_t info;
    mobo_block_info(u->drive, &info);
    assert_int_equal(info.read_only, 1);
    char buf[512];
    assert_int_equal(io(f, u, MOBO_BLOCK_READ, 0, buf, 512, 0), 0);
    assert_int_equal(io(f, u, MOBO_BLOCK_WRITE, 0, buf, 512, 0), MOBO_EACCES);
    assert_int_equal(io(f, u, MOBO_BLOCK_DISCARD, 0, NULL, 512, 0), MOBO_EACCES);
    assert_int_equal(io(f, u, MOBO_BLOCK_ZERO, 0, NULL, 512, 0), MOBO_EACCES);
    assert_int_equal(io(f, u, MOBO_BLOCK_FLUSH, 0, NULL, 0, 0), 0);
    fake_free(f);
    folder_remove(&d);
}

static void refused(const char *const *settings, const char *text)
{
    struct fake *f = fake_new(4096, 1);
    if (fake_add(f, "disk", file_class(), settings))
        fail_msg("%s is taken", settings[0]);
    if (!strstr(fake_failure(f), text))
        fail_msg("%s: '%s' does not say '%s'", settings[0], fake_failure(f), text);
    fake_free(f);
}

static void test_refused(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    refused((const char *const[]){ file(&d, "path=", "none"), NULL }, "does not exist");
    refused((const char *const[]){ file(&d, "path=", "."), NULL }, "is a directory");
    refused((const char *const[]){ file(&d, "path=", "."), "readonly=yes", NULL },
            "is a directory");
    refused((const char *const[]){ "path=/dev/null", NULL }, "is a character device");
    assert_int_equal(mkfifo(file(&d, "", "fifo"), 0600), 0);
    refused((const char *const[]){ file(&d, "path=", "fifo"), NULL }, "is a FIFO");
    refused((const char *const[]){ file(&d, "path=", "fifo"), "readonly=yes", NULL }, "is a FIFO");
    refused((const char *const[]){ image(&d, 0), NULL }, "is empty");
    refused((const char *const[]){ image(&d, 1000), NULL }, "truncate -s 1024");
    refused((const char *const[]){ image(&d, 511), NULL }, "not a multiple of 512");
    assert_int_equal(symlink("loop", file(&d, "", "loop")), 0);
    refused((const char *const[]){ file(&d, "path=", "loop"), NULL }, "symbolic links");
    /* A link to an image is an image. */
    (void)image(&d, BYTES);
    assert_int_equal(symlink("disk.img", file(&d, "", "link")), 0);
    struct user *u;
    struct fake *f = machine(&u, (const char *const[]){ file(&d, "path=", "link"), NULL });
    fake_free(f);
    folder_remove(&d);
}

/* Second openings, by this process and by another one. */
static void test_lock(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *path = image(&d, BYTES);
    const char *const write[] = { path, NULL }, *const read[] = { path, "readonly=yes", NULL };
    const char *const free_for_all[] = { path, "lock=no", NULL };
    struct user *u;
    struct fake *f = machine(&u, write);
    refused(write, "in use by another machine");
    refused(read, "in use by another machine that writes it");
    pid_t pid = fork();
    if (pid == 0) {
        struct fake *g = fake_new(4096, 1);
        _exit(fake_add(g, "disk", file_class(), write) ? 1 : 0);
    }
    int status;
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    struct user *v;
    struct fake *g = machine(&v, free_for_all);
    fake_free(g);
    refused(write, "in use"); /* closing that one did not drop the lock */
    fake_free(f);
    f = machine(&u, read);
    g = machine(&v, read); /* readers share */
    refused(write, "in use");
    fake_free(g);
    fake_free(f);
    f = machine(&u, write);
    fake_free(f);
    folder_remove(&d);
}

static void test_file_size_limit(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *const settings[] = { image(&d, BYTES), "discard=no", NULL };
    struct user *u;
    struct fake *f = machine(&u, settings);
    static char buf[8192];
    struct rlimit old, small = { 4096, 0 };
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN); /* as the monitor does */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int at_limit = io(f, u, MOBO_BLOCK_WRITE, 4096, buf, 4096, 0);
    int across = io(f, u, MOBO_BLOCK_WRITE, 0, buf, 8192, 0);
    int below = io(f, u, MOBO_BLOCK_WRITE, 0, buf, 4096, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(at_limit, MOBO_ENOSPC);
    assert_int_equal(across, MOBO_ENOSPC); /* written in part: still an error */
    assert_int_equal(below, 0);
    assert_int_equal(io(f, u, MOBO_BLOCK_WRITE, 4096, buf, 4096, 0), 0); /* room again */
    fake_free(f);
    folder_remove(&d);
}

/* The descriptor goes bad under us: each operation ends with an error, none with a crash. */
static void test_host_errors(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *path = image(&d, BYTES);
    int before = dup(0);
    assert_true(before >= 0);
    (void)close(before); /* the descriptor that the backend gets */
    const char *const settings[] = { path, NULL };
    struct user *u;
    struct fake *f = machine(&u, settings);
    struct stat a, b;
    assert_true(fstat(before, &a) == 0 && stat(file(&d, "", "disk.img"), &b) == 0 &&
                a.st_ino == b.st_ino);
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0); /* not seekable: everything fails */
    assert_int_equal(dup2(pipe_ends[0], before), before);
    char buf[512];
    assert_int_equal(io(f, u, MOBO_BLOCK_READ, 0, buf, 512, 0), MOBO_EIO);
    assert_int_equal(io(f, u, MOBO_BLOCK_WRITE, 0, buf, 512, 0), MOBO_EIO);
    assert_int_equal(io(f, u, MOBO_BLOCK_FLUSH, 0, NULL, 0, 0), MOBO_EIO);
    assert_int_equal(io(f, u, MOBO_BLOCK_ZERO, 0, NULL, 512, 0), MOBO_EIO);
    assert_non_null(strstr(fake_last_log(f, MOBO_WARN), "512 bytes at 0"));
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
    fake_free(f);
    folder_remove(&d);
}

/* /dev/full is a character device and refused; a tiny tmpfs needs rights: only where they are. */
static void test_disk_full(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    char command[128];
    (void)snprintf(command, sizeof command, "mount -t tmpfs -o size=64k none %s 2>/dev/null",
                   d.path);
    if (system(command) != 0) {
        folder_remove(&d);
        skip();
    }
    const char *const settings[] = { image(&d, BYTES), NULL };
    struct user *u;
    struct fake *f = machine(&u, settings);
    static char buf[131072];
    int rc = io(f, u, MOBO_BLOCK_WRITE, 0, buf, sizeof buf, 0);
    int discard = io(f, u, MOBO_BLOCK_DISCARD, 0, NULL, sizeof buf, 0);
    int again = io(f, u, MOBO_BLOCK_WRITE, 0, buf, 4096, 0);
    fake_free(f);
    (void)snprintf(command, sizeof command, "umount %s", d.path);
    assert_int_equal(system(command), 0);
    folder_remove(&d);
    assert_int_equal(rc, MOBO_ENOSPC);
    assert_int_equal(discard, 0);
    assert_int_equal(again, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations), cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_lock),
        cmocka_unit_test(test_file_size_limit), cmocka_unit_test(test_host_errors),
        cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
