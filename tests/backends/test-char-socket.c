/* test-char-socket.c: clients that come and go, sockets in the way, a peer that does not read. */
#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const mobo_class_t *sock_class(void)
{
    return fake_class(PLUGINS "/char-socket.so", "socket");
}

static struct fake *machine(struct owner **o, const char *const *settings)
{
    struct fake *f = fake_new(4096, 1);
    void *s = fake_add(f, "sock", sock_class(), settings);
    if (!s)
        fail_msg("%s", fake_failure(f));
    assert_non_null(*o = fake_add(f, "owner", owner_class(), NULL));
    fake_run(f);
    return f;
}

static int named(const char *path, struct sockaddr_un *a)
{
    *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(a->sun_path, path, strlen(path));
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int dial(const char *path)
{
    struct sockaddr_un a;
    int fd = named(path, &a);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int serve(const char *path)
{
    struct sockaddr_un a;
    int fd = named(path, &a);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static void test_server(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *path = file(&d, "", "s");
    const char *const settings[] = { file(&d, "path=", "s"), NULL };
    struct owner *o;
    struct fake *f = machine(&o, settings);
    struct stat st;
    assert_true(stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    assert_int_equal(mobo_char_write(o->link, "nobody", 6), 6); /* swallowed */
    for (int round = 0; round < 3; round++) {
        o->events = o->len = 0;
        int fd = dial(path);
        assert_true(owner_hears(f, o, MOBO_CHAR_OPENED));
        char buf[16] = { 0 };
        assert_int_equal(mobo_char_write(o->link, "out", 3), 3);
        assert_int_equal(read(fd, buf, sizeof buf), 3);
        assert_string_equal(buf, "out");
        assert_int_equal(write(fd, "in", 2), 2);
        assert_true(owner_reads(f, o, 2));
        /* A second client waits its turn. */
        int other = dial(path);
        assert_int_equal(write(other, "second", 6), 6);
        for (int i = 0; i < 5; i++) {
            (void)fake_poll(f, 1);
            (void)fake_run(f);
        }
        assert_int_equal(o->len, 2);
        o->events = 0;
        (void)close(fd);
        assert_true(owner_hears(f, o, MOBO_CHAR_READABLE) && owner_reads(f, o, 8));
        assert_memory_equal(o->in, "insecond", 8);
        (void)close(other);
        o->events = 0;
        assert_true(owner_hears(f, o, MOBO_CHAR_CLOSED));
    }
    fake_free(f);
    assert_int_equal(stat(path, &st), -1); /* removed */
    folder_remove(&d);
}

static void test_slow_reader(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *const settings[] = { file(&d, "path=", "s"), NULL };
    struct owner *o;
    struct fake *f = machine(&o, settings);
    int fd = dial(file(&d, "", "s"));
    assert_true(owner_hears(f, o, MOBO_CHAR_OPENED));
    static char block[65536], back[65536];
    for (unsigned i = 0; i < sizeof block; i++)
        block[i] = (char)(i * 7);
    uint64_t sent = 0, got = 0;
    uint32_t n;
    do {
        n = mobo_char_write(o->link, block + sent % 65536, (uint32_t)(65536 - sent % 65536));
        sent += n;
        assert_true(sent < 64 << 20);
    } while (n);
    assert_false(o->events & MOBO_CHAR_WRITABLE);
    while (got < sent) {
        ssize_t k = read(fd, back, sizeof back);
        assert_true(k > 0);
        for (ssize_t i = 0; i < k; i++)
            assert_int_equal(back[i], block[(got + (uint64_t)i) % 65536]);
        got += (uint64_t)k;
    }
    assert_true(owner_hears(f, o, MOBO_CHAR_WRITABLE));
    /* The peer goes away while we write: no signal, and what comes then is swallowed. */
    (void)close(fd);
    for (int i = 0; i < 4; i++)
        assert_int_equal(mobo_char_write(o->link, block, 4096), 4096);
    o->events = 0;
    fake_run(f);
    assert_true(o->events & MOBO_CHAR_CLOSED);
    fake_free(f);
    folder_remove(&d);
}

static void test_in_the_way(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *path = file(&d, "", "s");
    const char *const settings[] = { file(&d, "path=", "s"), NULL };
    int fd = serve(path); /* alive: refused, and left alone */
    struct fake *f = fake_new(4096, 1);
    assert_null(fake_add(f, "sock", sock_class(), settings));
    assert_non_null(strstr(fake_failure(f), "is in use"));
    fake_free(f);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    (void)close(fd); /* dead: replaced */
    struct owner *o;
    f = machine(&o, settings);
    /* Somebody puts another file there: it is not ours to remove. */
    assert_int_equal(unlink(path), 0);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    (void)close(fd);
    fake_free(f);
    assert_int_equal(stat(path, &st), 0);
    f = fake_new(4096, 1);
    assert_null(fake_add(f, "sock", sock_class(), settings));
    assert_non_null(strstr(fake_failure(f), "is no socket"));
    fake_free(f);
    char longer[200] = "path=/tmp/";
    memset(longer + 10, 'x', 150);
    const char *const too_long[] = { longer, NULL };
    f = fake_new(4096, 1);
    assert_null(fake_add(f, "sock", sock_class(), too_long));
    assert_non_null(strstr(fake_failure(f), "at most 107"));
    fake_free(f);
    folder_remove(&d);
}

static void test_client(void **state)
{
    (void)state;
    struct folder d;
    folder_new(&d);
    const char *path = file(&d, "", "s");
    const char *const once[] = { file(&d, "path=", "s"), "server=no", NULL };
    const char *const again[] = { file(&d, "path=", "s"), "server=no", "reconnect=1", NULL };
    struct fake *f = fake_new(4096, 1);
    assert_null(fake_add(f, "sock", sock_class(), once));
    assert_non_null(strstr(fake_failure(f), "cannot connect"));
    fake_free(f);
    struct owner *o;
    f = machine(&o, again);
    assert_false(o->events & MOBO_CHAR_OPENED);
    int listener = serve(path);
    for (int round = 0; round < 2; round++) {
        o->events = 0;
        fake_step(f, UINT64_C(1100000000));
        assert_true(owner_hears(f, o, MOBO_CHAR_OPENED));
        int fd = accept(listener, NULL, NULL);
        assert_true(fd >= 0);
        assert_int_equal(mobo_char_write(o->link, "x", 1), 1);
        char c;
        assert_int_equal(read(fd, &c, 1), 1);
        (void)close(fd);
        assert_true(owner_hears(f, o, MOBO_CHAR_CLOSED));
    }
    (void)close(listener);
    fake_free(f);
    struct stat st;
    assert_int_equal(stat(path, &st), 0); /* the server's file, not ours */
    folder_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server), cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_in_the_way), cmocka_unit_test(test_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
